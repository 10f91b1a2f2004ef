import X86

/// What an instruction has to do with the status flags.
struct FlagUse {
    /// Some of them matter to what it does.
    let reads: Bool
    /// Some of them matter, or stay as they were.
    let dependsOnFormer: Bool
    let writes: Bool

    static let status: RFLAGS = [.CF, .PF, .AF, .ZF, .SF, .OF]

    init(_ instruction: Instruction, _ row: OpcodeRow) {
        let touched = row.flagsWritten.union(row.flagsUndefined).intersection(FlagUse.status)
        writes = !touched.isEmpty
        reads =
            switch instruction.mnemonic {
            case .jcc, .setcc, .cmovcc: true
            default: !row.flagsRead.isDisjoint(with: FlagUse.status)
            }
        dependsOnFormer =
            reads
            || (writes && (row.flagsMayBeKept && !FlagUse.shiftsForSure(instruction) || touched != FlagUse.status))
    }

    /// Overwrites all of them whatever they were.
    var overwrites: Bool { writes && !dependsOnFormer }

    /// A shift by a count that is an immediate value and not 0.
    private static func shiftsForSure(_ instruction: Instruction) -> Bool {
        switch instruction.mnemonic {
        case .shl, .shr, .sar, .shld, .shrd: break
        default: return false
        }
        guard instruction.operandCount > 1, case .immediate = instruction.operands[Int(instruction.operandCount) - 1]
        else {
            return false
        }
        let isQuad =
            switch instruction.operands[0] {
            case .register(_, size: 8), .memory(size: 8): true
            default: false
            }
        return instruction.immediate & (isQuad ? 63 : 31) != 0
    }
}

extension Superblock {
    /// Finds the blocks at whose beginning nobody sees the flags any more: they are overwritten, there or on each way from there,
    /// before anything reads them or may leave.
    mutating func findDeadFlags() {
        // Assumed of all, and taken back where it is not so: what a loop carries round is dead if nothing in it looks.
        for index in blocks.indices { blocks[index].flagsAreDead = true }
        var changed = true
        while changed {
            changed = false
            for index in blocks.indices where blocks[index].flagsAreDead && seesFlags(blocks[index]) {
                blocks[index].flagsAreDead = false
                changed = true
            }
        }
    }

    private func seesFlags(_ block: BasicBlock) -> Bool {
        // Where code is entered somebody may have come from a leaving.
        for index in block.steps {
            let use = steps[index].flagUse
            if steps[index].mayLeave || use.dependsOnFormer { return true }
            if use.overwrites { return false }
        }
        if leavesAtEnd(block) || block.following == nil && block.target == nil { return true }
        func isSeen(_ next: Int?) -> Bool { next.map { !blocks[$0].flagsAreDead } ?? false }
        return isSeen(block.following) || isSeen(block.target)
    }

    /// Control may leave the superblock behind the last step.
    private func leavesAtEnd(_ block: BasicBlock) -> Bool {
        let last = steps[block.steps.upperBound - 1]
        let kind = last.kind
        if kind.targetInPage != nil, block.target == nil { return true }
        if kind.fallsThrough, block.following == nil { return true }
        switch kind {
        case .plain, .x87, .nothing, .push, .pop, .leave, .divide, .interpreted: return false
        case .jump(let target), .jumpIf(_, let target):
            // A way back has a gate.
            return !(0..<4096).contains(target) || target <= last.offset
        default: return true
        }
    }
}
