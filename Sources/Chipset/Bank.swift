// A bank of registers: so many of them, always.

/// A fixed number of equal registers. Decoding refuses another number.
///
/// It is an array, not an inline one: the compiler copies inline arrays whole to read one element of them.
package struct Bank<let count: Int, Element: Codable & Sendable>: Codable, Sendable {
    private var elements: [Element]

    package init(repeating element: Element) { elements = Array(repeating: element, count: count) }

    package subscript(index: Int) -> Element {
        get { elements[index] }
        set { elements[index] = newValue }
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        elements = try container.decode([Element].self)
        guard elements.count == count else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "\(elements.count) registers in place of \(count)")
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(elements)
    }

    /// The registers as an array.
    package var array: [Element] { elements }

    /// Replaces the first registers by the array's elements.
    package mutating func assign(_ array: [Element]) {
        for (index, element) in array.prefix(count).enumerated() { elements[index] = element }
    }
}
