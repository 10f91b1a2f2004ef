import X86

/// Jcc, JMP, CALL and RET within the code segment, LOOP, LOOPE, LOOPNE, JCXZ. Intel SDM vol. 2.
///
/// A target outside of the limit or not canonical is #GP(0) at the branch, before anything is committed. What 16-bit operand
/// size cuts off (66-prefixed branches in 64-bit code among them, where the vendor has that) the decoder has decided.
extension CPU {
    /// Whether a branch may lead to a target.
    @inline(__always) private func permits(_ target: UInt64) -> Bool {
        if state.codeMode.codeSize == 8 { return CPU.isCanonical(target) }
        return target <= UInt64(self[segment: .cs].limit)
    }

    /// A target that is computed while the instruction executes.
    @inline(__always) private func check(_ target: UInt64) throws(Stop) {
        guard permits(target) else { throw .generalProtection }
    }

    /// The same out of the way of branches that have a link.
    @inline(never) private func isAllowed(_ target: UInt64) -> Bool { permits(target) }

    /// The RIP that a direct branch leads to.
    @inline(__always) private func directTarget(_ cursor: OpCursor) -> UInt64 {
        let target = maskedRIP(state.blockRIP &+ cursor.op.immediate)
        return cursor.op.operandSize == 2 ? target & 0xFFFF : target
    }

    /// A direct branch with an operand size that cuts nothing off. A link was checked when it was made.
    @inline(__always) func jump(_ cursor: OpCursor) -> UInt {
        if cursor.op.link == 0, !isAllowed(directTarget(cursor)) { return stopped(.generalProtection) }
        return branch(cursor, to: cursor.op.immediate)
    }

    /// A direct branch with 16-bit operand size; its target depends on more than the block, so it has no link.
    @inline(__always) func jumpShort(_ cursor: OpCursor) -> UInt {
        let target = directTarget(cursor)
        guard isAllowed(target) else { return stopped(.generalProtection) }
        return branch(indirectlyTo: target)
    }

    @inline(__always) func jump(_ cursor: OpCursor, if code: UInt8) -> UInt {
        condition(code) ? jump(cursor) : proceed(cursor)
    }

    /// `op.detail` is the condition.
    func jumpShortConditionally(_ cursor: OpCursor) -> UInt {
        condition(cursor.op.detail) ? jumpShort(cursor) : proceed(cursor)
    }

    /// LOOPcc (`op.detail`: 0 LOOPNE, 1 LOOPE, 2 LOOP, 3 JCXZ), by address size.
    @inline(__always) func loop<A: OperandWidth>(_ cursor: OpCursor, _: A.Type) -> UInt {
        let counter = CPUState.offset(ofRegister: 1)
        let kind = cursor.op.detail
        let old: A = register(counter)
        let taken: Bool
        switch kind {
        case 0: taken = old != 1 && !zeroFlag
        case 1: taken = old != 1 && zeroFlag
        case 2: taken = old != 1
        default: taken = old == 0
        }
        if taken, !isAllowed(directTarget(cursor)) { return stopped(.generalProtection) }
        if kind != 3 { setRegister(counter, old &- 1) }
        if !taken { return proceed(cursor) }
        return cursor.op.operandSize == 2
            ? branch(indirectlyTo: directTarget(cursor)) : branch(cursor, to: cursor.op.immediate)
    }

    // MARK: Calls and returns

    /// CALL rel in 64-bit code.
    @inline(__always) func callLong(_ cursor: OpCursor) -> UInt {
        let pointer = rsp &- 8
        guard cursor.op.link != 0, let place = directPlace(writtenAt: pointer, UInt64.self) else {
            return callSlowly(cursor)
        }
        place.value = followingRIP(cursor)
        rsp = pointer
        return branch(cursor, to: cursor.op.immediate)
    }

    @inline(never) private func callSlowly(_ cursor: OpCursor) -> UInt {
        do throws(Stop) {
            if !permits(directTarget(cursor)) { try refuseCall(UInt64.self) }
            try pushLong(followingRIP(cursor))
        } catch {
            return stopped(error)
        }
        return branch(cursor, to: cursor.op.immediate)
    }

    /// RET in 64-bit code.
    @inline(__always) func returnLong(_ cursor: OpCursor) -> UInt {
        let pointer = rsp
        guard let place = directPlace(readAt: pointer, UInt64.self) else { return returnNear(cursor, UInt64.self) }
        let target = place.value
        guard CPU.isCanonical(target) else { return stopped(.generalProtection) }
        rsp = pointer &+ 8 &+ cursor.op.immediate
        return branch(indirectlyTo: target)
    }

    /// A call to where it may not go: #GP(0). AMD's processors push before they look at the target, so that the push may fault.
    @inline(never) private func refuseCall<W: OperandWidth>(_: W.Type) throws(Stop) {
        if state.codeMode.contains(.amd) {
            let place = try stackLinear(rsp &- UInt64(W.bytes), size: W.bytes, .write)
            try checkWritable(place, size: W.bytes, .ss)
        }
        throw .generalProtection
    }

    /// CALL rel in the other modes and sizes.
    @inline(__always) func callRelative<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        let target = directTarget(cursor)
        do throws(Stop) {
            if !permits(target) { try refuseCall(W.self) }
            try pushAnywhere(W(truncatingIfNeeded: followingRIP(cursor)))
        } catch {
            return stopped(error)
        }
        return W.bits == 16 ? branch(indirectlyTo: target) : branch(cursor, to: cursor.op.immediate)
    }

    /// JMP r/m.
    @inline(__always) func jumpIndirect<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        let target: UInt64
        do throws(Stop) {
            target = UInt64(truncatingIfNeeded: try readSource(cursor, as: W.self))
            try check(target)
        } catch {
            return stopped(error)
        }
        return branch(indirectlyTo: target)
    }

    /// CALL r/m.
    @inline(__always) func callIndirect<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        let target: UInt64
        do throws(Stop) {
            target = UInt64(truncatingIfNeeded: try readSource(cursor, as: W.self))
            if !permits(target) { try refuseCall(W.self) }
            if W.bits == 64 {
                try pushLong(followingRIP(cursor))
            } else {
                try pushAnywhere(W(truncatingIfNeeded: followingRIP(cursor)))
            }
        } catch {
            return stopped(error)
        }
        return branch(indirectlyTo: target)
    }

    /// RET, RET imm16 (which is zero in the plain form).
    @inline(never) func returnNear<W: OperandWidth>(_ cursor: OpCursor, _: W.Type) -> UInt {
        let target: UInt64
        do throws(Stop) {
            if W.bits == 64 {
                target = try read(rsp, .ss)
                try check(target)
                rsp = rsp &+ 8 &+ cursor.op.immediate
            } else {
                target = UInt64(truncatingIfNeeded: try readStack(rsp, as: W.self))
                try check(target)
                setStackPointer(rsp &+ UInt64(W.bytes) &+ cursor.op.immediate)
            }
        } catch {
            return stopped(error)
        }
        return branch(indirectlyTo: target)
    }
}

extension Interpreter {
    static let branches: [(Mnemonic, Lowering.Lowerer)] = [
        (
            .jcc,
            { l in
                l.setTarget()
                let code = l.instruction.opcode & 15
                l.op.detail = code
                if l.op.operandSize == 2 { return l.use { CPU($0).jumpShortConditionally(OpCursor($1)) } }
                return l.use(jumps[Int(code)])
            }
        ),
        (
            .jmp,
            { l in
                if l.setTarget() {
                    if l.op.operandSize == 2 { return l.use { CPU($0).jumpShort(OpCursor($1)) } }
                    return l.use { CPU($0).jump(OpCursor($1)) }
                }
                l.setSource(l.operand0)
                return l.use(jmp[l.op.operandSize])
            }
        ),
        (
            .call,
            { l in
                if l.setTarget() {
                    if l.op.operandSize == 8 { return l.use { CPU($0).callLong(OpCursor($1)) } }
                    return l.use(callDirect[l.op.operandSize])
                }
                l.setSource(l.operand0)
                return l.use(call[l.op.operandSize])
            }
        ),
        (
            .ret,
            { l in
                l.op.immediate = l.instruction.operandCount == 0 ? 0 : l.instruction.immediate & 0xFFFF
                if l.op.operandSize == 8 { return l.use { CPU($0).returnLong(OpCursor($1)) } }
                return l.use(ret[l.op.operandSize])
            }
        ),
        (.loopne, { lowerLoop(&$0, 0) }), (.loope, { lowerLoop(&$0, 1) }), (.loop, { lowerLoop(&$0, 2) }),
        (.jcxz, { lowerLoop(&$0, 3) }),
    ]

    private static func lowerLoop(_ l: inout Lowering, _ kind: UInt8) -> Bool {
        l.setTarget()
        l.op.detail = kind
        // AMD's processors take the condition of LOOPE and LOOPNE from a repeat prefix if there is one.
        if kind < 2, l.mode.contains(.amd) {
            if l.instruction.prefixes.contains(.rep) { l.op.detail = 1 }
            if l.instruction.prefixes.contains(.repne) { l.op.detail = 0 }
        }
        return l.use(loops[l.op.addressSize])
    }

    /// By condition code.
    private static let jumps: [Op.Handler] = [
        { CPU($0).jump(OpCursor($1), if: 0) }, { CPU($0).jump(OpCursor($1), if: 1) },
        { CPU($0).jump(OpCursor($1), if: 2) }, { CPU($0).jump(OpCursor($1), if: 3) },
        { CPU($0).jump(OpCursor($1), if: 4) }, { CPU($0).jump(OpCursor($1), if: 5) },
        { CPU($0).jump(OpCursor($1), if: 6) }, { CPU($0).jump(OpCursor($1), if: 7) },
        { CPU($0).jump(OpCursor($1), if: 8) }, { CPU($0).jump(OpCursor($1), if: 9) },
        { CPU($0).jump(OpCursor($1), if: 10) }, { CPU($0).jump(OpCursor($1), if: 11) },
        { CPU($0).jump(OpCursor($1), if: 12) }, { CPU($0).jump(OpCursor($1), if: 13) },
        { CPU($0).jump(OpCursor($1), if: 14) }, { CPU($0).jump(OpCursor($1), if: 15) },
    ]

    private static let loops = Widths(
        word: { CPU($0).loop(OpCursor($1), UInt16.self) },
        long: { CPU($0).loop(OpCursor($1), UInt32.self) },
        quad: { CPU($0).loop(OpCursor($1), UInt64.self) })

    private static let jmp = Widths(
        word: { CPU($0).jumpIndirect(OpCursor($1), UInt16.self) },
        long: { CPU($0).jumpIndirect(OpCursor($1), UInt32.self) },
        quad: { CPU($0).jumpIndirect(OpCursor($1), UInt64.self) })

    private static let call = Widths(
        word: { CPU($0).callIndirect(OpCursor($1), UInt16.self) },
        long: { CPU($0).callIndirect(OpCursor($1), UInt32.self) },
        quad: { CPU($0).callIndirect(OpCursor($1), UInt64.self) })

    private static let callDirect = Widths(
        word: { CPU($0).callRelative(OpCursor($1), UInt16.self) },
        long: { CPU($0).callRelative(OpCursor($1), UInt32.self) })

    private static let ret = Widths(
        word: { CPU($0).returnNear(OpCursor($1), UInt16.self) },
        long: { CPU($0).returnNear(OpCursor($1), UInt32.self) },
        quad: { CPU($0).returnNear(OpCursor($1), UInt64.self) })
}

extension Lowering {
    /// Makes a direct branch's displacement count from the block's start; false where the branch is indirect.
    @discardableResult mutating func setTarget() -> Bool {
        guard case .relative = operand0 else { return false }
        op.immediate = instruction.immediate &+ UInt64(op.nextOffset)
        return true
    }
}
