import X86

extension OracleRunner {
    /// The smallest case found that still differs: instructions are left out one after the other, then state is set to zero.
    public func shrink(_ finding: Finding) throws -> Finding {
        var best = finding
        best.before = []
        func isStillWrong(_ test: OracleCase) throws -> Bool {
            let differences = try differences(of: test, after: best.before)
            guard !differences.isEmpty else { return false }
            best = Finding(test: test, differences: differences, before: best.before)
            return true
        }
        if try !isStillWrong(best.test) {
            // What ran before it matters: as few of those as will do. A difference that does not come again can't be made
            // smaller.
            best.before = finding.before
            guard try isStillWrong(best.test) else { return finding }
            var index = 0
            while index < best.before.count {
                let all = best.before
                best.before.remove(at: index)
                if try !isStillWrong(best.test) {
                    best.before = all
                    index += 1
                }
            }
            for earlier in best.before.indices { try shrinkEarlier(earlier, &best) }
        }
        var removed = true
        while removed {
            removed = false
            var index = CodeAnalysis(best.test.code, mode: best.test.mode).steps.count - 1
            while index >= 0 {
                if let code = ShrunkCode.leavingOut(index, of: best.test) {
                    var test = best.test
                    test.code = code
                    if CodeAnalysis(code, mode: test.mode).readsUndefined == nil, try isStillWrong(test) {
                        removed = true
                    }
                }
                index -= 1
            }
        }
        for index in 0..<16 where best.test.state.registers[index] != 0 {
            var test = best.test
            test.state.registers[index] = 0
            _ = try isStillWrong(test)
        }
        let initial = OracleState()
        for index in 0..<104 where best.test.state.xsave[index] != initial.xsave[index] {
            var test = best.test
            test.state.xsave[index] = initial.xsave[index]
            _ = try isStillWrong(test)
        }
        for flags in [0x202 as UInt64, 0x602] where best.test.state.rflags != flags {
            var test = best.test
            test.state.rflags = flags
            if try isStillWrong(test) { break }
        }
        var test = best.test
        test.background = 0
        _ = try isStillWrong(test)
        return best
    }
}

extension OracleRunner {
    /// Leaves instructions out of a case that runs before the one that differs.
    private func shrinkEarlier(_ index: Int, _ best: inout Finding) throws {
        var removed = true
        while removed {
            removed = false
            var step = CodeAnalysis(best.before[index].code, mode: best.before[index].mode).steps.count - 1
            while step >= 0 {
                if let code = ShrunkCode.leavingOut(step, of: best.before[index]) {
                    var before = best.before
                    before[index].code = code
                    if try !differences(of: best.test, after: before).isEmpty {
                        best.before = before
                        removed = true
                    }
                }
                step -= 1
            }
        }
    }
}

/// Code with an instruction fewer: branches and operands that count from RIP reach what they reached.
enum ShrunkCode {
    static func leavingOut(_ left: Int, of test: OracleCase) -> [UInt8]? {
        let steps = CodeAnalysis(test.code, mode: test.mode).steps
        guard steps.count > 1 else { return nil }
        let end = steps[steps.count - 1].offset + Int(steps[steps.count - 1].instruction.length)
        var places: [Int: Int] = [:]
        var place = 0
        for (index, step) in steps.enumerated() {
            places[step.offset] = place
            if index != left { place += Int(step.instruction.length) }
        }
        places[end] = place
        var code: [UInt8] = []
        for (index, step) in steps.enumerated() where index != left {
            let length = Int(step.instruction.length)
            var bytes = Array(test.code[step.offset..<step.offset + length])
            let next = step.offset + length
            func put(_ value: Int, at offset: Int, size: Int) {
                for byte in 0..<size { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
            }
            if case .relative(let size) = step.instruction.operands[0] {
                let target = next &+ Int(truncatingIfNeeded: Int64(bitPattern: step.instruction.immediate))
                guard let newTarget = places[target] else { return nil }
                put(newTarget - (code.count + length), at: length - Int(size), size: Int(size))
            } else if step.instruction.memory.base == MemoryOperand.ripRegister, step.instruction.hasMemoryOperand {
                var immediates = 0
                for operand in 0..<Int(step.instruction.operandCount) {
                    if case .immediate(let size) = step.instruction.operands[operand] { immediates += Int(size) }
                    if step.instruction.opcodeRow.operands[operand].kind == .L { immediates += 1 }
                }
                let moved = step.offset - code.count
                put(
                    Int(truncatingIfNeeded: step.instruction.memory.displacement) + moved, at: length - immediates - 4,
                    size: 4)
            }
            code += bytes
        }
        return code
    }
}
