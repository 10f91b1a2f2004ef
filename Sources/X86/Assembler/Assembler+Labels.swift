extension Assembler {
    /// A place in the code that jumps and memory operands name, before or after it is known.
    public struct Label: Sendable, Hashable {
        @usableFromInline let index: Int32
        @usableFromInline init(index: Int32) { self.index = index }
    }

    /// Code whose labels all have their places.
    public struct Code: Sendable {
        public let bytes: [UInt8]
        fileprivate let layout: Layout

        /// Where a label is, from the code's start.
        public func offset(of label: Label) -> Int { layout.offset(of: label) }
    }

    /// Where things are once the lengths of jumps are known.
    fileprivate struct Layout {
        let places: [Place]
        /// Bytes of jumps before each jump, and at last of all.
        var starts: [Int]

        func offset(of label: Label) -> Int {
            switch places[Int(label.index)] {
            case .unknown: preconditionFailure("a label was not placed")
            case .inside(let bytes, let jumps): bytes + starts[jumps]
            case .outside(let offset): offset
            }
        }
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
        add(.unknown)
    }

    /// A label of what lies outside, at an offset from the code's start.
    public mutating func label(at offset: Int) -> Label {
        add(.outside(offset))
    }

    private mutating func add(_ place: Place) -> Label {
        places.append(place)
        return Label(index: Int32(places.count - 1))
    }

    /// Puts a label here.
    public mutating func place(_ label: Label) {
        guard case .unknown = places[Int(label.index)] else { preconditionFailure("a label has one place") }
        places[Int(label.index)] = .inside(bytes: position, jumps: jumps.count)
    }

    /// A label that is here.
    public mutating func here() -> Label {
        add(.inside(bytes: position, jumps: jumps.count))
    }

    mutating func jump(_ kind: Jump.Kind, _ label: Label, _ reach: Reach) {
        jumps.append(Jump(kind: kind, label: label, position: position, reach: reach))
    }

    // MARK: The end

    /// The code, with the shortest jumps that reach: all are short at first, and those that don't reach grow until all do.
    public func finished() -> Code {
        var isShort = jumps.map { $0.reach == .shortest && $0.kind.shortOpcode != nil }
        var layout = Layout(places: places, starts: Array(repeating: 0, count: jumps.count + 1))
        while true {
            place(&layout, isShort)
            var grown = false
            for (index, jump) in jumps.enumerated() where isShort[index] {
                let distance = layout.offset(of: jump.label) - (jump.position + layout.starts[index] + 2)
                if Int8(exactly: distance) == nil {
                    precondition(jump.kind.nearOpcode != nil, "a counted jump reaches 127 bytes")
                    isShort[index] = false
                    grown = true
                }
            }
            if !grown { return Code(bytes: bytes(layout, isShort), layout: layout) }
        }
    }

    private func place(_ layout: inout Layout, _ isShort: [Bool]) {
        var start = 0
        for index in jumps.indices {
            layout.starts[index] = start
            start += isShort[index] ? 2 : (jumps[index].kind.nearOpcode?.count ?? 0) + nearBytes
        }
        layout.starts[jumps.count] = start
    }

    /// Bytes of a near jump's displacement.
    private var nearBytes: Int { codeSize == .bits16 ? 2 : 4 }

    /// What was written, with the jumps between.
    private func bytes(_ layout: Layout, _ isShort: [Bool]) -> [UInt8] {
        let count = position + layout.starts[jumps.count]
        return unsafe [UInt8](unsafeUninitializedCapacity: count + 16) { code, used in
            // SAFETY: jumps and what is between them fill `count` bytes in order; a jump is stored as 16, for which there is room.
            unsafe written.withUnsafeBufferPointer { written in
                var copied = 0
                func copy(to end: Int, behind jumps: Int) {
                    guard end > copied, let from = written.baseAddress, let to = code.baseAddress else {
                        return
                    }
                    unsafe (to + copied + jumps).update(from: from + copied, count: end - copied)
                    copied = end
                }
                for (index, jump) in jumps.enumerated() {
                    copy(to: jump.position, behind: layout.starts[index])
                    let start = jump.position + layout.starts[index]
                    let encoded = encoded(jump, layout.offset(of: jump.label) - start, isShort: isShort[index])
                    unsafe UnsafeMutableRawBufferPointer(code).storeBytes(
                        of: encoded.bits.littleEndian, toByteOffset: start, as: UInt128.self)
                }
                copy(to: position, behind: layout.starts[jumps.count])
            }
            for reference in references {
                let base = layout.starts[reference.jumps]
                let value = displacement(layout.offset(of: reference.label) + reference.addend - reference.end - base)
                unsafe UnsafeMutableRawBufferPointer(code).storeBytes(
                    of: Int32(truncatingIfNeeded: value).littleEndian, toByteOffset: base + reference.position,
                    as: Int32.self)
            }
            used = count
        }
    }

    /// A jump over a distance that counts from its beginning.
    private func encoded(_ jump: Jump, _ distance: Int, isShort: Bool) -> InstructionBytes {
        var code = InstructionBytes()
        if isShort, let opcode = jump.kind.shortOpcode {
            code.append(opcode)
            code.append(Int64(distance - 2), 1)
        } else if let opcode = jump.kind.nearOpcode {
            code.append(Int64(opcode.bytes), opcode.count)
            code.append(displacement(distance - opcode.count - nearBytes), nearBytes)
        }
        return code
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

    /// The first byte in the lowest bits.
    fileprivate var nearOpcode: (bytes: Int, count: Int)? {
        switch self {
        case .jmp: (0xE9, 1)
        case .jcc(let condition): (0x800F | Int(condition.rawValue) << 8, 2)
        case .call: (0xE8, 1)
        case .counted: nil
        }
    }
}
