// The memory that a hostile client shows guests and hands over: it takes it away under them, and gives it back.

import Glibc

/// An address range of the client's own, whatever becomes of what is mapped in it.
final class HostileMemory: Sendable {
    static let size = 1 << 20
    /// Behind it no memory ever comes: what a slot or an answer reaches beyond the end is nobody else's.
    private static let reserved = 3 << 20
    /// Reserved addresses, from init to deinit; whether there is memory behind changes at any time.
    private let base: UInt
    private let file: Int32

    init() {
        let reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        base = UInt(bitPattern: unsafe mmap(nil, HostileMemory.reserved, PROT_NONE, reserve, -1, 0))
        file = unsafe memfd_create("hostile", UInt32(MFD_CLOEXEC))
        giveBack()
    }

    deinit {
        unsafe munmap(place(0), HostileMemory.reserved)
        close(file)
    }

    /// All of it is there, and holds code.
    func giveBack() {
        ftruncate(file, HostileMemory.size)
        unsafe mmap(place(0), HostileMemory.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0)
    }

    /// A fault in such memory is caught and the frames between are abandoned, which the sanitizers can't follow.
    private static let isSanitized = unsafe dlsym(nil, "__tsan_init") != nil || dlsym(nil, "__asan_init") != nil

    /// Takes some of it away, in one of the ways that there are.
    func takeAway(_ draw: inout HostileDraw) {
        if HostileMemory.isSanitized { return }
        let page = draw.below(HostileMemory.size / 4096)
        let count = 1 + draw.below(HostileMemory.size / 4096 - page)
        let place = unsafe place(page)
        switch draw.below(4) {
        case 0: ftruncate(file, page * 4096)
        case 1: unsafe mprotect(place, count * 4096, draw.chance(50) ? PROT_NONE : PROT_READ)
        case 2:
            // As after munmap, but nobody else's memory can come there.
            let nothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED
            unsafe mmap(place, count * 4096, PROT_NONE, nothing, -1, 0)
        default: unsafe madvise(place, count * 4096, MADV_DONTNEED)
        }
    }

    /// Writes by the kernel, which fails where there is no memory.
    func write(_ bytes: [UInt8], at offset: Int) {
        guard offset >= 0, offset + bytes.count <= HostileMemory.size else { return }
        _ = unsafe bytes.withUnsafeBytes { unsafe pwrite(file, $0.baseAddress, $0.count, offset) }
    }

    private func place(_ page: Int) -> UnsafeMutableRawPointer? {
        unsafe UnsafeMutableRawPointer(bitPattern: base + UInt(page * 4096))
    }

    func address(_ offset: Int) -> UInt64 { UInt64(base) + UInt64(offset) }
}
