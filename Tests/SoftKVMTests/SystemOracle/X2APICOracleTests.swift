// The local APIC by MSRs: which registers there are in x2APIC mode, what they take of every bit, and the ways between
// disabled, xAPIC and x2APIC. Intel SDM vol. 3, 11.12.1 (table 11-6), 11.12.1.2, 11.12.5, 11.12.9, 11.12.11.

import KVM
import KVMABI
import TestLimits
import Testing

/// What the manual says of a register. `writable` is nil where it can't be written.
private struct Register {
    let name: String
    var isReadable = true
    /// Bits that are kept, beside those that are ignored; all others are #GP. Nil: writing is #GP.
    var kept: UInt64?
    var ignored: UInt64 = 0
    /// What it reads as, where that doesn't follow from writes.
    var value: UInt64?

    /// MSRs 800H to 83FH, those that the APIC version doesn't have left out.
    static func all(id: UInt64) -> [UInt32: Register] {
        var all: [UInt32: Register] = [
            0x802: Register(name: "id", value: id), 0x803: Register(name: "version"),
            0x808: Register(name: "TPR", kept: 0xFF), 0x80A: Register(name: "PPR"),
            0x80B: Register(name: "EOI", isReadable: false, kept: 0),
            0x80D: Register(name: "LDR", value: (id >> 4) << 16 | 1 << (id & 15)),
            0x80F: Register(name: "SVR", kept: 0x3FF), 0x828: Register(name: "ESR", kept: 0),
            0x832: Register(name: "LVT timer", kept: 0x7_00FF, ignored: 0x1000),
            0x833: Register(name: "LVT thermal", kept: 0x1_07FF, ignored: 0x1000),
            0x834: Register(name: "LVT counters", kept: 0x1_07FF, ignored: 0x1000),
            0x835: Register(name: "LVT LINT0", kept: 0x1_A7FF, ignored: 0x5000),
            0x836: Register(name: "LVT LINT1", kept: 0x1_A7FF, ignored: 0x5000),
            0x837: Register(name: "LVT error", kept: 0x1_00FF, ignored: 0x1000),
            0x838: Register(name: "initial count", kept: 0xFFFF_FFFF), 0x839: Register(name: "current count"),
            0x83E: Register(name: "divide configuration", kept: 0xB),
            0x83F: Register(name: "SELF IPI", isReadable: false, kept: 0xFF),
        ]
        for bank in UInt32(0)..<8 {
            for (base, name) in [(UInt32(0x810), "ISR"), (0x818, "TMR"), (0x820, "IRR")] {
                all[base + bank] = Register(name: "\(name) \(bank)")
            }
        }
        return all
    }
}

@Suite(.within(minutes: 20, long: 120)) struct X2APICOracleTests {
    private static let enabled: UInt64 = 0xFEE0_0900, extended: UInt64 = 0xFEE0_0D00, disabled: UInt64 = 0xFEE0_0100

    private static func make(_ hypervisor: Hypervisor) throws -> MSRCaller {
        let caller = try MSRCaller(hypervisor, chipset: true)
        _ = try caller.set(0x1B, extended)
        return caller
    }

    /// Deviations of the kernel, by name and section, with the registers that they explain.
    private static func deviation(_ msr: UInt32, isTaken: Bool) -> String {
        switch msr {
        case 0x832...0x837 where isTaken: "LVT entries keep delivery status and remote IRR (vol. 3, 11.5.1)"
        case 0x80B: "EOI takes every value (vol. 3, 11.12.1.2)"
        default: "reserved bits are dropped, and are no #GP (vol. 3, 11.12.1.2)"
        }
    }

    @Test(arguments: hypervisors)
    func registers(_ hypervisor: Hypervisor) throws {
        let caller = try X2APICOracleTests.make(hypervisor)
        let registers = Register.all(id: 0)
        var deviations: [String: Int] = [:], cases = 0
        for msr in UInt32(0x800)..<0x900 where msr != 0x830 {
            let register = registers[msr]
            func check(_ got: MSRCaller.Outcome, _ wanted: MSRCaller.Outcome, _ what: String, lenient: Bool = false) {
                cases += 1
                if got == wanted { return }
                if hypervisor == .kernel, lenient {
                    deviations[X2APICOracleTests.deviation(msr, isTaken: wanted != .fault), default: 0] += 1
                } else {
                    Issue.record(
                        "\(register?.name ?? "no register") \(String(msr, radix: 16)), \(what): \(got), not \(wanted)")
                }
            }
            let read = try caller.read(msr)
            if let register, register.isReadable {
                if let value = register.value { check(read, .value(value), "read") }
                #expect(read != .fault, "\(register.name)")
            } else {
                check(read, .fault, "read")
            }
            check(try caller.read(msr, cpl: 3), .fault, "read at CPL 3")
            for bit in -1..<64 {
                // Enabled by software, and the timer's mode one-shot.
                _ = try caller.write(0x80F, 0x1FF)
                if 0x832...0x837 ~= msr { _ = try caller.write(msr, 0x1_0000) }
                let value = bit < 0 ? 0 : UInt64(1) << UInt64(bit)
                let outcome =
                    register?.isReadable ?? false
                    ? try caller.writtenAndRead(msr, value) : try caller.write(msr, value) ? .value(value) : .fault
                let isTaken = outcome != .fault
                guard let register, let kept = register.kept else {
                    check(isTaken ? .value(value) : .fault, .fault, "write of bit \(bit)")
                    continue
                }
                let isAllowed = value & ~(kept | register.ignored) == 0
                check(
                    outcome, isAllowed ? .value(value & kept) : .fault, "write of bit \(bit)",
                    lenient: isTaken && bit < 32 && (!isAllowed || value & register.ignored != 0))
                if isTaken, msr == 0x838 { _ = try caller.write(msr, 0) }
            }
            check(try caller.write(msr, 0, cpl: 3) ? .value(0) : .fault, .fault, "write at CPL 3")
        }
        print("system oracle: x2APIC registers: \(hypervisor): \(cases) cases")
        for (name, count) in deviations.sorted(by: { $0.key < $1.key }) {
            print("    /dev/kvm deviates: \(count) cases: \(name)")
        }
    }

    /// The command is one MSR of 64 bits. Its message goes nowhere: to an id that no APIC has, and with nobody to hear it.
    @Test(arguments: hypervisors)
    func command(_ hypervisor: Hypervisor) throws {
        let caller = try X2APICOracleTests.make(hypervisor)
        _ = try caller.write(0x80F, 0x1FF)
        let reserved: UInt64 = 0xFFF3_2000
        for bit in UInt64(0)..<64 {
            for base: UInt64 in [0xFFFF_0031_0000_0040, 0x5_0031_0000_4040] {
                let value = base ^ (UInt64(1) << bit)
                let isAllowed = value & reserved == 0
                // A shorthand sends to oneself, INIT and all.
                if value & 0xC_0000 != 0, isAllowed { continue }
                #expect(try caller.write(0x830, value) == isAllowed, "bit \(bit)")
                if isAllowed { #expect(try caller.read(0x830) == .value(value & ~(1 << 12)), "bit \(bit)") }
            }
        }
        #expect(try !caller.write(0x831, 0))
        #expect(try caller.read(0x831) == .fault)
        // SELF IPI reaches IRR.
        #expect(try caller.write(0x83F, 0x45))
        #expect(try caller.read(0x822) == .value(1 << 5))
    }

    /// Every way between the modes, by the guest: figure 11-27.
    @Test(arguments: hypervisors)
    func transitions(_ hypervisor: Hypervisor) throws {
        typealias X = X2APICOracleTests
        let invalid = X.disabled | 1 << 10
        let allowed: [UInt64: Set<UInt64>] = [
            X.disabled: [X.disabled, X.enabled], X.enabled: [X.disabled, X.enabled, X.extended],
            X.extended: [X.disabled, X.extended],
        ]
        for (old, targets) in allowed {
            for new in [X.disabled, X.enabled, X.extended, invalid] {
                let caller = try MSRCaller(hypervisor, chipset: true)
                if old != X.enabled { #expect(try caller.write(0x1B, old)) }
                #expect(try caller.read(0x1B) == .value(old))
                #expect(try caller.write(0x1B, new) == targets.contains(new), "\(old) to \(new)")
                let now = targets.contains(new) ? new : old
                #expect(try caller.read(0x1B) == .value(now))
                // The MSRs are there in x2APIC mode alone.
                #expect(try (caller.read(0x802) != .fault) == (now == X.extended))
                #expect(try caller.write(0x808, 0x20) == (now == X.extended))
            }
        }
    }

    /// Reserved bits of IA32_APIC_BASE: by the guest and by the client. 11.12.1, figure 11-26.
    @Test(arguments: hypervisors)
    func base(_ hypervisor: Hypervisor) throws {
        let entries = try OracleMachine.cpuid()
        let width = UInt64((entries.first { $0.function == 0x8000_0008 }?.eax ?? 36) & 0xFF)
        let caller = try MSRCaller(hypervisor, chipset: true)
        for bit in UInt64(0)..<64 where bit == 9 || bit < 8 || bit > 11 {
            let value = X2APICOracleTests.enabled ^ 1 << bit
            let isAllowed = (12..<width).contains(bit)
            #expect(try caller.write(0x1B, value) == isAllowed, "bit \(bit)")
            #expect(try (caller.set(0x1B, value) != .fault) == isAllowed, "bit \(bit), by the client")
            _ = try caller.set(0x1B, X2APICOracleTests.enabled)
        }
    }
}
