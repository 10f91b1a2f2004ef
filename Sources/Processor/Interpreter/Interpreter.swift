import X86

/// Handlers of ops, an instruction family per file. A handler is a C function of the addresses of CPU state and op; it goes
/// on with the next op itself (`CPU.proceed`) or returns its address, or 0 with `CPUState.stop` saying why.
///
/// A handler changes nothing before its last memory access can't fault any more, so that every fault is precise and
/// an instruction can be executed again when a memory access has to be answered by userspace.
enum Interpreter {
    /// Ends the block; the run loop goes on after this instruction.
    static let leave: Op.Handler = { CPU($0).leave(OpCursor($1)) }
    /// Ends a block that ends without a branch.
    static let goOn: Op.Handler = { CPU($0).branch(OpCursor($1), to: UInt64(OpCursor($1).op.nextOffset)) }
    /// Follows an op that is executed by itself: hands its own address back, as a branch not taken would.
    static let endOfStep: Op.Handler = {
        CPU($0).state.currentOp = $1 &- UInt(MemoryLayout<Op>.stride)
        return $1
    }
    /// Bytes that are no instruction, or none that the guest is offered.
    static let undefined: Op.Handler = { cpu, _ in CPU(cpu).stopped(.invalidOpcode) }
}

extension CPU {
    /// Runs the body of an instruction that may stop, then the next op.
    @inline(__always) func instruction(_ cursor: OpCursor, _ body: () throws(Stop) -> Void) -> UInt {
        do {
            try body()
            return cursor.next
        } catch {
            return stopped(error)
        }
    }

    /// As `instruction`, for handlers that end with it: goes on with the next op at once.
    @inline(__always) func straight(_ cursor: OpCursor, _ body: () throws(Stop) -> Void) -> UInt {
        do {
            try body()
            return proceed(cursor)
        } catch {
            return stopped(error)
        }
    }

    /// Goes on with the next op of the block, from handler to handler: a tail call in optimised code, and never deeper than
    /// a block is long, since branches return to the run loop.
    @inline(__always) func proceed(_ cursor: OpCursor) -> UInt {
        let next = cursor.next
        state.currentOp = next
        return OpCursor(next).op.handler(address, next)
    }

    /// Ends the block behind the current instruction: for instructions after which mode or rights may differ.
    @inline(__always) func leave(_ cursor: OpCursor) -> UInt {
        state.rip = maskedRIP(state.blockRIP &+ UInt64(cursor.op.nextOffset))
        return stopped(.boundary)
    }

    /// As `instruction`, for an instruction that ends its block (and has not set RIP itself).
    @inline(__always) func lastInstruction(_ cursor: OpCursor, _ body: () throws(Stop) -> Void) -> UInt {
        do {
            try body()
            return leave(cursor)
        } catch {
            return stopped(error)
        }
    }

    /// As `instruction`, for one that has set `state.rip` itself (far transfers, IRET, SYSCALL).
    @inline(__always) func transfer(_ body: () throws(Stop) -> Void) -> UInt {
        do {
            try body()
            return stopped(.boundary)
        } catch {
            return stopped(error)
        }
    }

    // MARK: Going from block to block

    /// A direct branch to `blockRIP` + `offset` (64-bit code; 32-bit code after masking). The op's `link` is its own.
    @inline(__always) func branch(_ cursor: OpCursor, to offset: UInt64) -> UInt {
        let target = maskedRIP(state.blockRIP &+ offset)
        if cursor.op.link != 0, exitRequest == 0 {
            let block = BlockReference(cursor.op.link)
            if block.block.codeGeneration == state.codeGeneration { return enter(block, at: target) }
        }
        return branchSlowly(cursor, to: target)
    }

    /// An indirect branch within the code segment to `target`, already masked to the operand size and checked.
    @inline(__always) func branch(indirectlyTo target: UInt64) -> UInt {
        if exitRequest == 0, let block = recallBlock(codeLinear(target)) {
            return enter(block, at: target)
        }
        state.rip = target
        return stopped(.boundary)
    }

    @inline(__always) func enter(_ block: BlockReference, at rip: UInt64) -> UInt {
        state.blockRIP = rip
        return unsafe UInt(bitPattern: block.firstOp)
    }

    /// The linear address of an offset in CS.
    @inline(__always) func codeLinear(_ rip: UInt64) -> UInt64 {
        state.codeMode.codeSize == 8 ? rip : (rip &+ self[segment: .cs].base) & 0xFFFF_FFFF
    }

    @inline(never) private func branchSlowly(_ cursor: OpCursor, to target: UInt64) -> UInt {
        let linear = codeLinear(target)
        if exitRequest == 0, let block = recallBlock(linear) {
            // Within a page the translation is that of the running code: a link needs no further check.
            if (linear ^ codeLinear(state.blockRIP)) & ~0xFFF == 0, !processor.underWay.isCareful {
                cursor.op.link = block.address
            }
            return enter(block, at: target)
        }
        state.rip = target
        return stopped(.boundary)
    }
}
