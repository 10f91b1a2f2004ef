import Glibc
import Synchronization

/// One vCPU's emitted code: memory that is mapped twice, writable at one address and executable at another, filled from its
/// beginning and emptied as a whole.
@safe final class CodeCache {
    // SAFETY: `size` bytes each, the same memory, mapped from init to deinit.
    private let writable: UnsafeMutableRawPointer
    private let executable: UnsafeMutableRawPointer
    let size: Int
    private(set) var used = 0

    /// The host gives no such memory: the C library's error number.
    struct Failure: Error { let number: Int32 }

    init(size: Int) throws(Failure) {
        let file = unsafe memfd_create("translated-code", UInt32(MFD_CLOEXEC))
        guard file >= 0 else { throw Failure(number: errno) }
        defer { close(file) }
        guard ftruncate(file, size) == 0 else { throw Failure(number: errno) }
        let writable = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
        guard let writable = unsafe writable, unsafe writable != MAP_FAILED else { throw Failure(number: errno) }
        let executable = unsafe mmap(nil, size, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0)
        guard let executable = unsafe executable, unsafe executable != MAP_FAILED else {
            let number = errno
            unsafe munmap(writable, size)
            throw Failure(number: number)
        }
        // A child of a fork would add its code to its parent's.
        unsafe madvise(writable, size, MADV_DONTFORK)
        unsafe madvise(executable, size, MADV_DONTFORK)
        unsafe self.writable = writable
        unsafe self.executable = executable
        self.size = size
    }

    deinit {
        unsafe munmap(writable, size)
        unsafe munmap(executable, size)
    }

    /// Where code of `offset` is executed.
    func address(_ offset: Int) -> UInt { unsafe UInt(bitPattern: executable) + UInt(offset) }

    /// The offset of an address in the executable mapping, if it is one.
    func offset(ofAddress address: UInt) -> Int? {
        let start = unsafe UInt(bitPattern: executable)
        return address >= start && address < start + UInt(used) ? Int(address - start) : nil
    }

    /// Adds code behind what there is; false where it does not fit.
    func add(_ bytes: [UInt8]) -> Bool {
        guard bytes.count <= size - used else { return false }
        unsafe bytes.withUnsafeBytes {
            unsafe (writable + used).copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: $0.count)
        }
        used = min((used + bytes.count + 15) & ~15, size)
        return true
    }

    /// Bytes at the beginning of each piece of code that do nothing, until they lead elsewhere.
    static let jumpSize = 5

    /// Has those who come to a piece of code go to another, at offsets that are multiples of 8. It may be running, behind its
    /// beginning: what is executed there is whole either way.
    func redirect(_ start: Int, to target: Int) {
        // SAFETY: both were added before.
        let place = unsafe (writable + start).assumingMemoryBound(to: Atomic<UInt64>.self)
        let old = unsafe place.pointee.load(ordering: .relaxed)
        let distance = UInt32(truncatingIfNeeded: target - start - CodeCache.jumpSize)
        let new = old & ~0xFF_FFFF_FFFF | UInt64(distance) << 8 | 0xE9
        unsafe place.pointee.store(new, ordering: .relaxed)
    }

    /// Forgets all but the first `kept` bytes; while none of it runs.
    func empty(keeping kept: Int) { used = kept }
}
