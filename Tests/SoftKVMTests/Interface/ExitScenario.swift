// A guest that brings an exit about, and how its client asks for the exit: what the walk over all exits runs twice, asked and
// not. Documentation/virt/kvm/api.rst, section 5.

import KVM
import KVMABI
import TestSupport

struct ExitScenario: Sendable {
    typealias OnMachine = @Sendable (borrowing VirtualMachine) throws -> Void
    typealias OnCPU = @Sendable (borrowing VirtualCPU) throws -> Void

    /// In 64-bit mode. `done` ends it; at `midway` the client acts.
    let source: String
    /// What is done in any case, before there are slots and vCPUs.
    var prepare: OnMachine = { _ in }
    /// How the exit is asked for, before there are slots and vCPUs, and with the vCPU.
    var ask: OnMachine = { _ in }
    var askCPU: OnCPU = { _ in }
    /// What is done instead, where the lack of something asks.
    var refrain: OnMachine = { _ in }
    /// With the slots, in any case.
    var equip: @Sendable (TestMachine) throws -> Void = { _ in }
    /// At the guest's `midway`.
    var midway: OnMachine = { _ in }
    /// Why it is left out on the kernel's hypervisor.
    var notKernel: String?
    /// What a kernel must not be blamed for if the exit that was asked for does not come.
    var emulators: String?

    private static let macros = """
        bits 64
        org 0x1000
        %macro done 0
        out 0xf4, al
        %endmacro
        %macro midway 0
        out 0xf5, al
        %endmacro
        %macro tick 0           ; a kernel that emulates looks at its requests when the clock of the host ticks
        mov r8d, 20000
        %%more: dec r8d
        jnz %%more
        %endmacro

        """

    /// The exits until the guest is done, or has brought about `reason`.
    func exits(until reason: ExitReason, on hypervisor: Hypervisor, asked: Bool) throws -> [ExitReason] {
        let code = try Assembler.assemble(Self.macros + source)
        let machine = try TestMachine(hypervisor, .long, code.bytes) {
            try prepare($0)
            if asked { try ask($0) } else { try refrain($0) }
        }
        try equip(machine)
        var cpu = try machine.makeCPU()
        if asked { try askCPU(cpu) }
        // A guest that gets nowhere ends with an exit that nothing here expects.
        let watchdog = Watchdog(cpu.kickHandle, patience: .seconds(60), of: .wall)
        watchdog.begin()
        defer { watchdog.end() }
        var seen: [ExitReason] = []
        while seen.count < 1000 {
            try cpu.run()
            seen.append(cpu.exit.reason)
            if cpu.exit.reason == reason { return seen }
            switch cpu.exit {
            case .portOut(let out) where out.port == 0xf4: return seen
            case .portOut(let out) where out.port == 0xf5: try midway(machine.machine)
            case .portIn, .portOut, .mmioRead, .mmioWrite: break
            case .internalError(let error) where hypervisor == .kernel && error.suberror == 1:
                throw EmulatorGaveUp(instruction: error.instruction)
            case let exit: throw Unexpected(exit)
            }
        }
        return seen
    }
}
