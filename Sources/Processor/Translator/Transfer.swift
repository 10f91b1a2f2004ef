import X86

/// Far transfers, system calls, returns from interrupts and what else ends a block: executed by the interpreter's handler, from which
/// emitted code goes on where the guest does, in whatever mode that is.
extension CPU {
    static let transfer: HostCode.Function = { CPU($0).transfer($1, $2) }

    /// Executes one instruction; the address of the code that follows it, or 0: emitted code is to be left, `state.stop` says why.
    private func transfer(_ op: UInt, _ offsetAndFlags: UInt) -> UInt {
        state.blockRIP = state.codeBase &+ UInt64(offsetAndFlags & 0xFFFF)
        state.currentOp = op
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
        guard !processor.needsAttention, let block = recallBlock(codeLinear(state.rip)), block.block.translation != 0,
            block.block.mode == state.codeMode,
            block.translationIsSettled(state.codeGeneration) || processor.holds(block)
        else { return 0 }
        beginEmitted(at: state.rip)
        return block.block.hostCode
    }
}
