import X86

/// Branches: inside the superblock a jump; elsewhere by a link, which knows where the jump went last.
extension Emitter {
    /// Whoever wants this vCPU gets it here.
    mutating func emitGate(_ offset: Int) {
        clobberFlags()
        assembler.cmp(state(CPUState.exitRequestOffset), 0, .long)
        assembler.jcc(.nz, boundaryExit(offset), .near)
    }

    /// Goes on at an offset in the page behind a step: returns the version of a basic block that is to be written next.
    mutating func goOn(to target: Int, _ step: Superblock.Step) -> Version? {
        guard let next = superblock.starts[target] else {
            leave(to: target, from: step)
            return nil
        }
        let version = arrival(at: next, from: step)
        if isWritten(version) {
            assembler.jmp(label(version), .near)
            return nil
        }
        _ = label(version)
        return version
    }

    /// The version of a block in the superblock that a jump from here may go to, flags and all.
    private mutating func arrival(at next: Int, from step: Superblock.Step) -> Version {
        let isBack = superblock.start(of: next) <= step.offset
        if isBack, !flags.survivesClobbering { saveFlags() }
        let exact = version(next, flags, hasGate: isBack)
        if mayBe(exact) { return exact }
        saveFlags()
        return version(next, .saved, hasGate: isBack)
    }

    mutating func emitJump(to target: Int, _ step: Superblock.Step) {
        if let next = goOn(to: target, step) { assembler.jmp(label(next), .near) }
    }

    mutating func emitJump(if condition: Condition, to target: Int, _ step: Superblock.Step) {
        restoreFlags()
        if let next = superblock.starts[target] {
            let version = arrival(at: next, from: step)
            assembler.jcc(condition, label(version), .near)
            return
        }
        let out = assembler.label()
        assembler.jcc(condition, out, .near)
        later { emitter in
            emitter.assembler.place(out)
            emitter.leave(to: target, from: step)
        }
    }

    // MARK: Out of the superblock

    /// On to code elsewhere: in this page, whose translation is this one's, or in another.
    mutating func leave(to target: Int, from step: Superblock.Step) {
        saveFlags()
        // Something in each loop has to look.
        if target <= step.offset || target >= 4096 { emitGateToward(target) }
        let link = newLink()
        let miss = assembler.label()
        if 0..<4096 ~= target {
            assembler.mov(Homes.scratch.1, state(CPUState.linkStampOffset))
            assembler.cmp(Homes.scratch.1, state(EmittedData.link(link) + EmittedData.stampOffset))
            assembler.jcc(.nz, miss, .near)
            assembler.jmp(state(EmittedData.link(link) + EmittedData.targetOffset))
        } else {
            loadRIP(Homes.scratch.0, target)
            follow(link, miss: miss)
        }
        flags = .saved
        later { emitter in
            emitter.assembler.place(miss)
            emitter.loadRIP(Homes.scratch.0, target)
            // The interpreter refuses one that is not canonical.
            if !(0..<4096 ~= target) { emitter.checkTarget(step.offset) }
            emitter.assembler.mov(Homes.scratch.1, link, .long)
            emitter.assembler.jmp(emitter.leaves.linkMiss)
        }
    }

    /// A gate before a jump out, whose boundary is its target.
    private mutating func emitGateToward(_ target: Int) {
        assembler.cmp(state(CPUState.exitRequestOffset), 0, .long)
        flags = .saved
        assembler.jcc(.nz, boundaryExit(target), .near)
    }

    /// Follows a link if it leads to the RIP in the first scratch register.
    private mutating func follow(_ link: Int, miss: Assembler.Label) {
        let (first, second) = Homes.scratch
        assembler.cmp(first, state(EmittedData.link(link)))
        assembler.jcc(.nz, miss, .near)
        assembler.mov(second, state(CPUState.linkStampOffset))
        assembler.cmp(second, state(EmittedData.link(link) + EmittedData.stampOffset))
        assembler.jcc(.nz, miss, .near)
        assembler.and(first, -4096)
        assembler.mov(state(CPUState.codeBaseOffset), first)
        assembler.jmp(state(EmittedData.link(link) + EmittedData.targetOffset))
    }

    /// Goes on at the RIP in the first scratch register, which has been checked.
    private mutating func followIndirectly() {
        saveFlagsBesideTarget()
        assembler.cmp(state(CPUState.exitRequestOffset), 0, .long)
        assembler.jcc(.nz, leaves.lookUp, .near)
        let link = newLink()
        let miss = assembler.label()
        follow(link, miss: miss)
        flags = .saved
        later { emitter in
            emitter.assembler.place(miss)
            emitter.assembler.mov(Homes.scratch.1, link, .long)
            emitter.assembler.jmp(emitter.leaves.linkMiss)
        }
    }

    /// As `saveFlags`, which uses the first scratch register: callers have saved before.
    private func saveFlagsBesideTarget() { precondition(flags.isSaved, "flags are saved before a target is made") }

    // MARK: By a register or memory, calls and returns

    mutating func emitCall(_ step: Superblock.Step, to target: Int) {
        if !(0..<4096 ~= target) {
            // One beyond the canonical addresses is the interpreter's to refuse, before anything is pushed.
            clobberFlags()
            loadRIP(Homes.scratch.0, target)
            checkTarget(step.offset)
        }
        pushNext(step)
        leave(to: target, from: step)
    }

    mutating func emitReturn(_ step: Superblock.Step) {
        let place = checkedPlace(step, Homes.stackPointer, 0)
        saveFlags()
        markAccess(step)
        assembler.mov(Homes.scratch.0, place)
        let more = 8 + Int(truncatingIfNeeded: step.instruction.immediate & 0xFFFF)
        followAny(step, popping: more)
    }

    mutating func emitJumpIndirect(_ step: Superblock.Step) {
        loadTarget(step)
        followAny(step, popping: 0)
    }

    /// Goes on at the RIP in the first scratch register, which many may be: by the link that its address leads to.
    private mutating func followAny(_ step: Superblock.Step, popping: Int) {
        let (first, second) = Homes.scratch
        let miss = assembler.label(), isStale = assembler.label()
        (held, flags.isInHost) = (nil, false)
        // Something in each loop has to look, and a loop may go back by returns alone.
        assembler.cmp(state(CPUState.exitRequestOffset), 0, .long)
        assembler.jcc(.nz, miss, .near)
        assembler.mov(second, first, .long)
        assembler.and(second, EmittedData.targetCount - 1, .long)
        assembler.shl(second, MemoryLayout<EmittedData.Link>.stride.trailingZeroBitCount, .long)
        func field(_ offset: Int) -> Assembler.Memory { Assembler.Memory(second, EmittedData.targets + offset).in(.gs) }
        assembler.cmp(first, field(0))
        assembler.jcc(.nz, miss, .near)
        assembler.mov(first, state(CPUState.linkStampOffset))
        assembler.cmp(first, field(EmittedData.stampOffset))
        assembler.jcc(.nz, isStale, .near)
        assembler.mov(first, field(EmittedData.pageOffset))
        assembler.mov(state(CPUState.codeBaseOffset), first)
        if popping != 0 { assembler.lea(Homes.stackPointer, .at(Homes.stackPointer, popping)) }
        assembler.jmp(field(EmittedData.targetOffset))
        flags = .saved
        later { emitter in
            emitter.assembler.place(isStale)
            emitter.assembler.mov(first, field(0))
            emitter.assembler.place(miss)
            emitter.checkTarget(step.offset)
            if popping != 0 { emitter.assembler.lea(Homes.stackPointer, .at(Homes.stackPointer, popping)) }
            emitter.assembler.mov(second, first, .long)
            emitter.assembler.and(second, EmittedData.targetCount - 1, .long)
            emitter.assembler.jmp(emitter.leaves.targetMiss)
        }
    }

    mutating func emitCallIndirect(_ step: Superblock.Step) {
        saveFlags()
        loadTarget(step)
        checkTarget(step.offset)
        // The push wants both scratch registers.
        assembler.mov(state(CPUState.spillOffset(3)), Homes.scratch.0)
        pushNext(step)
        assembler.mov(Homes.scratch.0, state(CPUState.spillOffset(3)))
        followIndirectly()
    }

    /// The target of an indirect branch, in the first scratch register, with the flags saved.
    private mutating func loadTarget(_ step: Superblock.Step) {
        if case .register(let guest, _) = step.instruction.operands[0] {
            saveFlags()
            assembler.mov(Homes.scratch.0, loaded(guest, Homes.scratch.0))
        } else {
            saveFlags()
            let (memory, _) = checkedOperand(step, needsFlags: false, needsScratch: false)
            markAccess(step)
            assembler.mov(Homes.scratch.0, memory)
        }
    }

    /// A target that is not canonical is the interpreter's to refuse. Uses the second scratch register.
    mutating func checkTarget(_ offset: Int) {
        let (first, second) = Homes.scratch
        held = nil
        flags.isInHost = false
        assembler.mov(second, first)
        assembler.shl(second, 16)
        assembler.sar(second, 16)
        assembler.cmp(second, first)
        assembler.jcc(.nz, coldExit(offset), .near)
    }
}
