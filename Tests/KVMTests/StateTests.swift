// What can be got can be set: each pair of requests on each hypervisor that is present.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct StateTests {
    @Test(arguments: present)
    func systemSaysWhatItIs(_ hypervisor: Hypervisor) throws {
        let system = try System(hypervisor)
        #expect(system.choice.hypervisor == hypervisor)
        #expect(try system.apiVersion == 12)
        #expect(try system.runAreaSize >= 12288)
        #expect(try system.check(.userMemory) == 1)
        #expect(try system.check(Capability(rawValue: 60000)) == 0)
        let cpuid = try system.supportedCPUID()
        #expect(cpuid.contains { $0.function == 0 })
        #expect(cpuid.contains { $0.function == 0x4000_0001 })
        let indices = try system.msrIndices()
        #expect(indices.contains(0x10))
        let features = try system.featureMSRIndices()
        _ = try system.featureMSRs(features)
    }

    @Test func choosingNamesAReason() {
        for hypervisor in Hypervisor.allCases {
            let choice = hypervisor.choose()
            #expect(choice.hypervisor != .automatic)
            #expect(!choice.reason.isEmpty)
        }
    }

    @Test(arguments: present)
    func registersComeBack(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        let cpu = try machine.makeVirtualCPU()
        // Intel SDM vol. 3, table 10-1: the state after reset.
        var registers = try cpu.registers()
        #expect(registers.rip == 0xfff0)
        #expect(registers.rflags == 2)
        #expect(registers.cs.selector == 0xf000)
        #expect(registers.cs.base == 0xffff_0000)
        #expect(registers.cr0 == 0x6000_0010)
        try cpu.update {
            $0.rax = 0x1122_3344_5566_7788
            $0.r15 = 7
            $0.rip = 0x1234
            $0.cr3 = 0x5000
            $0.gdt.base = 0x9000
            $0.gdt.limit = 0x27
            $0.ds.base = 0x10000
        }
        registers = try cpu.registers()
        #expect(registers.rax == 0x1122_3344_5566_7788)
        #expect(registers.r15 == 7)
        #expect(registers.rip == 0x1234)
        #expect(registers.cr3 == 0x5000)
        #expect(registers.gdt.base == 0x9000)
        #expect(registers.gdt.limit == 0x27)
        #expect(registers.ds.base == 0x10000)

        var special = try cpu.specialRegisters2()
        #expect(special.cr3 == 0x5000)
        special.cr3 = 0x6000
        try cpu.setSpecialRegisters2(special)
        #expect(try cpu.specialRegisters().cr3 == 0x6000)
    }

    @Test(arguments: present)
    func floatingPointAndDebugRegistersComeBack(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        let cpu = try machine.makeVirtualCPU()
        var fpu = try cpu.fpu()
        fpu.fcw = 0x37f
        fpu.mxcsr = 0x1f80
        fpu.xmm.3.0 = 0xab
        try cpu.setFPU(fpu)
        #expect(try cpu.fpu().fcw == 0x37f)
        #expect(try cpu.fpu().xmm.3.0 == 0xab)

        var image = try cpu.xsave()
        #expect(image.count >= 4096)
        image[160 + 3 * 16] = 0xcd
        image[512] |= 3  // XSTATE_BV: x87 and SSE are in use
        try cpu.setXSAVE(image)
        #expect(try cpu.fpu().xmm.3.0 == 0xcd)
        image = try cpu.xsave()
        #expect(image[160 + 3 * 16] == 0xcd)

        var xcrs = try cpu.xcrs()
        #expect(xcrs.nr_xcrs == 1)
        #expect(xcrs.xcrs.0.value & 1 == 1)
        xcrs.xcrs.0.value = 1
        try cpu.setXCRs(xcrs)
        #expect(try cpu.xcrs().xcrs.0.value == 1)

        var debug = try cpu.debugRegisters()
        #expect(debug.dr6 == 0xffff_0ff0)
        #expect(debug.dr7 == 0x400)
        debug.db.2 = 0x1000
        try cpu.setDebugRegisters(debug)
        #expect(try cpu.debugRegisters().db.2 == 0x1000)
    }

    @Test(arguments: present)
    func modelSpecificRegistersStopAtTheFirstUnknown(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        let cpu = try machine.makeVirtualCPU()
        try cpu.setCPUID(try System(hypervisor).supportedCPUID())
        #expect(try !cpu.cpuid().isEmpty)
        try cpu.setMSR(0x174, to: 0x1234)
        #expect(try cpu.msr(0x174) == 0x1234)
        let got = try cpu.msrs([0x174, 0x4000_fff0, 0x175])
        #expect(got.count == 1)
        let entries = [
            kvm_msr_entry(index: 0x175, reserved: 0, data: 0x55),
            kvm_msr_entry(index: 0x4000_fff0, reserved: 0, data: 1),
            kvm_msr_entry(index: 0x176, reserved: 0, data: 0x66),
        ]
        #expect(try cpu.setMSRs(entries) == 1)
        #expect(try cpu.msr(0x175) == 0x55)
        #expect(throws: KVMError.refusedMSR(.getMSRS, index: 0x4000_fff0)) { try cpu.msr(0x4000_fff0) }
    }

    @Test(arguments: present)
    func interruptControllersAndTimersComeBack(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        try machine.setTSSAddress(0xfffb_d000)
        try machine.setIdentityMapAddress(0xfffb_c000)
        try machine.createInterruptControllers()
        try machine.createPIT()
        #expect(throws: KVMError.failed(.createIRQCHIP, .fileExists)) { try machine.createInterruptControllers() }
        let cpu = try machine.makeVirtualCPU()
        let second = try machine.makeVirtualCPU()
        #expect(second.id == 1)
        #expect(throws: KVMError.failed(.createVCPU, .fileExists)) { _ = try machine.makeVirtualCPU(id: 1).id }

        #expect(try cpu.multiprocessorState() == .runnable)
        #expect(try second.multiprocessorState() == .uninitialized)
        try second.setMultiprocessorState(.halted)
        #expect(try second.multiprocessorState() == .halted)

        var ioapic = try machine.interruptController(.ioapic)
        unsafe ioapic.chip.ioapic[pin: 4] = 0x0100_0000_0001_0031
        try machine.setInterruptController(ioapic)
        #expect(unsafe try machine.interruptController(.ioapic).chip.ioapic[pin: 4] == 0x0100_0000_0001_0031)
        var pic = try machine.interruptController(.masterPIC)
        unsafe pic.chip.pic.imr = 0xfb
        try machine.setInterruptController(pic)
        #expect(unsafe try machine.interruptController(.masterPIC).chip.pic.imr == 0xfb)

        var apic = try cpu.localAPIC()
        unsafe withUnsafeMutableBytes(of: &apic) { unsafe $0[0x80] = 0x20 }
        try cpu.setLocalAPIC(apic)
        apic = try cpu.localAPIC()
        #expect(unsafe withUnsafeBytes(of: &apic) { unsafe $0[0x80] } == 0x20)

        var pit = try machine.pit()
        pit.channels.0.count = 0x1234
        pit.channels.0.mode = 2
        try machine.setPIT(pit)
        #expect(try machine.pit().channels.0.count == 0x1234)

        var clock = try machine.clock()
        clock.flags = 0
        clock.clock = 5_000_000_000
        try machine.setClock(clock)
        #expect(try machine.clock().clock >= 5_000_000_000)

        try machine.setRouting(InterruptRoute.standard + [.msi(gsi: 24, address: 0xfee0_0000, data: 0x41)])
        try machine.setLine(4, to: true)
        #expect(try machine.setLineReporting(4, to: false) != .delivered(5))
        #expect(try cpu.tscKHz > 0)
        try cpu.setVAPICAddress(0)
        try cpu.setTPRAccessReporting(true)
        try cpu.setTPRAccessReporting(false)
        try cpu.setUpMachineChecks(0x0100_0001)
        try cpu.setSignalMask(0)
        try cpu.setSignalMask(nil)
    }

    // KVM API, 4.30: with KVM_CLOCK_REALTIME the clock goes on by what the time of day has since.
    @Test func theClockMakesUpForTheTimeOfDay() throws {
        let machine = try System(.software).makeVirtualMachine()
        let thousandSeconds: UInt64 = 1_000_000_000_000
        var clock = try machine.clock()
        clock.realtime -= thousandSeconds
        for (flags, begin) in [(UInt32(0), UInt64(5)), (UInt32(KVM_CLOCK_REALTIME), 5 + thousandSeconds)] {
            clock.flags = flags
            clock.clock = 5
            try machine.setClock(clock)
            // What the test itself takes is less.
            #expect(try machine.clock().clock &- begin < thousandSeconds)
        }
    }

    // KVM API, 7.9: with 32-bit ids bits 31:8 of address_hi are the destination's, and the others are reserved.
    @Test(arguments: present)
    func bothHalvesOfAMessagesAddressCount(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        try machine.enable(.splitIRQChip())
        try machine.enable(.x2APIC(flags: 1))
        _ = try machine.makeVirtualCPU()
        try machine.setRouting([.msi(gsi: 24, address: 0x100_fee0_0000, data: 0x41)])
        #expect(throws: KVMError.failed(.setGSIRouting, .invalidArgument)) {
            try machine.setRouting([.msi(gsi: 24, address: 0x1_fee0_0000, data: 0x41)])
        }
        #expect(throws: KVMError.failed(.signalMSI, .invalidArgument)) {
            try machine.signalMSI(address: 0x1_fee0_0000, data: 0x41)
        }
    }

    @Test(arguments: present)
    func eventsComeBack(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        let cpu = try machine.makeVirtualCPU()
        var events = try cpu.events()
        events.flags = 1
        events.nmi.pending = 1
        try cpu.setEvents(events)
        #expect(try cpu.events().nmi.pending == 1)
        #expect(throws: KVMError.self) { try cpu.injectMachineCheck(kvm_x86_mce()) }
    }

    @Test(arguments: present)
    func slotsAreChecked(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        let memory = try GuestMemory(size: 65536)
        let slot = try machine.addSlot(memory, at: 0)
        #expect(slot.id == 0)
        #expect(throws: KVMError.failed(.setUserMemoryRegion, .fileExists)) {
            try machine.addSlot(memory, at: 0x8000)
        }
        #expect(throws: KVMError.failed(.setUserMemoryRegion, .invalidArgument)) {
            try machine.addSlot(memory, at: 0x10_0800)
        }
        #expect(throws: KVMError.failed(.setUserMemoryRegion, .invalidArgument)) {
            try machine.addSlot(memory, offset: 4096, size: 65536, at: 0x10_0000)
        }
        let other = try machine.addSlot(memory, offset: 4096, size: 8192, at: 0x10_0000, flags: .readOnly)
        #expect(other.id == 1)
        try machine.move(slot, to: 0x20_0000)
        #expect(try machine.address(of: slot) == 0x20_0000)
        try machine.remove(slot)
        #expect(throws: KVMError.noSuchSlot(0)) { try machine.remove(slot) }
        #expect(try machine.addSlot(memory, at: 0x20_0000).id == 0)
    }

    // KVM_GET_STATS_FD is not offered by every hypervisor: left out by name where it is not.
    @Test(arguments: present.filter { (try? System($0).check(.binaryStatsFD)) ?? 0 > 0 })
    func statisticsDescribeThemselves(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        let cpu = try machine.makeVirtualCPU()
        let counters = try cpu.statistics()
        #expect(counters.contains { $0.name == "exits" && $0.values.count == 1 })
        #expect(try !machine.statistics().isEmpty)
    }

    @Test(arguments: present)
    func translationWithoutPagingIsIdentity(_ hypervisor: Hypervisor) throws {
        let machine = try System(hypervisor).makeVirtualMachine()
        try machine.addSlot(try GuestMemory(size: 65536), at: 0)
        let cpu = try machine.makeVirtualCPU()
        let translation = try cpu.translate(0x1234)
        #expect(translation.physical_address == 0x1234)
        #expect(translation.valid == 1)
    }
}
