// Model-specific registers: which there are, what each takes of every bit, and what it keeps; by RDMSR and WRMSR, and by
// KVM_SET_MSRS. Intel SDM vol. 4, ch. 2, and vol. 2, RDMSR and WRMSR; AMD APM vol. 2, appendix A.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20, long: 120)) struct MSROracleTests {
    private typealias Outcome = MSRCaller.Outcome

    /// The values that each MSR is written with, from what it held: each bit changed, edges of the canonical ranges, memory types.
    private static func values(_ index: UInt32, _ old: UInt64) -> [UInt64] {
        var values = (UInt64(0)..<64).map { old ^ 1 << $0 }
        values += [0, .max, 0x7FFF_FFFF_FFFF, 0x8000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000]
        values += [0x0007_0406_0007_0406, 0x0202_0202_0202_0202, 0x0306_0504_0100_0706, 0x0606_0606_0606_0606]
        // KVM's clocks are written into the guest's memory, where its code and tables are.
        let isClock = [0x11, 0x12, 0x4B56_4D00, 0x4B56_4D01].contains(index)
        return isClock ? values.filter { $0 >= 0x2_0000 || 0xD000..<0xFF00 ~= $0 } : values
    }

    private static let width: UInt64 = {
        let entries = try? OracleMachine.cpuid()
        return UInt64((entries?.first { $0.function == 0x8000_0008 }?.eax ?? 36) & 0xFF)
    }()

    private static func areMemoryTypes(_ value: UInt64, _ types: Set<UInt64>) -> Bool {
        (UInt64(0)..<8).allSatisfy { types.contains(value >> ($0 * 8) & 0xFF) }
    }

    /// What the manuals say of a write; nil where they don't, or the machine decides.
    private static func wanted(_ index: UInt32, _ value: UInt64, client: Bool) -> Outcome? {
        let beyond = ~UInt64(0) << width
        func kept(if allowed: Bool) -> Outcome { allowed ? .value(value) : .fault }
        switch index {
        case 0xC000_0081: return .value(value)
        case 0xC000_0082, 0xC000_0083, 0xC000_0100, 0xC000_0101, 0xC000_0102: return kept(if: Model.isCanonical(value))
        // Intel: #GP. AMD's have no SYSENTER there, and KVM makes the value canonical, as it does a client's.
        case 0x175, 0x176:
            let canonical = UInt64(bitPattern: Int64(bitPattern: value << 16) >> 16)
            return client || OracleMachine.isAMD || value == canonical ? .value(canonical) : .fault
        // Bits 63:32: reserved (Intel), ignored (AMD).
        case 0xC000_0103: return OracleMachine.isAMD ? .value(value & 0xFFFF_FFFF) : kept(if: value >> 32 == 0)
        // Vol. 3, 11.12.4.
        case 0x277: return kept(if: areMemoryTypes(value, [0, 1, 4, 5, 6, 7]))
        // Vol. 3, 11.11.2.
        case 0x2FF: return kept(if: value & ~0xCFF == 0 && [0, 1, 4, 5, 6].contains(value & 0xFF))
        case 0x250, 0x258, 0x259, 0x268...0x26F: return kept(if: areMemoryTypes(value, [0, 1, 4, 5, 6]))
        case 0x200...0x20F:
            if index & 1 != 0 { return kept(if: value & (beyond | 0x7FF) == 0) }
            return kept(if: value & (beyond | 0xF00) == 0 && [0, 1, 4, 5, 6].contains(value & 0xFF))
        // Vol. 3, 15.3.2: all ones or all zeros (and the bits of AMD's northbridge); status by zero alone.
        case 0x400: return kept(if: value == 0 || value | 0x401 == .max)
        case 0x401 where !client: return kept(if: value == 0)
        case _ where isConstant(index): return client ? nil : .fault
        // Whatever is written: a Pentium II's cache, and the count that Linux wants of an Athlon.
        case 0x11E: return .value(0xBE70_2111)
        case 0xC001_001B: return .value(0x2000_0000)
        default: return nil
        }
    }

    /// Registers that say how the machine is, and can't be written.
    private static func isConstant(_ index: UInt32) -> Bool {
        switch index {
        case 0, 1, 0x17, 0x2A, 0x2C, 0xCD, 0xFE, 0x179, 0x198, 0x199, 0x1DB...0x1DE: true
        case 0x606, 0x611, 0x619, 0x639, 0x641, 0xC001_0010, 0xC001_0055, 0xC001_0112, 0xC001_0113: true
        default: false
        }
    }

    /// Numbers that no processor here has, whatever the client offers.
    private static let unknown: [UInt32] = [
        0x4, 0x1F, 0x9999, 0x3FFF_FFFF, 0x4B56_4D20, 0x7FFF_FFFF, 0xC000_0000, 0xC000_0FFF, 0xFFFF_FFFF,
    ]

    /// Where there are MSRs, less the x2APIC's and the machine-check banks', which have tests of their own.
    private static let ranges: [ClosedRange<UInt32>] = [
        0...0x3FF, 0x480...0x7FF, 0x900...0x1FFF, 0x4B56_4D00...0x4B56_4D08, 0xC000_0000...0xC000_03FF,
        0xC001_0000...0xC001_1FFF,
    ]

    private static func indices() throws -> [UInt32] {
        var all = Set<UInt32>([
            0x1B, 0xC000_0100, 0xC000_0101, 0xFE, 0x277, 0x1D9, 0xDA0, 0x400, 0x401, 0x402, 0x403, 0x198, 0xC001_0117,
        ])
        for hypervisor in hypervisors {
            all.formUnion(try System(hypervisor).msrIndices())
            let caller = try MSRCaller(hypervisor)
            for index in ranges.joined() where try !caller.cpu.msrs([index]).isEmpty { all.insert(index) }
        }
        // By x2APIC's sweep, and by that of EFER.
        return all.subtracting([0x1B, 0xC000_0080]).sorted()
    }

    /// What belongs to a feature that one of the two does not offer.
    private static func belongsToOne(_ index: UInt32) -> Bool {
        switch index {
        // Speculation, TSX, XFD, CMCI, the deadline timer, XSS, RDTSCP, the TSC's ratio, OSVW, KVM's own, and DE_CFG, which the
        // kernel has where it has SVM.
        case 0x48, 0x122, 0x1C4, 0x1C5, 0x280...0x29F, 0x6E0, 0xDA0, 0xC000_0103, 0xC000_0104, 0xC001_011F, 0xC001_0140,
            0xC001_0141, 0xC001_1029, 0x4B56_4D02...0x4B56_4D08:
            true
        default: false
        }
    }

    /// Where this /dev/kvm is no judge of a write: the MSRs, and why.
    private static func deviation(_ index: UInt32, client: Bool) -> String? {
        switch index {
        case 0x10, 0x3B: "the time-stamp counter runs"
        case 0x8B: "the microcode's revision is each hypervisor's own"
        case 0xCE, 0x140: "CPUID faulting is offered by the kernel alone (vol. 4, table 2-20)"
        case 0x174: "the upper half of SYSENTER_CS is kept, where the manual has nothing (vol. 4, table 2-2)"
        case 0xC000_0084: "the upper half of FMASK is kept, where the manual reserves it (vol. 3, 5.8.8)"
        case 0x1D9: "DEBUGCTL is dropped (AMD APM vol. 2, 13.1.1.6)"
        case 0x277: "PAT takes reserved memory types (vol. 3, 11.12.4)"
        case 0xC001_0015, 0xC001_1029: "HWCR and DE_CFG are each hypervisor's own (AMD APM vol. 2, appendix A)"
        case _ where client && isConstant(index): "a client may write a constant as it is"
        case _ where belongsToOne(index): "one of the two does not offer it"
        default: nil
        }
    }

    @Test func writes() throws {
        let software = try MSRCaller(.software)
        let kernel = hypervisors.contains(.kernel) ? try MSRCaller(.kernel) : nil
        var cases = 0, compared = 0
        var deviations: [String: Int] = [:], problems: [String: (count: Int, example: String)] = [:]
        func note(_ key: String, _ example: @autoclosure () -> String) {
            problems[key, default: (0, example())].count += 1
        }
        for index in try MSROracleTests.indices() {
            let name = String(index, radix: 16)
            var other: UInt64?
            if let kernel, case .value(let value) = try kernel.read(index) { other = value }
            let mine = try software.read(index)
            if kernel != nil, (mine == .fault) != (other == nil), !MSROracleTests.belongsToOne(index) {
                note("RDMSR \(name)", "\(mine), /dev/kvm: \(other.map { String($0, radix: 16) } ?? "#GP")")
            }
            guard case .value(let old) = mine else { continue }
            for value in MSROracleTests.values(index, old) {
                for client in [false, true] {
                    cases += 1
                    func write(_ caller: MSRCaller, _ before: UInt64) throws -> Outcome {
                        _ = try caller.set(index, before)
                        return try client ? caller.set(index, value) : caller.written(index, value)
                    }
                    let way = client ? "KVM_SET_MSRS" : "WRMSR"
                    let mine = try write(software, old)
                    let wanted = MSROracleTests.wanted(index, value, client: client)
                    if let wanted, mine != wanted {
                        note("software: \(way) \(name)", "\(String(value, radix: 16)): \(mine), not \(wanted)")
                    }
                    guard let kernel, let other else { continue }
                    compared += 1
                    let theirs = try write(kernel, other)
                    if theirs == wanted ?? mine || (mine == .value(old) && theirs == .value(other)) { continue }
                    if let deviation = MSROracleTests.deviation(index, client: client) {
                        deviations[deviation, default: 0] += 1
                    } else {
                        note(
                            "/dev/kvm: \(way) \(name)",
                            "\(String(value, radix: 16)): \(theirs), not \(wanted ?? mine)")
                    }
                }
            }
            _ = try software.set(index, old)
            if let other { _ = try kernel?.set(index, other) }
        }
        print("system oracle: MSRs: \(cases) cases, \(compared) compared with /dev/kvm")
        for (name, count) in deviations.sorted(by: { $0.key < $1.key }) {
            print("    /dev/kvm deviates: \(count) cases: \(name)")
        }
        #expect(cases > 0)
        for (key, problem) in problems.sorted(by: { $0.key < $1.key }) {
            Issue.record("MSRs: \(problem.count) cases: \(key)\n    first: \(problem.example)")
        }
    }

    /// A user's RDMSR and WRMSR are #GP whatever they name, and so is what isn't there.
    @Test(arguments: hypervisors)
    func refusals(_ hypervisor: Hypervisor) throws {
        let caller = try MSRCaller(hypervisor)
        for index in try MSROracleTests.indices() + MSROracleTests.unknown {
            #expect(try caller.read(index, cpl: 3) == .fault, "\(String(index, radix: 16))")
            #expect(try !caller.write(index, 0, cpl: 3), "\(String(index, radix: 16))")
        }
        for index in MSROracleTests.unknown {
            #expect(try caller.read(index) == .fault, "\(String(index, radix: 16))")
            #expect(try !caller.write(index, 1), "\(String(index, radix: 16))")
            #expect(try caller.cpu.setMSRs([kvm_msr_entry(index: index, reserved: 0, data: 1)]) == 0)
        }
    }

    /// A client's list is written up to the first that is refused.
    @Test(arguments: hypervisors)
    func listsStopAtTheFirstRefusal(_ hypervisor: Hypervisor) throws {
        let caller = try MSRCaller(hypervisor)
        let list = [(UInt32(0xC000_0081), UInt64(5)), (0xC000_0082, 1 << 47), (0xC000_0083, 7)].map {
            kvm_msr_entry(index: $0.0, reserved: 0, data: $0.1)
        }
        #expect(try caller.cpu.setMSRs(list) == 1)
        #expect(try caller.cpu.msr(0xC000_0081) == 5)
        #expect(try caller.cpu.msr(0xC000_0083) == 0)
    }
}
