import X86

/// What an instruction has to do with the status flags.
struct FlagUse {
    /// Some of them matter to what it does, or stay as they were.
    let dependsOnFormer: Bool
    let writes: Bool

    static let status: RFLAGS = [.CF, .PF, .AF, .ZF, .SF, .OF]

    init(_ instruction: Instruction) {
        let row = instruction.opcodeRow
        let touched = row.flagsWritten.union(row.flagsUndefined).intersection(FlagUse.status)
        writes = !touched.isEmpty
        let reads =
            switch instruction.mnemonic {
            case .jcc, .setcc, .cmovcc: true
            default: !row.flagsRead.isDisjoint(with: FlagUse.status)
            }
        dependsOnFormer = reads || (writes && (row.flagsMayBeKept || touched != FlagUse.status))
    }

    /// Overwrites all of them whatever they were.
    var overwrites: Bool { writes && !dependsOnFormer }
}

extension Superblock {
    /// Works out at the beginning of which blocks the flags must be in the state: where something that may leave comes before
    /// they are overwritten, there or on a way from there.
    mutating func placeFlags() {
        var changed = true
        while changed {
            changed = false
            for index in blocks.indices where !blocks[index].wantsSavedFlags && wantsSavedFlags(blocks[index]) {
                setWantsSavedFlags(index)
                changed = true
            }
        }
    }

    private func wantsSavedFlags(_ block: BasicBlock) -> Bool {
        for step in block.steps {
            let kind = InstructionKind(step, mode)
            if kind.mayLeave(step.instruction) { return true }
            if FlagUse(step.instruction).overwrites { return false }
        }
        return leavesAtEnd(block) || block.successors.contains { blocks[$0].wantsSavedFlags }
    }

    /// Control may leave the superblock behind the last step.
    func leavesAtEnd(_ block: BasicBlock) -> Bool {
        guard let last = block.steps.last else { return true }
        let kind = InstructionKind(last, mode)
        if let target = kind.targetInPage, starts[target] == nil { return true }
        if kind.fallsThrough, starts[last.next] == nil { return true }
        switch kind {
        case .plain, .nothing, .push, .pop, .leave: return false
        case .jump(let target), .jumpIf(_, let target): return !(0..<4096).contains(target)
        default: return true
        }
    }
}
