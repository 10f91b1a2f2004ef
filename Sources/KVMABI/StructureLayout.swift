// What the interface's structures are made of, for whoever has to show or to try every field of one: the log of a client's
// requests, and tests.

/// One structure: its size and its fields, by the names of <linux/kvm.h>.
public struct StructureLayout: Sendable {
    public struct Field: Sendable {
        /// As in C, with the names of what it is in: `emulation_failure.insn_size`.
        public let name: String
        /// In bytes from the structure's beginning.
        public let offset: Int

        public init(name: String, offset: Int) {
            self.name = name
            self.offset = offset
        }
    }

    public let name: String
    /// In bytes, without what follows a structure of variable length.
    public let size: Int
    public fileprivate(set) var fields: [Field]

    /// A structure made of parts of another.
    public init(name: String, size: Int, fields: [Field]) {
        self.name = name
        self.size = size
        self.fields = fields
    }

    /// Every structure of the x86 interface that <linux/kvm.h> has.
    public static let all: [StructureLayout] = {
        var layouts: [StructureLayout] = []
        let words = table.description.split(whereSeparator: { $0 == " " || $0 == "\n" })
        var index = 0
        while index + 1 < words.count {
            let number = Int(words[index + 1]) ?? -1
            if words[index].hasPrefix("kvm_"), !["kvm_valid_regs", "kvm_dirty_regs"].contains(words[index]) {
                layouts.append(StructureLayout(name: String(words[index]), size: number, fields: []))
            } else {
                layouts[layouts.count - 1].fields.append(Field(name: String(words[index]), offset: number))
            }
            index += 2
        }
        return layouts
    }()

    public static subscript(name: String) -> StructureLayout? { all.first { $0.name == name } }

    public static func offset(_ structure: String, _ field: String) -> Int? {
        self[structure]?.fields.first { $0.name == field }?.offset
    }

    /// The fields with the bytes that each takes: up to the next field, whatever is between them as padding. Where several
    /// share a place, the first has it.
    public var extents: [(name: String, range: Range<Int>)] {
        var extents: [(name: String, range: Range<Int>)] = []
        let sorted = fields.enumerated().sorted { ($0.element.offset, $0.offset) < ($1.element.offset, $1.offset) }
        for (_, field) in sorted where extents.last?.range.lowerBound != field.offset {
            if let last = extents.last { extents[extents.count - 1].range = last.range.lowerBound..<field.offset }
            extents.append((field.name, field.offset..<max(size, field.offset)))
        }
        return extents
    }
}
