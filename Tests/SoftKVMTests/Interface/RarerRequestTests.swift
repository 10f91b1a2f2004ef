// Requests that no other test needs, on every hypervisor: older forms of others, and what few clients ask.
// Documentation/virt/kvm/api.rst, section 4.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct RarerRequestTests {
    /// Any request of a VM with a structure.
    private func call<T: BitwiseCopyable>(_ machine: borrowing VirtualMachine, _ request: Request, _ value: inout T)
        throws
    {
        try unsafe withUnsafeMutablePointer(to: &value) {
            _ = unsafe try machine.request(request, UInt(bitPattern: $0))
        }
    }

    @Test(arguments: hypervisors)
    func theTimerInItsOlderForms(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        var state = kvm_pit_state()
        #expect(throws: KVMError.failed(.getPIT, .noSuchDeviceOrAddress)) { try call(machine, .getPIT, &state) }
        #expect(throws: KVMError.failed(.setPIT, .noSuchDeviceOrAddress)) { try call(machine, .setPIT, &state) }
        #expect(throws: KVMError.failed(.reinjectControl, .noSuchDeviceOrAddress)) {
            try machine.setPITReinjection(true)
        }
        #expect(throws: KVMError.failed(.createPIT, .noSuchFile)) { unsafe try machine.request(.createPIT) }
        try machine.createInterruptControllers()
        unsafe try machine.request(.createPIT)
        #expect(throws: KVMError.failed(.createPIT, .fileExists)) { unsafe try machine.request(.createPIT) }
        try call(machine, .getPIT, &state)
        state.channels.0.count = 0x4321
        state.channels.0.mode = 2
        try call(machine, .setPIT, &state)
        var back = kvm_pit_state()
        try call(machine, .getPIT, &back)
        #expect(back.channels.0.count == 0x4321 && back.channels.0.mode == 2)
        #expect(try machine.pit().channels.0.count == 0x4321)
        try machine.setPITReinjection(false)
        try machine.setPITReinjection(true)
    }

    @Test(arguments: hypervisors)
    func theBootProcessorIsWhichTheClientSays(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        try machine.createInterruptControllers()
        try machine.setBootCPU(1)
        let first = try machine.makeVirtualCPU(id: 0)
        let second = try machine.makeVirtualCPU(id: 1)
        #expect(try first.multiprocessorState() == .uninitialized)
        #expect(try second.multiprocessorState() == .runnable)
        #expect(throws: KVMError.failed(.setBootCPUID, .busy)) { try machine.setBootCPU(0) }
    }

    @Test(arguments: hypervisors)
    func theFirstFormOfCPUID(_ hypervisor: Hypervisor) throws {
        let cpu = try System(hypervisor).makeVirtualMachine().makeVirtualCPU()
        var bytes = [UInt32](repeating: 0, count: 2 + 2 * 6)
        bytes[0] = 2
        bytes.replaceSubrange(2..<8, with: [0, 1, 0x11, 0x22, 0x33, 0])
        bytes.replaceSubrange(8..<14, with: [1, 0x654, 0, 0, 0, 0])
        try unsafe bytes.withUnsafeMutableBytes {
            _ = unsafe try cpu.request(.setCPUID, UInt(bitPattern: $0.baseAddress))
        }
        let leaves = try cpu.cpuid()
        #expect(leaves.first { $0.function == 0 }?.ebx == 0x11)
        #expect(leaves.first { $0.function == 1 }?.eax == 0x654)
    }

    @Test(arguments: hypervisors)
    func theSystemHandleDescribesTheProcessor(_ hypervisor: Hypervisor) throws {
        let system = try System(hypervisor)
        let indices = try system.featureMSRIndices()
        #expect(!indices.isEmpty)
        #expect(try system.featureMSRs(indices).map(\.index) == indices)
        let offered = Set(try system.supportedCPUID().map(\.function))
        #expect(try system.emulatedCPUID().allSatisfy { offered.contains($0.function) })
        #expect(try system.machineCheckCapabilities() & 1 << 24 != 0)
        // KVM_X86_XCOMP_GUEST_SUPP: x87 and SSE at least.
        #expect(try system.attribute(group: 0, 0) & 3 == 3)
        #expect(throws: KVMError.failed(.getDeviceAttr, .noSuchDeviceOrAddress)) { try system.attribute(group: 7, 0) }
    }

    @Test(arguments: hypervisors)
    func aGuestWithAClockIsToldThatItWasStopped(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, .long, [0xe6, 0x80, 0xe6, 0x80])
        var cpu = try machine.makeCPU()
        #expect(throws: KVMError.failed(.kvmclockCtrl, .invalidArgument)) { try cpu.noteClockStopped() }
        try cpu.setMSR(0x4b56_4d01, to: 0x4001)
        try cpu.noteClockStopped()
        try cpu.run()
        // PVCLOCK_GUEST_STOPPED in the flags of struct pvclock_vcpu_time_info.
        #expect(try machine.memory.load(UInt8.self, at: 0x4000 + 29) & 2 != 0)
    }

    // The frequency that a VM is given is that of the vCPUs that are made later.
    @Test(arguments: hypervisors.filter { (try? System($0).check(.vmTSCControl)) ?? 0 > 0 })
    func theMachinesFrequencyIsItsVCPUs(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        try machine.setTSCKHz(1_234_000)
        #expect(unsafe try machine.request(.getTSCKHz) == 1_234_000)
        #expect(try machine.makeVirtualCPU().tscKHz == 1_234_000)
    }

    @Test(.enabled(if: Assembler.isAvailable, "nasm is not installed"), arguments: hypervisors)
    func aWriteOfAnyLengthSignals(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: "mov ebx, 0xd0000000\nmov [rbx], eax\nmov [rbx], al\nmov [rbx], rax\nmov [rbx + 8], eax\nhlt")
        let event = try EventDescriptor()
        try machine.machine.attach(event, to: .memory(0xd000_0000), length: 0)
        var cpu = try machine.makeCPU()
        try cpu.run()
        guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(write.address == 0xd000_0008)
        #expect(event.drain() == 3)
    }

    @Test(.enabled(if: Assembler.isAvailable, "nasm is not installed"), arguments: hypervisors)
    func theEndOfALevelInterruptSignals(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                handlers
                mov word [0x6d000 + 0x24 * 16], handler
                mov al, 0xff
                out 0x21, al
                out 0xa1, al
                mov r12d, 0xfee00000
                mov r13d, 0xfec00000
                mov dword [r12 + 0xf0], 0x1ff
                mov dword [r13], 0x1e       ; pin 7: vector 0x24, level-triggered
                mov dword [r13 + 0x10], 0x8024
                xor eax, eax
                out 0xe9, eax
                sti
                hlt
                handler: mov eax, 1
                out 0xe9, eax
                mov dword [r12 + 0xb0], 0
                mov eax, 2
                out 0xe9, eax
                hlt
                """
        ) { try $0.createInterruptControllers() }
        let event = try EventDescriptor()
        let resample = try EventDescriptor()
        try machine.machine.attach(event, toGSI: 7, resample: resample)
        var cpu = try machine.makeCPU()
        var signalled: [UInt64] = []
        for value: UInt32 in [0, 1, 2] {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value == value)
            signalled.append(resample.drain())
            // The 8259s are masked and the pin is not by now.
            if value == 0 { event.signal() }
        }
        // A kernel that emulates is further on at an exit.
        #expect(signalled == [0, 0, 1] || hypervisor == .kernel && signalled == [0, 1, 0])
    }
}
