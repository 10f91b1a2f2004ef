// One region of guest memory. It belongs to the hypervisor: a memory file that the client maps too.

internal import Glibc
internal import KVMABI

/// The memory of one slot, all zero at first. It lives as long as the slot, or a piece of it that a client has yet to map.
@safe final class RegionMemory: Sendable {
    private let descriptor: Int32
    let size: Int
    // SAFETY: `size` mapped bytes of the sealed file, from init to deinit; guest and client write to them at any time.
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer

    /// - Parameter size: in bytes, pages; 0 makes memory whose every access raises SIGBUS, as beyond a file's end.
    /// - Throws: ENOMEM where there is no room.
    init(size: Int) throws(Errno) {
        let file = unsafe memfd_create("kvm-2006", UInt32(MFD_CLOEXEC | MFD_ALLOW_SEALING))
        guard file >= 0 else { throw Errno(rawValue: errno) }
        // Nobody can take it away from under the guest.
        guard ftruncate(file, size) == 0, fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0 else {
            close(file)
            throw .outOfMemory
        }
        let mapped = unsafe mmap(nil, max(size, 1), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
            close(file)
            throw .outOfMemory
        }
        descriptor = file
        self.size = size
        unsafe base = mapped
    }

    deinit {
        unsafe munmap(base, max(size, 1))
        close(descriptor)
    }

    var address: UInt64 { UInt64(UInt(bitPattern: unsafe base)) }

    /// Part of what the client maps. Past the region's end, where the guest has no memory, an access raises SIGBUS.
    func piece(offset: Int, length: Int) -> MappingPiece {
        MappingPiece(of: descriptor, owner: self, length: length, offset: offset)
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
