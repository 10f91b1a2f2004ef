import TestLimits
import Testing
import X86

@Suite(.within(minutes: 20)) struct DefinitionTests {
    /// Intel SDM vol. 3, table 6-5.
    @Test func doubleFaults() {
        #expect(Exception.combine(.generalProtection, .generalProtection) == .doubleFault)
        #expect(Exception.combine(.generalProtection, .pageFault) == .second)
        #expect(Exception.combine(.pageFault, .pageFault) == .doubleFault)
        #expect(Exception.combine(.pageFault, .segmentNotPresent) == .doubleFault)
        #expect(Exception.combine(.debug, .pageFault) == .second)
        #expect(Exception.combine(.doubleFault, .generalProtection) == .tripleFault)
        #expect(Exception.combine(.doubleFault, .pageFault) == .tripleFault)
        #expect(Exception.combine(.divideError, .invalidOpcode) == .second)
    }

    @Test func errorCodes() {
        #expect(Exception.allCases.filter(\.hasErrorCode).map(\.vector) == [8, 10, 11, 12, 13, 14, 17, 21, 29, 30])
        #expect(SelectorErrorCode.of(selector: 0x2B) == 0x28)
        #expect(SelectorErrorCode.of(vector: 0x80) == 0x402)
    }

    @Test func segmentDescriptors() {
        // Linux's __KERNEL_CS and a flat 32-bit data segment.
        let code = SegmentDescriptor(rawValue: 0x00AF_9B00_0000_FFFF)
        #expect(
            code.limit == 0xFFFF_FFFF && code.base == 0 && code.long && !code.defaultBig && code.isCode && code.dpl == 0
        )
        #expect(code.isReadable && !code.isWritable && code.isAccessed && code.present)
        let data = SegmentDescriptor(base: 0x1234_5678, limit: 0xFFFF_FFFF, attributes: 0xC0F3)
        #expect(
            data.base == 0x1234_5678 && data.limit == 0xFFFF_FFFF && data.dpl == 3 && data.isWritable && data.defaultBig
        )
        #expect(data.attributes == 0xC0F3)
        let task = SegmentDescriptor(base: 0xFFFF_8000_1234_5678, limit: 0x67, attributes: 0x008B)
        #expect(task.base == 0xFFFF_8000_1234_5678 && task.limit == 0x67 && task.systemType == .tss32Busy)
        let gate = GateDescriptor(rawValue: 0x8765_EE01_0010_4321, upper: 0xFFFF_FFFF)
        #expect(gate.offset == 0xFFFF_FFFF_8765_4321 && gate.selector.rawValue == 0x10 && gate.ist == 1)
        #expect(gate.dpl == 3 && gate.systemType == .interruptGate32 && gate.present)
    }

    @Test func conditions() {
        for raw in 0..<64 {
            let bits = UInt64(raw)
            var flags: RFLAGS = []
            if bits & 1 != 0 { flags.insert(.CF) }
            if bits & 2 != 0 { flags.insert(.ZF) }
            if bits & 4 != 0 { flags.insert(.SF) }
            if bits & 8 != 0 { flags.insert(.OF) }
            if bits & 16 != 0 { flags.insert(.PF) }
            #expect(Condition.l.holds(flags) == (flags.contains(.SF) != flags.contains(.OF)))
            #expect(Condition.nle.holds(flags) == (!flags.contains(.ZF) && flags.contains(.SF) == flags.contains(.OF)))
            #expect(Condition.be.holds(flags) == (flags.contains(.CF) || flags.contains(.ZF)))
            #expect(Condition.np.holds(flags) == !flags.contains(.PF))
        }
    }

    @Test func debugRegister7() {
        let dr7 = DR7(rawValue: 1 << 1 | 0b1101 << 16 | 0b1000 << 28 | 1 << 6)
        #expect(dr7.isEnabled(0) && !dr7.isEnabled(1) && dr7.isEnabled(3))
        #expect(dr7.condition(0) == .write && dr7.length(0) == 4 && dr7.condition(3) == .execute && dr7.length(3) == 8)
    }

    @Test func cpuidBitsAreNamedOnce() {
        var seen: Set<String> = []
        for entry in CPUIDLeaves.all {
            #expect(seen.insert(entry.name).inserted, "\(entry.name)")
            #expect(entry.bit < 32)
        }
        #expect(CPUIDLeaves.all.count > 150)
        for feature in Feature.allCases { #expect(CPUIDLeaves.all.contains { $0.feature == feature }, "\(feature)") }
        let names = CPUIDLeaves.names { leaf, _ in leaf == 1 ? CPUIDResult(edx: 1 | 1 << 4) : CPUIDResult() }
        #expect(names == ["fpu", "tsc"])
        let none = CPUIDLeaves.offered(leaf: 7, subleaf: 0, register: .ebx) { _, _ in CPUIDResult() }
        #expect(none & (1 << 5) == 0 && none & (1 << 7) != 0)
    }
}
