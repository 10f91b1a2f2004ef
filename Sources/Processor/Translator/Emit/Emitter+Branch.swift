import X86

/// Branches: inside the superblock a jump; elsewhere by the look-up of code at an address.
extension Emitter {
    /// Goes on at an offset in the page, from a basic block whose code ends here: falls through where that comes next.
    ///
    /// `branch`: the offset of the branch that leads there, if it is one.
    mutating func goOn(to target: Int, from block: Int, branch: Int? = nil) {
        guard let next = superblock.starts[target], next < superblock.blocks.count else {
            saveFlags()
            assembler.jmp(jumpExit(target, branch))
            return
        }
        if next <= block {
            jumpBack(to: next, target)
            return
        }
        settle(for: next)
        if next != block + 1 { assembler.jmp(labels[next], .near) }
    }

    /// A way back may be a loop: whoever wants this vCPU gets it there.
    private mutating func jumpBack(to block: Int, _ target: Int) {
        saveFlags()
        assembler.cmp(state(CPUState.exitRequestOffset), 0, .long)
        flags = .state
        assembler.jcc(.nz, boundaryExit(target))
        if !superblock.blocks[block].wantsSavedFlags { restoreFlags() }
        assembler.jmp(labels[block], .near)
    }

    /// Puts the flags where a block that is jumped to has them.
    private mutating func settle(for block: Int) {
        guard superblock.blocks[block].isTarget else { return }
        if superblock.blocks[block].wantsSavedFlags {
            saveFlags()
        } else {
            restoreFlags()
        }
    }

    mutating func emitJump(to target: Int, from block: Int, _ step: Superblock.Step) {
        goOn(to: target, from: block, branch: step.offset)
    }

    mutating func emitJump(if condition: Condition, to target: Int, from block: Int, _ step: Superblock.Step) {
        restoreFlags()
        if let inside = superblock.starts[target], inside > block {
            if superblock.blocks[inside].wantsSavedFlags { saveFlags() }
            assembler.jcc(condition, labels[inside], .near)
            return
        }
        // A way back, or out.
        let over = assembler.label()
        saveFlags()
        assembler.jcc(condition.opposite, over)
        goOn(to: target, from: block, branch: step.offset)
        assembler.place(over)
        flags = .both
    }

    // MARK: By a register or memory, calls and returns

    mutating func emitCall(_ step: Superblock.Step, to target: Int) {
        saveFlags()
        loadRIP(Homes.scratch.0, target)
        checkTarget(step.offset)
        pushNext(step)
        assembler.jmp(jumpExit(target, nil))
    }

    mutating func emitReturn(_ step: Superblock.Step) {
        let place = checkedPlace(step, Homes.stackPointer, 0, isWrite: false)
        markAccess(step)
        assembler.mov(Homes.scratch.0, place)
        checkTarget(step.offset)
        let more = Int(truncatingIfNeeded: step.instruction.immediate & 0xFFFF)
        assembler.lea(Homes.stackPointer, .at(Homes.stackPointer, 8 + more))
        assembler.jmp(leaves.lookUp)
    }

    mutating func emitJumpIndirect(_ step: Superblock.Step) {
        loadTarget(step)
        checkTarget(step.offset)
        assembler.jmp(leaves.lookUp)
    }

    mutating func emitCallIndirect(_ step: Superblock.Step) {
        loadTarget(step)
        checkTarget(step.offset)
        // The check of the stack wants both scratch registers.
        assembler.mov(state(CPUState.spillOffset), Homes.scratch.0)
        pushNext(step)
        assembler.mov(Homes.scratch.0, state(CPUState.spillOffset))
        assembler.jmp(leaves.lookUp)
    }

    /// The target of an indirect branch, in the first scratch register.
    private mutating func loadTarget(_ step: Superblock.Step) {
        saveFlags()
        if case .register(let guest, _) = step.instruction.operands[0] {
            assembler.mov(Homes.scratch.0, loaded(guest, Homes.scratch.0))
        } else {
            let place = checked(step).memory
            markAccess(step)
            assembler.mov(Homes.scratch.0, place)
        }
    }

    /// A target that is not canonical is the interpreter's to refuse.
    mutating func checkTarget(_ offset: Int) {
        let (first, second) = Homes.scratch
        assembler.mov(second, first)
        assembler.shl(second, 16)
        assembler.sar(second, 16)
        assembler.cmp(second, first)
        flags = .state
        assembler.jcc(.nz, coldExit(offset))
    }
}

extension Condition {
    /// Holds where this one does not.
    var opposite: Condition { Condition(rawValue: rawValue ^ 1) ?? self }
}
