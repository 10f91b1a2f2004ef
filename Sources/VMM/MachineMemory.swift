// The machine's RAM and where it lies: from 0 up to at most 3 GiB, and the rest from 4 GiB, so that the local APIC,
// the I/O APIC and the hypervisor's own pages have the gigabyte between them.

public import GuestMemory

/// A machine's RAM.
public final class MachineMemory: Sendable {
    /// Where RAM below 4 GiB ends at the latest.
    public static let holeStart: UInt64 = 3 << 30
    /// Where RAM goes on.
    public static let holeEnd: UInt64 = 4 << 30

    /// Bytes in all.
    public let size: UInt64
    /// What devices are given.
    public let ram: GuestRegions
    /// One or two, in the order of their addresses.
    public var regions: [GuestRegions.Region] { ram.regions }

    /// - Parameter size: bytes, a multiple of 4096.
    public init(size: UInt64) throws(GuestMemory.Failure) {
        guard size <= 1 << 46 else { throw .badSize(Int(clamping: size)) }
        self.size = size
        let low = min(size, Self.holeStart)
        var pieces = [GuestRegions.Region(base: 0, memory: try GuestMemory(size: Int(low)))]
        if size > low {
            pieces.append(GuestRegions.Region(base: Self.holeEnd, memory: try GuestMemory(size: Int(size - low))))
        }
        guard let ram = GuestRegions(pieces.compactMap(\.self)) else { throw .badSize(Int(clamping: size)) }
        self.ram = ram
    }

    /// Where RAM below the hole ends.
    public var lowEnd: UInt64 { regions[0].end }

    private func view(_ address: UInt64, _ count: Int) throws(BootError) -> GuestView {
        guard let view = ram.view(at: address, count: count) else {
            throw .outsideMemory(address: address, count: count)
        }
        return view
    }

    /// Copies bytes to a guest-physical address; they must lie in one region.
    public func write(_ bytes: some Collection<UInt8>, at address: UInt64) throws(BootError) {
        let view = try view(address, bytes.count)
        do { try view.write(bytes) } catch { throw .outsideMemory(address: address, count: bytes.count) }
    }

    /// A copy of what is at a guest-physical address.
    public func read(count: Int, at address: UInt64) throws(BootError) -> [UInt8] {
        let view = try view(address, count)
        do { return try view.read(count: count) } catch { throw .outsideMemory(address: address, count: count) }
    }
}

extension BootError {
    /// Something does not fit that would end at `end` at the lowest: because the machine is too small, or because it would
    /// not lie below `ceiling` in any.
    static func lacksRoom(
        file: String, size: UInt64, end: UInt64, in memory: MachineMemory, below ceiling: UInt64 = .max
    ) -> BootError {
        let ceiling = min(ceiling, MachineMemory.holeStart)
        if end <= ceiling { return .tooLarge(file: file, needs: end, memory: memory.size) }
        return .beyondReach(file: file, size: size, below: ceiling)
    }
}
