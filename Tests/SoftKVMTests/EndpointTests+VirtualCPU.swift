// A vCPU's state: what can be got can be set, and what can't be is refused. Documentation/virt/kvm/api.rst, section 4.

import KVMABI
import SoftKVM
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct EndpointVirtualCPUTests {
    let client = try! EndpointClient()

    @Test func creation() throws {
        _ = try client.makeVCPU(0)
        #expect(client.failure { _ = try client.makeVCPU(0) } == .fileExists)
        #expect(client.failure { _ = try client.makeVCPU(4096) } == .invalidArgument)
        _ = try client.makeVCPU(4095)
        let other = try EndpointClient()
        try other.enable(other.machine, .maxVCPUID, 2)
        #expect(other.failure { _ = try other.makeVCPU(2) } == .invalidArgument)
        _ = try other.makeVCPU(1)
    }

    @Test func generalRegisters() throws {
        let vcpu = try client.makeVCPU()
        var regs = try client.get(vcpu, .getRegs, kvm_regs())
        #expect(regs.rip == 0xFFF0)
        #expect(regs.rflags == 2)
        #expect(regs.rdx == 0x600)
        (regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rsp, regs.rbp) = (1, 2, 3, 4, 5, 6, 7, 8)
        (regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15) = (9, 10, 11, 12, 13, 14, 15, 16)
        regs.rip = 0x1234_5678_9ABC
        regs.rflags = 0x8D5
        try client.set(vcpu, .setRegs, regs)
        let back = try client.get(vcpu, .getRegs, kvm_regs())
        #expect(back.rflags == 0x8D7)
        #expect(back.rip == regs.rip)
        #expect(
            [back.rax, back.rbx, back.rcx, back.rdx, back.rsi, back.rdi, back.rsp, back.rbp] == [
                1, 2, 3, 4, 5, 6, 7, 8,
            ])
        #expect(
            [back.r8, back.r9, back.r10, back.r11, back.r12, back.r13, back.r14, back.r15] == [
                9, 10, 11, 12, 13, 14, 15, 16,
            ])
    }

    @Test func specialRegisters() throws {
        let vcpu = try client.makeVCPU()
        let reset = try client.get(vcpu, .getSREGS, kvm_sregs())
        #expect(reset.cs.base == 0xFFFF_0000 && reset.cs.selector == 0xF000)
        #expect(reset.cr0 == 0x6000_0010)
        #expect(reset.apic_base == 0xFEE0_0900)
        var sregs = reset
        sregs.cr0 = 0x8000_0031
        sregs.cr3 = 0x1000
        sregs.cr4 = 0x20
        sregs.efer = 0x500
        sregs.cs = kvm_segment(
            base: 0, limit: 0xFFFF_FFFF, selector: 8, type: 11, present: 1, dpl: 0, db: 0, s: 1, l: 1, g: 1, avl: 0,
            unusable: 0,
            padding: 0)
        sregs.gdt = kvm_dtable(base: 0x5000, limit: 0x27, padding: (0, 0, 0))
        sregs.interrupt_bitmap.1 = 1 << 3
        try client.set(vcpu, .setSREGS, sregs)
        let back = try client.get(vcpu, .getSREGS, kvm_sregs())
        #expect(back.cr0 == 0x8000_0031 && back.cr3 == 0x1000 && back.cr4 == 0x20 && back.efer == 0x500)
        #expect(back.cs.l == 1 && back.cs.g == 1 && back.cs.type == 11 && back.cs.limit == 0xFFFF_FFFF)
        #expect(back.gdt.base == 0x5000 && back.gdt.limit == 0x27)
        #expect(back.interrupt_bitmap.1 == 1 << 3)
        let second = try client.get(vcpu, .getSREGS2, kvm_sregs2())
        #expect(second.cr0 == back.cr0 && second.flags == 0)
        try client.set(vcpu, .setSREGS2, second)
        // Kernel's kvm_is_valid_sregs.
        func refused(_ change: (inout kvm_sregs) -> Void) -> Bool {
            var bad = back
            change(&bad)
            return client.failure { try client.set(vcpu, .setSREGS, bad) } == .invalidArgument
        }
        #expect(refused { $0.cr0 |= 1 << 32 })
        #expect(refused { $0.cr0 &= ~1 })
        #expect(refused { $0.cr0 |= 1 << 29 })
        #expect(refused { $0.cr4 = 0 })
        #expect(refused { $0.efer &= ~0x400 })
        #expect(refused { $0.cr4 |= 1 << 22 })
        #expect(refused { $0.cr3 |= 1 << 60 })
        #expect(refused { $0.apic_base |= 1 << 60 })
        #expect(
            refused {
                $0.efer = 0; $0.cr0 = 1
            })
        // Once the client has said what the guest may have, CR4 has no more.
        try client.setBytes(vcpu, .setCPUID2, bytes(UInt32(1)) + [UInt8](repeating: 0, count: 44))
        #expect(refused { $0.cr4 |= 1 << 18 })
    }

    @Test func floatingPoint() throws {
        let vcpu = try client.makeVCPU()
        let fresh = try client.getBytes(vcpu, .getFPU, 416)
        #expect(fresh[128] == 0x7F && fresh[129] == 0x03)
        var fpu = (0..<416).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        // MXCSR and the padding behind it are left out, as the kernel leaves them out.
        fpu.replaceSubrange(408..<416, with: [UInt8](repeating: 0, count: 8))
        fpu[133] = 0
        try client.setBytes(vcpu, .setFPU, fpu)
        #expect(try client.getBytes(vcpu, .getFPU, 416) == fpu)

        var xsave = try client.getBytes(vcpu, .getXSAVE, 4096)
        #expect(try client.getBytes(vcpu, .getXSAVE2, 4096) == xsave)
        #expect(xsave[512] & 3 == 3)
        #expect(Array(xsave[160..<416]) == Array(fpu[152..<408]))
        xsave[160] = 0xAA
        try client.setBytes(vcpu, .setXSAVE, xsave)
        #expect(try client.getBytes(vcpu, .getXSAVE, 4096) == xsave)
        // Components that are clear are in their initial state.
        xsave[512] = 0
        try client.setBytes(vcpu, .setXSAVE, xsave)
        let initial = try client.getBytes(vcpu, .getXSAVE, 4096)
        #expect(initial[0] == 0x7F && initial[1] == 3 && initial[160] == 0)
        for (offset, value): (Int, UInt8) in [(513, 0x10), (520, 1), (600 - 24, 0)] where value != 0 {
            var bad = xsave
            bad[offset] = value
            #expect(client.failure { try client.setBytes(vcpu, .setXSAVE, bad) } == .invalidArgument)
        }
        var bad = xsave
        bad[512] = 2
        bad[26] = 1
        #expect(client.failure { try client.setBytes(vcpu, .setXSAVE, bad) } == .invalidArgument)
    }

    @Test func controlAndDebugRegisters() throws {
        let vcpu = try client.makeVCPU()
        var xcrs = try client.get(vcpu, .getXCRS, kvm_xcrs())
        #expect(xcrs.nr_xcrs == 1 && xcrs.xcrs.0.value == 1)
        // Without CPUID leaf 0DH there is x87 alone.
        xcrs.xcrs.0.value = 3
        #expect(client.failure { try client.set(vcpu, .setXCRS, xcrs) } == .invalidArgument)
        try takeSupportedCPUID(vcpu)
        try client.set(vcpu, .setXCRS, xcrs)
        #expect(try client.get(vcpu, .getXCRS, kvm_xcrs()).xcrs.0.value == 3)
        // Not without x87, nor AVX without SSE. Intel SDM vol. 1, 13.3.
        for value: UInt64 in [0, 2, 4, 5, 6, 1 << 63 | 1] {
            xcrs.xcrs.0.value = value
            #expect(client.failure { try client.set(vcpu, .setXCRS, xcrs) } == .invalidArgument)
        }
        xcrs.flags = 1
        #expect(client.failure { try client.set(vcpu, .setXCRS, xcrs) } == .invalidArgument)

        var debug = try client.get(vcpu, .getDebugregs, kvm_debugregs())
        #expect(debug.dr6 == 0xFFFF_0FF0 && debug.dr7 == 0x400)
        debug.db = (1, 2, 3, 4)
        debug.dr7 = 0x401
        try client.set(vcpu, .setDebugregs, debug)
        let back = try client.get(vcpu, .getDebugregs, kvm_debugregs())
        #expect(back.db == (1, 2, 3, 4) && back.dr7 == 0x401)
        debug.dr7 = 1 << 32
        #expect(client.failure { try client.set(vcpu, .setDebugregs, debug) } == .invalidArgument)
    }

    private func takeSupportedCPUID(_ vcpu: Handle) throws {
        let buffer = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 100)
        _ = try client.endpoint.ioctl(client.system, .getSupportedCPUID, buffer.address)
        _ = try client.endpoint.ioctl(vcpu, .setCPUID2, buffer.address)
    }

    @Test func cpuid() throws {
        let vcpu = try client.makeVCPU()
        try takeSupportedCPUID(vcpu)
        let small = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 1)
        #expect(
            client.failure { _ = try client.endpoint.ioctl(vcpu, .getCPUID2, small.address) } == .argumentListTooLong)
        let buffer = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 100)
        _ = try client.endpoint.ioctl(vcpu, .getCPUID2, buffer.address)
        #expect(buffer.entries.contains { $0.function == 0x4000_0001 })
        var many = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 2)
        many.count = 2
        many.setHeader(UInt32(257), 0)
        #expect(
            client.failure { _ = try client.endpoint.ioctl(vcpu, .setCPUID2, many.address) } == .argumentListTooLong)
    }

    @Test func events() throws {
        let vcpu = try client.makeVCPU()
        var events = try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events())
        #expect(events.exception.injected == 0 && events.interrupt.injected == 0)
        events.exception.injected = 1
        events.exception.nr = 13
        events.exception.has_error_code = 1
        events.exception.error_code = 0x18
        events.interrupt.shadow = 1
        events.nmi.masked = 1
        events.nmi.pending = 1
        events.interrupt.injected = 1
        events.interrupt.nr = 0x41
        try client.set(vcpu, .setVCPUEvents, events)
        let back = try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events())
        #expect(back.exception.injected == 1 && back.exception.nr == 13 && back.exception.error_code == 0x18)
        #expect(
            back.interrupt.shadow == 1 && back.interrupt.nr == 0x41 && back.nmi.masked == 1 && back.nmi.pending == 1)
        for nr: UInt8 in [2, 32] {
            events.exception.nr = nr
            #expect(client.failure { try client.set(vcpu, .setVCPUEvents, events) } == .invalidArgument)
        }
        events.exception.nr = 13
        for flags: UInt32 in [0x10, 0x20, 0x40] {
            events.flags = flags
            #expect(client.failure { try client.set(vcpu, .setVCPUEvents, events) } == .invalidArgument)
        }
        try client.enable(client.machine, .exceptionPayload, 1)
        let shown = try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events())
        #expect(shown.exception.pending == 0 && shown.exception.injected == 1)
    }

    /// Two wait, one of them for the end of the one that is handled.
    @Test(arguments: [(UInt8(0), UInt8(2)), (1, 1)])
    func maskedInterrupts(masked: UInt8, limit: UInt8) throws {
        let vcpu = try client.makeVCPU()
        var events = try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events())
        events.nmi.masked = masked
        try client.set(vcpu, .setVCPUEvents, events)
        for count in 1...3 {
            _ = try client.endpoint.ioctl(vcpu, .nmi, 0)
            #expect(try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events()).nmi.pending == min(UInt8(count), limit))
        }
    }

    /// KVM_X86_SHADOW_INT_MOV_SS (1) and KVM_X86_SHADOW_INT_STI (2).
    @Test(arguments: [UInt8(0), 1, 2])
    func shadows(shadow: UInt8) throws {
        let vcpu = try client.makeVCPU()
        var events = try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events())
        events.flags = UInt32(KVM_VCPUEVENT_VALID_SHADOW)
        events.interrupt.shadow = shadow
        try client.set(vcpu, .setVCPUEvents, events)
        #expect(try client.get(vcpu, .getVCPUEvents, kvm_vcpu_events()).interrupt.shadow == shadow)
    }

    @Test func stateOfExecution() throws {
        let vcpu = try client.makeVCPU()
        #expect(try client.get(vcpu, .getMPState, kvm_mp_state()).mp_state == 0)
        #expect(client.failure { try client.set(vcpu, .setMPState, kvm_mp_state(mp_state: 3)) } == .invalidArgument)
        #expect(client.failure { try client.set(vcpu, .setMPState, kvm_mp_state(mp_state: 77)) } == .invalidArgument)
        #expect(client.failure { _ = try client.getBytes(vcpu, .getLAPIC, 1024) } == .invalidArgument)

        let full = try EndpointClient()
        _ = try full.endpoint.ioctl(full.machine, .createIRQCHIP, 0)
        let boot = try full.makeVCPU(0)
        let application = try full.makeVCPU(1)
        #expect(try full.get(boot, .getMPState, kvm_mp_state()).mp_state == 0)
        #expect(try full.get(application, .getMPState, kvm_mp_state()).mp_state == 1)
        try full.set(application, .setMPState, kvm_mp_state(mp_state: 3))
        #expect(try full.get(application, .getMPState, kvm_mp_state()).mp_state == 3)
        let page = try full.getBytes(boot, .getLAPIC, 1024)
        try full.setBytes(boot, .setLAPIC, page)
        #expect(try full.getBytes(boot, .getLAPIC, 1024) == page)
    }

    @Test func interruptByTheClient() throws {
        let vcpu = try client.makeVCPU()
        #expect(client.failure { try client.set(vcpu, .interrupt, UInt32(256)) } == .invalidArgument)
        try client.set(vcpu, .interrupt, UInt32(0x30))
        #expect(try client.get(vcpu, .getSREGS, kvm_sregs()).interrupt_bitmap.0 == 1 << 0x30)
        let full = try EndpointClient()
        _ = try full.endpoint.ioctl(full.machine, .createIRQCHIP, 0)
        let other = try full.makeVCPU(0)
        #expect(full.failure { try full.set(other, .interrupt, UInt32(0x30)) } == .noSuchDeviceOrAddress)
    }

    @Test func signalMask() throws {
        let vcpu = try client.makeVCPU()
        #expect(
            client.failure { try client.setBytes(vcpu, .setSignalMask, [7] + [UInt8](repeating: 0, count: 11)) }
                == .invalidArgument)
        try client.setBytes(
            vcpu, .setSignalMask,
            [8] + [UInt8](repeating: 0xFF, count: 11).enumerated().map { $0.offset < 3 ? 0 : $0.element })
        _ = try client.endpoint.ioctl(vcpu, .setSignalMask, 0)
    }

    @Test func timeStampCounter() throws {
        let vcpu = try client.makeVCPU()
        let kilohertz = try client.endpoint.ioctl(vcpu, .getTSCKHz, 0)
        #expect(kilohertz > 100_000)
        _ = try client.endpoint.ioctl(vcpu, .setTSCKHz, 1_000_000)
        #expect(try client.endpoint.ioctl(vcpu, .getTSCKHz, 0) == 1_000_000)
        var offset: UInt64 = 0x1234_5678
        try unsafe withUnsafeMutablePointer(to: &offset) { place in
            var attribute = kvm_device_attr()
            attribute.addr = UInt64(UInt(bitPattern: place))
            try client.set(vcpu, .setDeviceAttr, attribute)
            unsafe place.pointee = 0
            try client.set(vcpu, .getDeviceAttr, attribute)
            try client.set(vcpu, .hasDeviceAttr, attribute)
            attribute.group = 3
            #expect(client.failure { try client.set(vcpu, .hasDeviceAttr, attribute) } == .noSuchDeviceOrAddress)
        }
        #expect(offset == 0x1234_5678)
    }

    @Test func machineCheck() throws {
        let vcpu = try client.makeVCPU()
        #expect(try client.get(client.system, .x86GetMCECapSupported, UInt64(0)) == 0x100_0100)
        try client.set(vcpu, .x86SetupMCE, UInt64(0x100_010A))
        #expect(client.failure { try client.set(vcpu, .x86SetupMCE, UInt64(0)) } == .invalidArgument)
        #expect(client.failure { try client.set(vcpu, .x86SetupMCE, UInt64(1 << 40 | 10)) } == .invalidArgument)
        var error = kvm_x86_mce()
        error.bank = 10
        error.status = 1 << 63
        #expect(client.failure { try client.set(vcpu, .x86SetMCE, error) } == .invalidArgument)
        error.bank = 1
        try client.set(vcpu, .x86SetMCE, error)
        var msrs = VariableLengthBuffer<kvm_msr_entry>(.msrs, capacity: 3)
        msrs[0].index = 0x405
        msrs[1].index = 0x17B
        msrs[2].index = 0x440
        #expect(try client.endpoint.ioctl(vcpu, .getMSRS, msrs.address) == 2)
        #expect(msrs[0].data == 1 << 63 && msrs[1].data == .max)
    }

    @Test func translation() throws {
        let vcpu = try client.makeVCPU()
        let pages = Pages(4)
        try client.setSlot(0, at: 0, size: 16384, from: pages.address)
        var translation = kvm_translation()
        translation.linear_address = 0x123
        try client.call(vcpu, .translate, &translation)
        #expect(translation.valid == 1 && translation.physical_address == 0x123)
        // 32-bit paging with a 4 MiB page at 8 MiB.
        pages.write([0x87, 0, 0x40, 0], at: 0x1000 + 8)
        var sregs = try client.get(vcpu, .getSREGS, kvm_sregs())
        sregs.cr0 = 0x8000_0011
        sregs.cr3 = 0x1000
        sregs.cr4 = 0x10
        try client.set(vcpu, .setSREGS, sregs)
        translation.linear_address = 0x80_1234
        try client.call(vcpu, .translate, &translation)
        #expect(translation.valid == 1 && translation.physical_address == 0x40_1234)
        translation.linear_address = 0x12_3456
        try client.call(vcpu, .translate, &translation)
        #expect(translation.valid == 0)
    }

    /// What a client can execute itself is executed here until it asks, and again when it takes that back.
    @Test func intercepts() throws {
        let vcpu = try client.makeVCPU()
        let pages = Pages(4)
        try client.setSlot(0, at: 0, size: 16384, from: pages.address)
        pages.write([0xE6, 0x10, 0x0F, 0xA2, 0xE4, 0x11, 0xF4], at: 0x1000)  // out 0x10, al; cpuid; in al, 0x11; hlt
        var sregs = try client.get(vcpu, .getSREGS, kvm_sregs())
        sregs.cs.base = 0
        sregs.cs.selector = 0
        try client.set(vcpu, .setSREGS, sregs)
        let area = unsafe RunArea(try client.endpoint.map(vcpu, length: 8192, offset: 0))
        defer { unsafe client.endpoint.unmap(area.base, length: 8192) }
        func run(from rip: UInt64? = nil) throws -> ExitReason {
            if let rip {
                var regs = kvm_regs()
                (regs.rip, regs.rflags) = (rip, 2)
                try client.set(vcpu, .setRegs, regs)
            }
            _ = try client.endpoint.ioctl(vcpu, .run, 0)
            return area.exitReason
        }
        var hardwareReason: UInt32 { area.load(ExitLayout.hardwareExitReason) }
        #expect(try run(from: 0x1000) == .io)
        #expect(try run() == .io)
        #expect(try run() == .hlt)

        try client.endpoint.intercept([.ports, .cpuid], on: vcpu)
        for (rip, reason): (UInt64, UInt32) in [(0x1000, 30), (0x1002, 10), (0x1004, 30)] {
            #expect(try run(from: rip) == .unknown)
            #expect(hardwareReason == reason)
            #expect(try run() == .unknown)
            let regs = try client.get(vcpu, .getRegs, kvm_regs())
            #expect(regs.rip == rip && regs.rax == 0)
        }
        try client.endpoint.intercept(.cpuid, on: vcpu)
        #expect(try run(from: 0x1000) == .io)
        #expect(try run() == .unknown)
        try client.endpoint.intercept([], on: vcpu)
        #expect(try run() == .io)
        #expect(try run() == .hlt)
        #expect(client.failure { try client.endpoint.intercept(.ports, on: client.machine) } == .invalidArgument)
    }
}
