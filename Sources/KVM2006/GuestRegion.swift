// One region of guest memory. It belongs to the hypervisor: a memory file that the client maps too.

internal import Glibc
internal import KVMABI

/// The memory of one slot, all zero at first. It lives as long as the slot, or a piece of it that a client has yet to map.
@safe final class RegionMemory: Sendable {
    private let file: MemoryFile
    let size: Int
    // SAFETY: `size` mapped bytes, from init to deinit; guest and client write to them at any time.
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer

    /// - Parameter size: in bytes, pages; 0 makes memory whose every access raises SIGBUS, as beyond a file's end.
    /// - Throws: ENOMEM where there is no room.
    init(size: Int) throws(Errno) {
        file = try MemoryFile("kvm-2006", size: size)
        self.size = size
        unsafe base = try file.map(max(size, 1))
    }

    deinit { unsafe munmap(base, max(size, 1)) }

    var address: UInt64 { UInt64(UInt(bitPattern: unsafe base)) }

    /// Part of what the client maps. Past the region's end, where the guest has no memory, an access raises SIGBUS.
    func piece(offset: Int, length: Int) -> MappingPiece {
        MappingPiece(of: file.descriptor, owner: self, length: length, offset: offset)
    }

    /// What lies there, as far as the region goes.
    func read(_ offset: Int, _ count: Int) -> [UInt8] {
        guard offset >= 0, offset < size, count > 0 else { return [] }
        let length = min(count, size - offset)
        return unsafe [UInt8](UnsafeRawBufferPointer(start: base + offset, count: length))
    }
}

/// A slot as the client set it.
struct GuestRegion {
    var guestAddress: UInt64
    var flags: UInt32
    let memory: RegionMemory
    /// Pages whose dirty bit could not be handed out: they are in the next log.
    var owed: [UInt8] = []

    var size: UInt64 { UInt64(memory.size) }
    var end: UInt64 { guestAddress + size }
    var isLogging: Bool { flags & FirstLayout.MemoryRegion.logDirtyPages != 0 }
    var bitmapSize: Int { (memory.size / 4096 + 7) / 8 }
}
