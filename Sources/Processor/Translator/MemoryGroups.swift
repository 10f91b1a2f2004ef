import X86

/// Which accesses of a basic block share a check: those at constant distances from one value of a register, as long as the
/// span is small. A register's value is known by the point at which it was last computed and what was added to it since, so
/// that a function's pushes and the accesses to its frame are one group.
struct MemoryGroups {
    /// How far apart the first and the last byte of a group may be.
    private static let longestSpan = 512

    struct Group {
        /// Bytes from the value that the group counts from.
        var low: Int
        var high: Int
        var isWrite: Bool
        var span: Int { high - low }
    }

    /// An access of a step.
    struct Access {
        var group: Int
        /// The register that its address is made from, where it is one and a displacement.
        var register: UInt8?
        /// That register's distance from the group's value when the step begins.
        var distance = 0
    }

    private(set) var groups: [Group] = []
    /// Of memory operands, by the step's index.
    private(set) var operands: [Access?] = []
    /// Of what is pushed and popped.
    private(set) var stack: [Access?] = []
    /// Which groups each basic block has.
    private(set) var ofBlocks: [Range<Int>] = []

    /// A value that a register held, and the register's distance from it.
    private struct Value {
        var number: Int
        var distance = 0
    }

    private var values = [Value](repeating: Value(number: 0), count: 16)
    /// The open group of each value, by its number.
    private var open: [Int?] = []
    private var sharing = true

    /// Those of a superblock instead of all before. With `sharing` off each access is checked by itself.
    mutating func find(_ superblock: Superblock, sharing: Bool) {
        self.sharing = sharing
        groups.removeAll(keepingCapacity: true)
        ofBlocks.removeAll(keepingCapacity: true)
        open.removeAll(keepingCapacity: true)
        let steps = superblock.steps
        operands.refill(nil, count: steps.count)
        stack.refill(nil, count: steps.count)
        for block in superblock.blocks {
            forget(.all)
            let first = groups.count
            for index in block.steps { note(steps[index], index) }
            ofBlocks.append(first..<groups.count)
        }
    }

    private mutating func note(_ step: Superblock.Step, _ index: Int) {
        let instruction = step.instruction
        let rsp = GeneralRegister.rsp.rawValue
        switch step.kind {
        case .push, .call: stack[index] = access(rsp, -8, size: 8, isWrite: true)
        case .callIndirect:
            if instruction.hasMemoryOperand { operands[index] = access(step) }
            stack[index] = access(rsp, -8, size: 8, isWrite: true)
        case .pop, .returnNear: stack[index] = access(rsp, 0, size: 8, isWrite: false)
        case .leave: stack[index] = access(GeneralRegister.rbp.rawValue, 0, size: 8, isWrite: false)
        case .plain, .x87, .loadMXCSR, .loadControlWord, .divide, .jumpIndirect:
            if step.accessesMemory { operands[index] = access(step) }
        default: break
        }
        follow(step)
    }

    private mutating func access(_ step: Superblock.Step) -> Access {
        let memory = step.instruction.memory
        let isWrite = step.writesMemory
        let size = Int(step.instruction.memorySize)
        if memory.base < 16, memory.index == MemoryOperand.noRegister, memory.segment != .fs, memory.segment != .gs {
            return access(memory.base, Int(memory.displacement), size: size, isWrite: isWrite)
        }
        groups.append(Group(low: 0, high: size, isWrite: isWrite))
        return Access(group: groups.count - 1)
    }

    private mutating func access(_ register: UInt8, _ displacement: Int, size: Int, isWrite: Bool) -> Access {
        let value = values[Int(register)]
        let low = value.distance + displacement
        if sharing, let known = open[value.number] {
            let (newLow, newHigh) = (min(groups[known].low, low), max(groups[known].high, low + size))
            if newHigh - newLow <= MemoryGroups.longestSpan {
                groups[known].low = newLow
                groups[known].high = newHigh
                groups[known].isWrite = groups[known].isWrite || isWrite
                return Access(group: known, register: register, distance: value.distance)
            }
        }
        groups.append(Group(low: low, high: low + size, isWrite: isWrite))
        open[value.number] = groups.count - 1
        return Access(group: groups.count - 1, register: register, distance: value.distance)
    }

    // MARK: What registers hold

    private mutating func follow(_ step: Superblock.Step) {
        let instruction = step.instruction
        let (rsp, rbp) = (Int(GeneralRegister.rsp.rawValue), Int(GeneralRegister.rbp.rawValue))
        switch step.kind {
        case .interpreted: forget(.all)
        case .push, .call, .callIndirect: values[rsp].distance -= 8
        case .pop:
            values[rsp].distance += 8
            if case .register(let register, _) = instruction.operands[0] { forget([register]) }
        case .leave:
            values[rsp] = Value(number: values[rbp].number, distance: values[rbp].distance + 8)
            forget([UInt8(rbp)])
        default:
            if let (register, value) = moved(instruction) {
                values[register] = value
            } else {
                forget(step.written)
            }
        }
    }

    private mutating func forget(_ registers: RegisterSet) {
        for register in registers {
            values[Int(register)] = Value(number: open.count)
            open.append(nil)
        }
    }

    /// Where an instruction gives a register a value known before, at a constant distance.
    private func moved(_ instruction: Instruction) -> (Int, Value)? {
        guard case .register(let number, size: 8) = instruction.operands[0] else { return nil }
        func shifted(_ from: UInt8, _ by: Int) -> (Int, Value)? {
            var value = values[Int(from)]
            let (sum, overflow) = value.distance.addingReportingOverflow(by)
            // Distances become displacements.
            guard !overflow, sum > -1 << 28, sum < 1 << 28 else { return nil }
            value.distance = sum
            return (Int(number), value)
        }
        let immediate = Int(truncatingIfNeeded: Int64(bitPattern: instruction.immediate))
        switch (instruction.mnemonic, instruction.operands[1]) {
        case (.add, .immediate): return shifted(number, immediate)
        case (.sub, .immediate): return immediate == .min ? nil : shifted(number, -immediate)
        case (.mov, .register(let from, size: 8)): return shifted(from, 0)
        case (.lea, .memory):
            let memory = instruction.memory
            guard memory.base < 16, memory.index == MemoryOperand.noRegister, instruction.addressSize == 8 else {
                return nil
            }
            return shifted(memory.base, Int(memory.displacement))
        default: return nil
        }
    }
}
