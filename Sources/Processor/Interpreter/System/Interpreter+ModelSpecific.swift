import X86

/// RDMSR, WRMSR, CPUID, RDTSC, RDTSCP, RDPMC, XGETBV, XSETBV. Intel SDM vol. 2.
extension Interpreter {
    static let modelSpecific: [(Mnemonic, Lowering.Lowerer)] = [
        (.rdmsr, { $0.use { CPU($0).readMSR(OpCursor($1)) } }),
        (.wrmsr, { $0.use { CPU($0).writeMSR(OpCursor($1)) } }),
        (.cpuid, { $0.use { CPU($0).identify(OpCursor($1)) } }),
        (.rdtsc, { $0.use { CPU($0).readTimeStamp(OpCursor($1), withAux: false) } }),
        (.rdtscp, { $0.use { CPU($0).readTimeStamp(OpCursor($1), withAux: true) } }),
        (.rdpmc, { $0.use { cpu, _ in CPU(cpu).stopped(.generalProtection) } }),
        (.xgetbv, { $0.use { CPU($0).readXCR(OpCursor($1)) } }),
        (.xsetbv, { $0.use { CPU($0).setXCR(OpCursor($1)) } }),
    ]
}

extension CPU {
    private var pair: UInt64 { rdx << 32 | rax & 0xFFFF_FFFF }

    private func setPair(_ value: UInt64) {
        rax = value & 0xFFFF_FFFF
        rdx = value >> 32
    }

    private var msrIndex: UInt32 { UInt32(truncatingIfNeeded: rcx) }

    func readMSR(_ cursor: OpCursor) -> UInt {
        let next = instruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            if case .msr(let value, let error) = processor.unfinished.answer {
                guard !error else { throw .generalProtection }
                return setPair(value)
            }
            let answer: MSRAnswer
            if processor.host.allowsMSR(msrIndex, write: false) {
                answer = processor.isOffered(msrIndex) ? processor.readMSR(msrIndex) : .invalid
            } else {
                answer = CPU.denied(processor.host.readMSR(msrIndex))
            }
            switch answer {
            case .value(let value): setPair(value)
            case .userspace(let reason):
                processor.exit = .readMSR(index: msrIndex, reason: reason)
                throw .exitBefore
            case .done, .invalid: throw .generalProtection
            }
        }
        return next != 0 && processor.isolatesHostAccesses ? leave(cursor) : next
    }

    func writeMSR(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            if case .msr(_, let error) = processor.unfinished.answer {
                guard !error else { throw .generalProtection }
                return
            }
            let answer: MSRAnswer
            if processor.host.allowsMSR(msrIndex, write: true) {
                let own = processor.writeMSR(msrIndex, pair, hostInitiated: false)
                // Where the client wants to hear of bad values, the host says so.
                answer = own == .invalid ? CPU.denied(processor.host.writeMSR(msrIndex, pair)) : own
            } else {
                answer = CPU.denied(processor.host.writeMSR(msrIndex, pair))
            }
            switch answer {
            case .done, .value: break
            case .userspace(let reason):
                processor.exit = .writeMSR(index: msrIndex, value: pair, reason: reason)
                throw .exitBefore
            case .invalid: throw .generalProtection
            }
        }
    }

    /// What the client's filter denied has no answer but an exit.
    private static func denied(_ answer: MSRAnswer) -> MSRAnswer {
        if case .userspace = answer { answer } else { .invalid }
    }

    func identify(_ cursor: OpCursor) -> UInt {
        if processor.intercepts.contains(.cpuid) {
            processor.exit = .intercepted(.cpuid)
            return stopped(.exitBefore)
        }
        let answer = processor.host.cpuid(
            leaf: UInt32(truncatingIfNeeded: rax), subleaf: UInt32(truncatingIfNeeded: rcx))
        rax = UInt64(answer.eax)
        rbx = UInt64(answer.ebx)
        rcx = UInt64(answer.ecx)
        rdx = UInt64(answer.edx)
        serialize()
        return leave(cursor)
    }

    func readTimeStamp(_ cursor: OpCursor, withAux: Bool) -> UInt {
        if state.cr4 & CR4.TSD.rawValue != 0, state.cpl != 0 { return stopped(.generalProtection) }
        setPair(processor.host.timeStampCounter)
        if withAux { rcx = state.tscAux & 0xFFFF_FFFF }
        return cursor.next
    }

    func readXCR(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            guard state.cr4 & CR4.OSXSAVE.rawValue != 0 else { throw .invalidOpcode }
            switch msrIndex {
            case 0: setPair(state.xcr0)
            case 1:
                // XINUSE: with XSAVEC's CPUID bit.
                guard processor.host.cpuid(leaf: 0xD, subleaf: 1).eax & 4 != 0 else { throw .generalProtection }
                setPair(state.xcr0 & componentsInUse)
            default: throw .generalProtection
            }
        }
    }

    func setXCR(_ cursor: OpCursor) -> UInt {
        lastInstruction(cursor) { () throws(Stop) in
            guard state.cr4 & CR4.OSXSAVE.rawValue != 0 else { throw .invalidOpcode }
            try requirePrivilege()
            try writeXCR(msrIndex, pair)
        }
    }
}
