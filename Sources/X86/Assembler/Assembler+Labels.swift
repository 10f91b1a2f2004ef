extension Assembler {
    /// A place in the code that jumps and memory operands name, before or after it is known.
    public struct Label: Sendable, Hashable {
        let index: Int
    }

    /// Code whose labels all have their places.
    public struct Code: Sendable {
        public let bytes: [UInt8]
        fileprivate let offsets: [Int]

        /// Where a label is, from the code's start.
        public func offset(of label: Label) -> Int { offsets[label.index] }
    }

    /// Where a label is.
    enum Place {
        case unknown
        /// In the code: so many bytes and so many jumps before it.
        case inside(bytes: Int, jumps: Int)
        /// So many bytes from the code's start, whatever the code's length.
        case outside(Int)
    }

    /// A jump that is not written yet.
    struct Jump {
        var kind: Kind
        var label: Label
        /// Bytes before it.
        var position: Int
        var reach: Reach

        enum Kind {
            case jmp, jcc(Condition), call
            /// JCXZ, JECXZ and JRCXZ, LOOP and its kin: E0…E3.
            case counted(UInt8)
        }
    }

    /// How far a jump goes.
    public enum Reach: Sendable {
        /// As far as it has to.
        case shortest
        /// In its long form, so that its target can be changed later.
        case near
    }

    /// A displacement that counts from the end of its instruction, in four bytes that are written as 0.
    struct Reference {
        var label: Label
        var addend: Int
        var position: Int
        var end: Int
        var jumps: Int
    }

    // MARK: Making labels

    /// A label whose place is said later.
    public mutating func label() -> Label {
        places.append(.unknown)
        return Label(index: places.count - 1)
    }

    /// A label of what lies outside, at an offset from the code's start.
    public mutating func label(at offset: Int) -> Label {
        places.append(.outside(offset))
        return Label(index: places.count - 1)
    }

    /// Puts a label here.
    public mutating func place(_ label: Label) {
        guard case .unknown = places[label.index] else { preconditionFailure("a label has one place") }
        places[label.index] = .inside(bytes: written.count, jumps: jumps.count)
    }

    /// A label that is here.
    public mutating func here() -> Label {
        let label = label()
        place(label)
        return label
    }

    mutating func jump(_ kind: Jump.Kind, _ label: Label, _ reach: Reach) {
        jumps.append(Jump(kind: kind, label: label, position: written.count, reach: reach))
    }

    // MARK: The end

    /// The code, with the shortest jumps that reach: all are short at first, and those that don't reach grow until all do.
    public func finished() -> Code {
        var isShort = jumps.map { $0.reach == .shortest && $0.kind.shortOpcode != nil }
        while true {
            let starts = jumpStarts(isShort)
            let offsets = offsets(starts)
            var grown = false
            for (index, jump) in jumps.enumerated() where isShort[index] {
                let distance = offsets[jump.label.index] - (jump.position + starts[index] + 2)
                if Int8(exactly: distance) == nil {
                    precondition(jump.kind.nearOpcode != nil, "a counted jump reaches 127 bytes")
                    isShort[index] = false
                    grown = true
                }
            }
            if !grown { return Code(bytes: laidOut(isShort, starts, offsets), offsets: offsets) }
        }
    }

    /// Bytes of jumps before each jump, and at last of all.
    private func jumpStarts(_ isShort: [Bool]) -> [Int] {
        var starts = [0]
        for (index, jump) in jumps.enumerated() {
            let length = isShort[index] ? 2 : (jump.kind.nearOpcode?.count ?? 0) + nearBytes
            starts.append(starts[index] + length)
        }
        return starts
    }

    /// Bytes of a near jump's displacement.
    private var nearBytes: Int { codeSize == .bits16 ? 2 : 4 }

    private func offsets(_ starts: [Int]) -> [Int] {
        places.map {
            switch $0 {
            case .unknown: preconditionFailure("a label was not placed")
            case .inside(let bytes, let jumps): bytes + starts[jumps]
            case .outside(let offset): offset
            }
        }
    }

    private func laidOut(_ isShort: [Bool], _ starts: [Int], _ offsets: [Int]) -> [UInt8] {
        var code = Assembler(codeSize)
        var copied = 0
        for (index, jump) in jumps.enumerated() {
            code.bytes(written[copied..<jump.position])
            copied = jump.position
            let target = offsets[jump.label.index], start = jump.position + starts[index]
            if isShort[index], let opcode = jump.kind.shortOpcode {
                code.bytes(opcode)
                code.little(Int64(target - start - 2), 1)
            } else if let opcode = jump.kind.nearOpcode {
                code.bytes(opcode)
                code.little(displacement(target - start - opcode.count - nearBytes), nearBytes)
            }
        }
        code.bytes(written[copied...])
        var bytes = code.written
        for reference in references {
            let base = starts[reference.jumps]
            let value = displacement(offsets[reference.label.index] + reference.addend - reference.end - base)
            for index in 0..<4 {
                bytes[base + reference.position + index] = UInt8(truncatingIfNeeded: value >> Int64(8 * index))
            }
        }
        return bytes
    }

    private func displacement(_ value: Int) -> Int64 {
        precondition(Int32(exactly: value) != nil, "a label is too far away")
        return Int64(value)
    }
}

extension Assembler.Jump.Kind {
    fileprivate var shortOpcode: UInt8? {
        switch self {
        case .jmp: 0xEB
        case .jcc(let condition): 0x70 | condition.rawValue
        case .call: nil
        case .counted(let opcode): opcode
        }
    }

    fileprivate var nearOpcode: [UInt8]? {
        switch self {
        case .jmp: [0xE9]
        case .jcc(let condition): [0x0F, 0x80 | condition.rawValue]
        case .call: [0xE8]
        case .counted: nil
        }
    }
}
