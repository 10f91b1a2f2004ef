/// A segment register with its hidden part. Intel SDM vol. 3, 3.4.3.
public struct SegmentRegister: Sendable, Equatable {
    public var base: UInt64 = 0
    /// In bytes, granularity applied.
    public var limit: UInt32 = 0xFFFF
    public var selector: UInt16 = 0
    /// Bits 0…3 type, 4 S, 5…6 DPL, 7 P, 8 unusable, 12 AVL, 13 L, 14 D/B, 15 G.
    public var attributes: UInt16 = 0

    public init(base: UInt64 = 0, limit: UInt32 = 0xFFFF, selector: UInt16 = 0, attributes: UInt16 = 0) {
        self.base = base
        self.limit = limit
        self.selector = selector
        self.attributes = attributes
    }
}

/// GDTR or IDTR.
public struct DescriptorTableRegister: Sendable, Equatable {
    public var base: UInt64 = 0
    public var limit: UInt16 = 0xFFFF
    public init(base: UInt64 = 0, limit: UInt16 = 0xFFFF) {
        self.base = base
        self.limit = limit
    }
}
