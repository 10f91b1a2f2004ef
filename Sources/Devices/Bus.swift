// How a port or memory-mapped access finds the device that answers it.
//
// Contract: a device claims a run of registers and says which widths it takes whole. An access that the device
// doesn't take whole is split into halves, down to bytes, each routed by itself, as an ISA bridge splits a wide
// access for a narrow card. What nobody claims reads as all ones and swallows writes (nothing drives the bus).

/// A device seen from the bus: registers at offsets from its first one.
///
/// Implementations lock for themselves; calls arrive from every vCPU's thread.
public protocol RegisterDevice: AnyObject, Sendable {
    /// Whether an access of `width` bytes (1, 2, 4 or 8) at `offset` is one access for this device.
    func takesWhole(offset: UInt64, width: Int) -> Bool

    /// The value of the register at `offset`; only the low `width` bytes count.
    func read(offset: UInt64, width: Int) -> UInt64

    /// Writes the low `width` bytes of `value` to the register at `offset`.
    func write(offset: UInt64, width: Int, value: UInt64)
}

extension RegisterDevice {
    /// Byte-wide registers, which is what most of the PC's old devices have.
    public func takesWhole(offset: UInt64, width: Int) -> Bool { width == 1 }
}

/// Why a device could not be put on a bus.
public enum BusError: Error, Equatable, CustomStringConvertible {
    /// The run is empty or goes past the end of the address space.
    case badRange(first: UInt64, count: UInt64)
    /// Another device has part of the run.
    case overlap(first: UInt64, count: UInt64)

    public var description: String {
        switch self {
        case .badRange(let first, let count):
            "a device cannot claim \(count) addresses from 0x\(String(first, radix: 16))"
        case .overlap(let first, let count):
            "\(count) addresses from 0x\(String(first, radix: 16)) are already claimed by another device"
        }
    }
}

/// The processor's 65,536 I/O ports.
public struct PortBus: Sendable {
    private struct Claim: Sendable {
        let first: UInt16
        let device: any RegisterDevice
    }

    private var claims: [Claim] = []
    /// For each port, one more than the index of its claim; 0 is nobody's.
    private var owner = [UInt8](repeating: 0, count: 65_536)

    public init() {}

    /// Gives `count` ports from `first` to `device`.
    public mutating func attach(_ device: any RegisterDevice, at first: UInt16, count: Int) throws(BusError) {
        guard count > 0, Int(first) + count <= 65_536, claims.count < 255 else {
            throw .badRange(first: UInt64(first), count: UInt64(clamping: count))
        }
        let ports = Int(first)..<(Int(first) + count)
        guard owner[ports].allSatisfy({ $0 == 0 }) else {
            throw .overlap(first: UInt64(first), count: UInt64(count))
        }
        claims.append(Claim(first: first, device: device))
        for port in ports { owner[port] = UInt8(claims.count) }
    }

    /// IN of `width` bytes (1, 2 or 4): all ones where nobody answers.
    public func read(port: UInt16, width: Int) -> UInt32 {
        if let claim = claim(port, width) {
            let value = claim.device.read(offset: UInt64(port &- claim.first), width: width)
            return UInt32(truncatingIfNeeded: value) & mask(width)
        }
        guard width > 1 else { return 0xff }
        let half = width / 2
        let low = read(port: port, width: half)
        let high = read(port: port &+ UInt16(half), width: half)
        return low | high << UInt32(half * 8)
    }

    /// OUT of `width` bytes (1, 2 or 4).
    public func write(port: UInt16, width: Int, value: UInt32) {
        if let claim = claim(port, width) {
            let offset = UInt64(port &- claim.first)
            claim.device.write(offset: offset, width: width, value: UInt64(value & mask(width)))
            return
        }
        guard width > 1 else { return }
        let half = width / 2
        write(port: port, width: half, value: value & mask(half))
        write(port: port &+ UInt16(half), width: half, value: value >> UInt32(half * 8))
    }

    /// The claim that takes the access whole.
    private func claim(_ port: UInt16, _ width: Int) -> Claim? {
        let index = owner[Int(port)]
        guard index != 0 else { return nil }
        let last = Int(port) + width - 1
        guard last < 65_536, owner[last] == index else { return nil }
        let claim = claims[Int(index) - 1]
        return claim.device.takesWhole(offset: UInt64(port &- claim.first), width: width) ? claim : nil
    }

    private func mask(_ width: Int) -> UInt32 { width >= 4 ? .max : (1 << UInt32(width * 8)) - 1 }
}

/// Guest-physical addresses that are registers rather than memory.
public struct MMIOBus: Sendable {
    private struct Claim: Sendable {
        let first: UInt64
        let last: UInt64
        let device: any RegisterDevice
    }

    /// Sorted by address, without overlaps.
    private var claims: [Claim] = []

    public init() {}

    /// Gives `count` bytes from `first` to `device`.
    public mutating func attach(
        _ device: any RegisterDevice, at first: UInt64, count: UInt64
    ) throws(BusError) {
        let (last, overflow) = first.addingReportingOverflow(count &- 1)
        guard count > 0, !overflow else { throw .badRange(first: first, count: count) }
        guard !claims.contains(where: { $0.first <= last && first <= $0.last }) else {
            throw .overlap(first: first, count: count)
        }
        let place = claims.firstIndex { $0.first > first } ?? claims.count
        claims.insert(Claim(first: first, last: last, device: device), at: place)
    }

    /// A load of `width` bytes (1, 2, 4 or 8): all ones where nobody answers.
    public func read(address: UInt64, width: Int) -> UInt64 {
        if let claim = claim(address, width) {
            return claim.device.read(offset: address &- claim.first, width: width) & mask(width)
        }
        guard width > 1 else { return 0xff }
        let half = width / 2
        let high = read(address: address &+ UInt64(half), width: half)
        return read(address: address, width: half) | high << UInt64(half * 8)
    }

    /// A store of `width` bytes (1, 2, 4 or 8).
    public func write(address: UInt64, width: Int, value: UInt64) {
        if let claim = claim(address, width) {
            claim.device.write(offset: address &- claim.first, width: width, value: value & mask(width))
            return
        }
        guard width > 1 else { return }
        let half = width / 2
        write(address: address, width: half, value: value & mask(half))
        write(address: address &+ UInt64(half), width: half, value: value >> UInt64(half * 8))
    }

    private func claim(_ address: UInt64, _ width: Int) -> Claim? {
        var low = 0
        var high = claims.count
        while low < high {
            let middle = (low + high) / 2
            if claims[middle].last < address { low = middle + 1 } else { high = middle }
        }
        guard low < claims.count, claims[low].first <= address else { return nil }
        let (last, overflow) = address.addingReportingOverflow(UInt64(width) &- 1)
        guard !overflow, last <= claims[low].last,
            claims[low].device.takesWhole(offset: address &- claims[low].first, width: width)
        else { return nil }
        return claims[low]
    }

    private func mask(_ width: Int) -> UInt64 { width >= 8 ? .max : (1 << UInt64(width * 8)) - 1 }
}
