import GuestMemory
import KVM
import KVMABI
import Processor
import SoftKVM
import TestLimits
import Testing

/// The software hypervisor's executors, as a client chooses them.
@Suite(.within(minutes: 5)) struct ExecutorTests {
    @Test func aChoiceOfHypervisorCarriesIt() {
        let named = Hypervisor.software(executor: .translator)
        #expect(named.rawValue == "software" && named.executor == .translator && named != .software)
        #expect(Hypervisor.software.executor == .automatic)
        var automatic = Hypervisor.automatic
        automatic.executor = .interpreter
        #expect(automatic.choose().hypervisor == .software(executor: .interpreter))
        #expect(automatic.choose().reason.contains("interpreter"))
    }

    @Test func eachSaysWhy() throws {
        #expect(try Hypervisor.Executor.interpreter.choose().executor == .interpreter)
        let automatic = try Hypervisor.Executor.automatic.choose()
        #expect(automatic.executor != .automatic && !automatic.reason.isEmpty)
    }

    /// The same guest, which loops long enough to be translated.
    @Test(arguments: Hypervisor.Executor.allCases) func aGuestRuns(_ executor: Hypervisor.Executor) throws {
        guard (try? executor.choose()) != nil else { try Test.cancel("this host can't run translated code") }
        let machine = try KVM.System(.software(executor: executor)).makeVirtualMachine()
        let memory = try GuestMemory(size: 1 << 20)
        try machine.addSlot(memory, at: 0)
        // again: add eax, ecx; dec ecx; jnz again; out 10h, eax
        try memory.write([0x66, 0x01, 0xC8, 0x66, 0xFF, 0xC9, 0x75, 0xF8, 0x66, 0xE7, 0x10, 0xF4], at: 0x1000)
        var cpu = try machine.makeVirtualCPU()
        try cpu.update {
            $0.cs.base = 0
            $0.cs.selector = 0
            $0.rip = 0x1000
            $0.rax = 0
            $0.rcx = 10_000
        }
        try cpu.run()
        guard case .portOut(let access) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
        #expect(access.bytes.reversed().reduce(0) { $0 << 8 | Int($1) } == 50_005_000)
    }

    /// No vCPU with another executor than was asked for.
    @Test func aVirtualCPUThatCannotHaveItIsNotMade() throws {
        guard (try? Hypervisor.Executor.translator.choose()) != nil else { return }
        let options = ExecutorOptions(.translator, codeCacheSize: 1 << 50)
        let machine = try KVM.System(endpoint: SoftwareEndpoint(executor: options)).makeVirtualMachine()
        #expect(throws: KVMError.failed(.createVCPU, .outOfMemory)) { _ = try machine.makeVirtualCPU().id }
    }
}
