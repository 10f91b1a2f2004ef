import X86

/// JMP, CALL, RET far, IRET, INT n, INT3, INTO, INT1. Intel SDM vol. 2; vol. 3, 6.4.4 and 6.12.1.
extension Interpreter {
    static let farTransfers: [(Mnemonic, Lowering.Lowerer)] = [
        (
            .jmpFar,
            {
                lowerFar(
                    &$0, direct: { CPU($0).jumpFar(OpCursor($1)) }, indirect: { CPU($0).jumpFarIndirect(OpCursor($1)) })
            }
        ),
        (
            .callFar,
            {
                lowerFar(
                    &$0, direct: { CPU($0).callFar(OpCursor($1)) }, indirect: { CPU($0).callFarIndirect(OpCursor($1)) })
            }
        ),
        (.retFar, { $0.use { CPU($0).returnFar(OpCursor($1)) } }),
        (.iret, { $0.use { CPU($0).interruptReturn(OpCursor($1)) } }),
        (.int, { $0.use { CPU($0).interrupt(OpCursor($1)) } }),
        (.int3, { $0.use { CPU($0).breakpoint(OpCursor($1)) } }),
        (.into, { $0.use { CPU($0).interruptOnOverflow(OpCursor($1)) } }),
        (.int1, { $0.use { CPU($0).debugTrap(OpCursor($1)) } }),
    ]

    private static func lowerFar(_ l: inout Lowering, direct: Op.Handler, indirect: Op.Handler) -> Bool {
        if l.isMemory(l.operand0) { return l.use(indirect) }
        l.op.extra = UInt32(l.instruction.immediate2)
        return l.use(direct)
    }
}

extension CPU {
    /// As `transfer`, and on into a decoded block where nothing else is due.
    @inline(__always) func transferAndGoOn(_ body: () throws(Stop) -> Void) -> UInt {
        do throws(Stop) {
            try body()
        } catch {
            return stopped(error)
        }
        if hasFlag(.TF) || state.isStepping || state.pendingException.isPending { return stopped(.boundary) }
        return branch(indirectlyTo: state.rip)
    }

    private func target(_ cursor: OpCursor) -> (selector: UInt16, offset: UInt64) {
        let mask: UInt64 = cursor.op.operandSize == 2 ? 0xFFFF : 0xFFFF_FFFF
        return (UInt16(truncatingIfNeeded: cursor.op.extra), cursor.op.immediate & mask)
    }

    func jumpFar(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            let target = target(cursor)
            try farJump(target.selector, target.offset, next: followingRIP(cursor))
        }
    }

    func jumpFarIndirect(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            let target = try readFarPointer(cursor)
            try farJump(target.selector, target.offset, next: followingRIP(cursor))
        }
    }

    func callFar(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            let target = target(cursor)
            try farCall(target.selector, target.offset, size: Int(cursor.op.operandSize), next: followingRIP(cursor))
        }
    }

    func callFarIndirect(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            let target = try readFarPointer(cursor)
            try farCall(target.selector, target.offset, size: Int(cursor.op.operandSize), next: followingRIP(cursor))
        }
    }

    func returnFar(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            try farReturn(size: Int(cursor.op.operandSize), extra: cursor.op.immediate & 0xFFFF)
        }
    }

    func interruptReturn(_ cursor: OpCursor) -> UInt {
        transferAndGoOn { () throws(Stop) in
            try interruptReturn(size: Int(cursor.op.operandSize), next: followingRIP(cursor))
            serialize()
        }
    }

    // MARK: Software interrupts

    private func softwareInterrupt(_ cursor: OpCursor, _ vector: UInt8, _ origin: Event.Origin = .software) throws(Stop)
    {
        try deliver(Event(vector: vector, origin: origin), next: followingRIP(cursor))
        // The handler is entered with TF clear, and no single-step trap comes of the instruction itself.
        processor.trapFollows = false
    }

    func interrupt(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            let vector = UInt8(truncatingIfNeeded: cursor.op.immediate)
            if isV86 {
                if try redirectV86(vector, next: followingRIP(cursor)) { return }
                guard iopl == 3 else { throw .generalProtection }
            }
            try softwareInterrupt(cursor, vector)
        }
    }

    func breakpoint(_ cursor: OpCursor) -> UInt {
        if processor.debugging.enabled, processor.debugging.softwareBreakpoints {
            processor.exit = .debug(
                vector: Exception.breakpoint.vector, dr6: state.dr6, dr7: state.dr7, pc: codeLinear(instructionRIP))
            return stopped(.exitBefore)
        }
        return transfer { () throws(Stop) in try softwareInterrupt(cursor, Exception.breakpoint.vector) }
    }

    func interruptOnOverflow(_ cursor: OpCursor) -> UInt {
        guard overflowFlag else { return leave(cursor) }
        return transfer { () throws(Stop) in try softwareInterrupt(cursor, Exception.overflow.vector) }
    }

    func debugTrap(_ cursor: OpCursor) -> UInt {
        transfer { () throws(Stop) in
            try softwareInterrupt(cursor, Exception.debug.vector, .privilegedSoftware)
            // A debug exception, whose handler may reach the debug registers. Intel SDM vol. 3, 17.2.4.
            if processor.heldTraps != 0 { state.dr6 &= ~0xF }
            processor.absorbHeldTraps()
            state.dr7 &= ~DR7.GD.rawValue
        }
    }
}
