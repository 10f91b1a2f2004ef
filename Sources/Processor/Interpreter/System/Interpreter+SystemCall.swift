import X86

/// SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FS and GS bases. Intel SDM vol. 2; vol. 3, 5.8.7 and 5.8.8;
/// AMD APM vol. 2, 6.1 (where the vendors differ, the guest's CPUID leaf 0 decides).
extension Interpreter {
    static let systemCalls: [(Mnemonic, Lowering.Lowerer)] = [
        (.syscall, { $0.use { CPU($0).systemCall(OpCursor($1)) } }),
        (.sysret, { $0.use { CPU($0).systemReturn(OpCursor($1)) } }),
        (.sysenter, { $0.use { CPU($0).systemEnter(OpCursor($1)) } }),
        (.sysexit, { $0.use { CPU($0).systemExit(OpCursor($1)) } }),
        (.swapgs, { $0.use { CPU($0).swapGS(OpCursor($1)) } }),
        (.rdfsbase, { lowerBase(&$0, .fs) { CPU($0).readBase(OpCursor($1)) } }),
        (.rdgsbase, { lowerBase(&$0, .gs) { CPU($0).readBase(OpCursor($1)) } }),
        (.wrfsbase, { lowerBase(&$0, .fs) { CPU($0).writeBase(OpCursor($1)) } }),
        (.wrgsbase, { lowerBase(&$0, .gs) { CPU($0).writeBase(OpCursor($1)) } }),
    ]

    private static func lowerBase(_ l: inout Lowering, _ name: SegmentName, _ handler: Op.Handler) -> Bool {
        guard l.mode.codeSize == 8, let offset = l.offset(of: l.operand0) else { return false }
        l.op.destination = offset
        l.op.extra = UInt32(name.rawValue)
        return l.use(handler)
    }
}

extension CPU {
    /// The flat segments that SYSCALL and its kin load without looking at a table.
    private func setFlatSegments(code: UInt16, stack: UInt16, cpl: UInt8, isLong: Bool) {
        let level = UInt16(cpl) << 5
        let size = isLong ? SegmentRegister.long : SegmentRegister.big
        self[segment: .cs] = SegmentRegister(base: 0, limit: .max, selector: code, attributes: 0x809B | level | size)
        self[segment: .ss] = SegmentRegister(base: 0, limit: .max, selector: stack, attributes: 0xC093 | level)
        state.cpl = cpl
        updateMode()
    }

    // MARK: SYSCALL and SYSRET

    func systemCall(_ cursor: OpCursor) -> UInt {
        transferAndGoOn { () throws(Stop) in
            guard state.efer & EFER.SCE.rawValue != 0 else { throw .invalidOpcode }
            let next = followingRIP(cursor)
            // Only CS loses the RPL that STAR holds.
            let base = UInt16(truncatingIfNeeded: state.star >> 32)
            let selector = base & 0xFFFC, stack = base &+ 8
            if isLongMode {
                let fromLong = is64Bit
                guard fromLong || state.isAMD else { throw .invalidOpcode }
                let flags = rflags & ~RFLAGS.RF.rawValue
                rcx = next
                self[11] = flags
                rflags = flags & ~state.sfmask
                processor.trapFollows = hasFlag(.TF)
                state.rip = fromLong ? state.lstar : state.cstar
                setFlatSegments(code: selector, stack: stack, cpl: 0, isLong: true)
            } else {
                guard state.isAMD, isProtected else { throw .invalidOpcode }
                rcx = next
                state.systemFlags &= ~(RFLAGS.IF.rawValue | RFLAGS.RF.rawValue | RFLAGS.VM.rawValue)
                state.rip = state.star & 0xFFFF_FFFF
                setFlatSegments(code: selector, stack: stack, cpl: 0, isLong: false)
            }
        }
    }

    func systemReturn(_ cursor: OpCursor) -> UInt {
        transferAndGoOn { () throws(Stop) in
            guard state.efer & EFER.SCE.rawValue != 0 else { throw .invalidOpcode }
            guard is64Bit || (state.isAMD && isProtected && !isV86) else { throw .invalidOpcode }
            try requirePrivilege()
            let selector = UInt16(truncatingIfNeeded: state.star >> 48)
            let toLong = cursor.op.operandSize == 8
            if toLong { guard CPU.isCanonical(rcx) else { throw .generalProtection } }
            if isLongMode {
                // Unlike IRET's, a TF that is set here traps before anything else is executed.
                if self[11] & RFLAGS.TF.rawValue != 0, !processor.underWay.isCareful { throw .careful }
                let kept: UInt64 = 0x3C_7FD7
                rflags = self[11] & kept | RFLAGS.fixed.rawValue
                processor.trapFollows = hasFlag(.TF)
            } else {
                state.systemFlags |= RFLAGS.IF.rawValue
            }
            state.rip = toLong ? rcx : rcx & 0xFFFF_FFFF
            setFlatSegments(
                code: (toLong ? selector &+ 16 : selector) | 3, stack: (selector &+ 8) | 3, cpl: 3, isLong: toLong)
        }
    }

    // MARK: SYSENTER and SYSEXIT

    func systemEnter(_ cursor: OpCursor) -> UInt {
        transferAndGoOn { () throws(Stop) in
            guard isProtected else { throw .generalProtection }
            if isLongMode, state.isAMD { throw .invalidOpcode }
            let selector = UInt16(truncatingIfNeeded: state.sysenterCS) & 0xFFFC
            guard selector != 0 else { throw .generalProtection }
            state.systemFlags &= ~(RFLAGS.VM.rawValue | RFLAGS.IF.rawValue | RFLAGS.RF.rawValue)
            let isLong = isLongMode
            rsp = isLong ? state.sysenterESP : state.sysenterESP & 0xFFFF_FFFF
            state.rip = isLong ? state.sysenterEIP : state.sysenterEIP & 0xFFFF_FFFF
            setFlatSegments(code: selector, stack: selector &+ 8, cpl: 0, isLong: isLong)
        }
    }

    func systemExit(_ cursor: OpCursor) -> UInt {
        transferAndGoOn { () throws(Stop) in
            guard isProtected else { throw .generalProtection }
            if isLongMode, state.isAMD {
                throw state.cpl == 0 ? .invalidOpcode : .generalProtection
            }
            let selector = UInt16(truncatingIfNeeded: state.sysenterCS) & 0xFFFC
            guard selector != 0, state.cpl == 0, !isV86 else { throw .generalProtection }
            let toLong = cursor.op.operandSize == 8
            if toLong { guard CPU.isCanonical(rcx), CPU.isCanonical(rdx) else { throw .generalProtection } }
            rsp = toLong ? rcx : rcx & 0xFFFF_FFFF
            state.rip = toLong ? rdx : rdx & 0xFFFF_FFFF
            let code = selector &+ (toLong ? 32 : 16)
            setFlatSegments(code: code | 3, stack: (code &+ 8) | 3, cpl: 3, isLong: toLong)
        }
    }

    // MARK: FS and GS

    func swapGS(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            guard is64Bit else { throw .invalidOpcode }
            try requirePrivilege()
            let base = self[segment: .gs].base
            self[segment: .gs].base = state.kernelGSBase
            state.kernelGSBase = base
        }
    }

    func readBase(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            guard state.cr4 & CR4.FSGSBASE.rawValue != 0 else { throw .invalidOpcode }
            setGeneral(
                cursor.op.destination, self[segment: cursor.named].base, size: cursor.op.operandSize == 8 ? 8 : 4)
        }
    }

    func writeBase(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            guard state.cr4 & CR4.FSGSBASE.rawValue != 0 else { throw .invalidOpcode }
            let value: UInt64 = register(cursor.op.destination)
            let base = cursor.op.operandSize == 8 ? value : value & 0xFFFF_FFFF
            guard CPU.isCanonical(base) else { throw .generalProtection }
            self[segment: cursor.named].base = base
        }
    }
}
