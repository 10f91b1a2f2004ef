import X86

/// Far transfers, system calls, returns from interrupts and what else ends a block: executed by the interpreter's handler, from which
/// emitted code goes on where the guest does, in whatever mode that is.
extension CPU {
    static let transfer: HostCode.Function = { CPU($0).transfer($1, $2) }

    /// Executes one instruction; the address of the code that follows it, or 0: emitted code is to be left, `state.stop` says why.
    private func transfer(_ op: UInt, _ offsetAndFlags: UInt) -> UInt {
        let processor = processor
        state.blockRIP = state.codeBase &+ UInt64(offsetAndFlags & 0xFFFF)
        state.currentOp = op
        guard isPastShadow else { return leaveForShadow() }
        takeFlags()
        let next = OpCursor(op).op.handler(address, op)
        if next == OpCursor(op).next {
            state.rip = followingRIP(OpCursor(op))
        } else if next != 0 {
            // It has found the block.
            state.rip = state.blockRIP
        }
        packFlags()
        if next == 0, state.stop.kind != .boundary { return 0 }
        // RIP is behind it; no instruction is under way.
        processor.underWay.isExecuting = false
        defer { processor.underWay.isExecuting = true }
        state.stop = .boundary
        state.shadowRIP = state.rip
        // STI alone: what waits for IF is looked for behind the next instruction, as always.
        guard state.interruptShadow & ~1 == 0, !processor.needsAttentionBesideShadow,
            let block = recallBlock(codeLinear(state.rip)), block.block.translation != 0,
            block.block.mode == state.codeMode,
            block.translationIsSettled(state.codeGeneration) || processor.holds(block)
        else { return 0 }
        beginEmitted(at: state.rip)
        return block.block.hostCode
    }

    // MARK: STI's shadow

    /// Before a handler executes the instruction at `blockRIP`: false where that is the one that the shadow is over. The run loop has
    /// to execute it.
    var isPastShadow: Bool {
        guard state.interruptShadow != 0 else { return true }
        guard state.blockRIP != state.shadowRIP else { return false }
        state.interruptShadow = 0
        return true
    }

    func leaveForShadow() -> UInt {
        state.rip = state.blockRIP
        return stopped(.boundary)
    }

    /// Once emitted code was left, at `rip`.
    func settleShadow() {
        if state.rip != state.shadowRIP { state.interruptShadow = 0 }
    }
}
