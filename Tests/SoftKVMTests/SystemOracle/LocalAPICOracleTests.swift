// What each register of the local APIC keeps of what is written to it, as the manual's figures say and KVM_GET_LAPIC shows.
// Intel SDM vol. 3, 11.4 to 11.8 (xAPIC).

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20, long: 120)) struct LocalAPICOracleTests {
    /// Offset, the bits that can be written, and those that read as ones.
    private static let registers: [(offset: UInt64, writable: UInt32, ones: UInt32, name: String)] = [
        (0x80, 0xFF, 0, "TPR"), (0xD0, 0xFF00_0000, 0, "LDR"), (0xE0, 0xF000_0000, 0x0FFF_FFFF, "DFR"),
        (0x310, 0xFF00_0000, 0, "ICR, high"), (0x330, 0x1_07FF, 0, "LVT thermal"), (0x340, 0x1_07FF, 0, "LVT counters"),
        (0x350, 0x1_A7FF, 0, "LVT LINT0"), (0x360, 0x1_A7FF, 0, "LVT LINT1"), (0x370, 0x1_00FF, 0, "LVT error"),
        (0x3E0, 0xB, 0, "divide configuration"),
        // Read-only: arbitration priority, processor priority, ISR, TMR, IRR, current count.
        (0x90, 0, 0, "APR"), (0xA0, 0, 0, "PPR"), (0x100, 0, 0, "ISR"), (0x180, 0, 0, "TMR"), (0x200, 0, 0, "IRR"),
        (0x390, 0, 0, "current count"),
    ]

    @Test(arguments: hypervisors)
    func registersKeepTheirWritableBits(_ hypervisor: Hypervisor) throws {
        // mov [ebx], eax; out 0, al
        let machine = try TestMachine(hypervisor, .protected, [0x89, 0x03] + Layout.end) { machine in
            try machine.createInterruptControllers()
        }
        var cpu = try machine.makeCPU()
        func write(_ offset: UInt64, _ value: UInt32) throws {
            try cpu.update { registers in
                registers.rip = Place.code
                registers.rbx = 0xFEE0_0000 + offset
                registers.rax = UInt64(value)
            }
            try cpu.run()
            guard case .portOut = cpu.exit else { throw Unexpected(cpu.exit) }
            try cpu.complete()
        }
        func read(_ offset: UInt64) throws -> UInt32 {
            let state = try cpu.localAPIC()
            return unsafe withUnsafeBytes(of: state) { bytes in
                unsafe bytes.loadUnaligned(fromByteOffset: Int(offset), as: UInt32.self)
            }
        }
        // Enabled by software, so that local vector table entries can be unmasked.
        try write(0xF0, 0x1FF)
        #expect(try read(0xF0) == 0x1FF)
        // Its deviation: vol. 3, 11.5.1, delivery status and remote IRR are read-only.
        let kept: UInt32 = hypervisor == .kernel ? 0x5000 : 0
        if kept != 0 { print("/dev/kvm deviates: LVT entries keep delivery status and remote IRR (vol. 3, 11.5.1)") }
        for register in LocalAPICOracleTests.registers {
            let isEntry = 0x320...0x370 ~= register.offset
            let openBits = isEntry ? kept : 0
            var values: [UInt32] = [0, .max, 0xA5A5_A5A5, 0x5A5A_5A5A]
            for bit in UInt32(0)..<32 { values.append(1 << bit) }
            for value in values {
                // An unmasked entry with a vector below 16 is an error of its own.
                try write(register.offset, value)
                let wanted = value & register.writable | register.ones
                let got = try read(register.offset)
                if register.name == "PPR" {
                    // Follows TPR, which is 0 by now.
                    #expect(got == 0, "PPR after \(String(value, radix: 16))")
                } else {
                    #expect(got & ~openBits == wanted, "\(register.name) after \(String(value, radix: 16))")
                }
            }
            try write(0x80, 0)
            try write(0xF0, 0x1FF)
        }
    }

    /// A software-disabled APIC masks its local vector table. Intel SDM vol. 3, 11.4.7.2.
    @Test(arguments: hypervisors)
    func disablingMasksTheLocalVectorTable(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, .protected, [0x89, 0x03] + Layout.end) { machine in
            try machine.createInterruptControllers()
        }
        var cpu = try machine.makeCPU()
        for (offset, value) in [
            (UInt64(0xF0), UInt64(0x1FF)), (0x350, 0x31), (0x370, 0x32), (0xF0, 0xFF), (0x350, 0x33),
        ] {
            try cpu.update { registers in
                registers.rip = Place.code
                registers.rbx = 0xFEE0_0000 + offset
                registers.rax = value
            }
            try cpu.run()
            guard case .portOut = cpu.exit else { throw Unexpected(cpu.exit) }
            try cpu.complete()
        }
        let state = try cpu.localAPIC()
        unsafe withUnsafeBytes(of: state) { bytes in
            unsafe #expect(bytes.loadUnaligned(fromByteOffset: 0x350, as: UInt32.self) == 0x1_0033)
            unsafe #expect(bytes.loadUnaligned(fromByteOffset: 0x370, as: UInt32.self) == 0x1_0032)
        }
    }
}
