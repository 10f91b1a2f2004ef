// Accesses to memory that no slot shows. Documentation/virt/kvm/api.rst, section 5, KVM_EXIT_MMIO.

/// Where an MMIO exit's fields are in its payload.
private enum Field {
    static var address: Int { 0 }
    static var data: Int { 8 }
    static var length: Int { 16 }
}

/// The guest reads where no slot is. A wide or straddling access comes in pieces.
public struct MMIORead: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    /// Guest-physical.
    public var address: UInt64 { view.load(Field.address) }
    /// 1 to 8 bytes.
    public var size: Int { Int(min(view.load(Field.length, as: UInt32.self), 8)) }

    /// Answers with the low `size` bytes of a little-endian value.
    public func answer(_ value: UInt64) { view.store(value, Field.data) }
}

/// The guest writes where no slot is, or to a read-only slot.
public struct MMIOWrite: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    /// Guest-physical.
    public var address: UInt64 { view.load(Field.address) }
    /// 1 to 8 bytes.
    public var size: Int { Int(min(view.load(Field.length, as: UInt32.self), 8)) }
    /// What is written, little-endian, zero-extended.
    public var value: UInt64 {
        let raw: UInt64 = view.load(Field.data)
        return size >= 8 ? raw : raw & (1 << UInt64(size * 8) - 1)
    }
    /// The bytes, copied.
    public var bytes: [UInt8] { view.bytes(Field.data, size) }
}
