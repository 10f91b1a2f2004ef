// Port accesses. The data lies in the run area where the exit says, `size` bytes `count` times (INS and OUTS with REP).
// Documentation/virt/kvm/api.rst, section 5, KVM_EXIT_IO.

internal import KVMABI

/// Where a port exit's fields are in its payload.
private enum Field {
    static var size: Int { 1 }
    static var port: Int { 2 }
    static var count: Int { 4 }
    static var dataOffset: Int { 8 }
}

/// The guest writes to a port.
public struct PortOut: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var port: UInt16 { view.load(Field.port) }
    /// The width of one access: 1, 2 or 4 bytes.
    public var size: Int { Int(view.load(Field.size, as: UInt8.self)) }
    /// How many accesses of that width.
    public var count: Int { Int(view.load(Field.count, as: UInt32.self)) }
    /// What the first access wrote.
    public var value: UInt32 { value(at: 0) }
    /// What an access wrote; 0 if there is none of that index.
    public func value(at index: Int) -> UInt32 { view.portElement(index, size, count) }
    /// All bytes, copied.
    public var bytes: [UInt8] { view.portBytes(size, count) }
}

/// The guest reads from a port.
public struct PortIn: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var port: UInt16 { view.load(Field.port) }
    /// The width of one access: 1, 2 or 4 bytes.
    public var size: Int { Int(view.load(Field.size, as: UInt8.self)) }
    /// How many accesses of that width.
    public var count: Int { Int(view.load(Field.count, as: UInt32.self)) }

    /// Answers every access with this value, cut to its width.
    public func answer(_ value: UInt32) {
        let size = size
        let count = min(count, view.size)
        for index in 0..<count { view.setPortElement(index, size, count, value) }
    }

    /// Answers one access.
    public func answer(_ value: UInt32, at index: Int) { view.setPortElement(index, size, count, value) }

    /// Answers with bytes in their order; what is missing stays as it is.
    public func answer(bytes: some Sequence<UInt8>) { view.setPortBytes(size, count, bytes) }
}

extension PayloadView {
    /// The place of an access's data, if it is inside the mapping.
    private func place(_ index: Int, _ size: Int, _ count: Int) -> Int? {
        guard index >= 0, index < count else { return nil }
        let offset = load(Field.dataOffset, as: UInt64.self) &+ UInt64(index &* size)
        return contains(offset, size) ? Int(offset) : nil
    }

    fileprivate func portElement(_ index: Int, _ size: Int, _ count: Int) -> UInt32 {
        guard let place = place(index, size, count) else { return 0 }
        return switch size {
        case 1: UInt32(area.load(place, as: UInt8.self))
        case 2: UInt32(area.load(place, as: UInt16.self))
        case 4: area.load(place)
        default: 0
        }
    }

    fileprivate func setPortElement(_ index: Int, _ size: Int, _ count: Int, _ value: UInt32) {
        guard let place = place(index, size, count) else { return }
        switch size {
        case 1: area.store(UInt8(truncatingIfNeeded: value), place)
        case 2: area.store(UInt16(truncatingIfNeeded: value), place)
        case 4: area.store(value, place)
        default: break
        }
    }

    fileprivate func portBytes(_ size: Int, _ count: Int) -> [UInt8] {
        let offset = load(Field.dataOffset, as: UInt64.self)
        let length = size &* count
        guard contains(offset, length) else { return [] }
        var bytes: [UInt8] = []
        for index in 0..<length { bytes.append(area.load(Int(offset) + index)) }
        return bytes
    }

    fileprivate func setPortBytes(_ size: Int, _ count: Int, _ bytes: some Sequence<UInt8>) {
        let offset = load(Field.dataOffset, as: UInt64.self)
        let length = size &* count
        guard contains(offset, length) else { return }
        var place = Int(offset)
        for byte in bytes.prefix(length) {
            area.store(byte, place)
            place += 1
        }
    }
}
