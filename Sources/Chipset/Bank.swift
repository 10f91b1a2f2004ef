// A bank of registers: so many of them, always.

/// A fixed number of equal registers in place. Decoding refuses another number.
package struct Bank<let count: Int, Element: Codable & Sendable>: Codable, Sendable {
    private var elements: InlineArray<count, Element>

    package init(repeating element: Element) { elements = InlineArray(repeating: element) }

    package var indices: Range<Int> { 0..<count }

    package subscript(index: Int) -> Element {
        get { elements[index] }
        set { elements[index] = newValue }
    }

    package init(from decoder: any Decoder) throws {
        var container = try decoder.unkeyedContainer()
        let first = try container.decode(Element.self)
        elements = InlineArray(repeating: first)
        for index in 1..<Swift.max(1, count) {
            elements[index] = try container.decode(Element.self)
        }
        guard container.isAtEnd else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "more than \(count) registers")
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.unkeyedContainer()
        for index in 0..<count { try container.encode(elements[index]) }
    }

    /// The registers as an array.
    package var array: [Element] { (0..<count).map { elements[$0] } }

    /// Replaces the first registers by the array's elements.
    package mutating func assign(_ array: [Element]) {
        for (index, element) in array.prefix(count).enumerated() { elements[index] = element }
    }
}
