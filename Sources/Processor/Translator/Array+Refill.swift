extension Array {
    /// So many times the same instead of what there was, in the same memory where that is enough.
    mutating func refill(_ element: Element, count: Int) {
        removeAll(keepingCapacity: true)
        append(contentsOf: repeatElement(element, count: count))
    }
}
