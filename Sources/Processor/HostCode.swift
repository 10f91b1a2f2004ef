import Glibc
internal import Locking

/// Machine code for the host, made at run time: memory that is mapped twice, writable here and executable there.
///
/// Code is only added, in chunks, up to a bound, and never changed or moved once its address has been handed out, so that
/// any thread may run it. Everything mutable is behind the lock.
final class HostCode: Sendable {
    /// Bytes of one chunk, and of all.
    private static let chunkSize = 64 << 10
    private static let limit = 32 << 20

    @safe private struct Chunk {
        // SAFETY: `chunkSize` bytes each, the same memory, mapped until the owner goes.
        var writable: UnsafeMutableRawPointer
        var executable: UnsafeMutableRawPointer
    }

    private struct Storage {
        var chunks: [Chunk] = []
        var used = 0
        /// The process that adds to the last chunk. A child of its fork sees the same memory: it reads there, and adds elsewhere.
        var process: pid_t = 0
    }

    private let storage = Lock(Storage())

    init() {}

    deinit {
        storage.withLock { storage in
            for chunk in storage.chunks {
                unsafe munmap(chunk.writable, HostCode.chunkSize)
                unsafe munmap(chunk.executable, HostCode.chunkSize)
            }
        }
    }

    /// The address at which `code` can be called from now on, or nil where the host gives no memory for it.
    func add(_ code: [UInt8]) -> UInt? {
        storage.withLock { storage in
            guard code.count <= HostCode.chunkSize else { return nil }
            let process = getpid()
            if storage.process != process || storage.used + code.count > HostCode.chunkSize {
                guard (storage.chunks.count + 1) * HostCode.chunkSize <= HostCode.limit,
                    let chunk = HostCode.makeChunk()
                else {
                    return nil
                }
                storage.chunks.append(chunk)
                storage.used = 0
                storage.process = process
            }
            let chunk = storage.chunks[storage.chunks.count - 1]
            for (index, byte) in code.enumerated() {
                unsafe chunk.writable.storeBytes(of: byte, toByteOffset: storage.used + index, as: UInt8.self)
            }
            let address = UInt(bitPattern: unsafe chunk.executable) + UInt(storage.used)
            storage.used = (storage.used + code.count + 15) & ~15
            return address
        }
    }

    private static func makeChunk() -> Chunk? {
        let file = unsafe memfd_create("host-code", UInt32(MFD_CLOEXEC))
        guard file >= 0 else { return nil }
        defer { close(file) }
        guard ftruncate(file, chunkSize) == 0 else { return nil }
        let writable = unsafe mmap(nil, chunkSize, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
        guard let writable = unsafe writable, unsafe writable != MAP_FAILED else { return nil }
        let executable = unsafe mmap(nil, chunkSize, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0)
        guard let executable = unsafe executable, unsafe executable != MAP_FAILED else {
            unsafe munmap(writable, chunkSize)
            return nil
        }
        return unsafe Chunk(writable: writable, executable: executable)
    }

    // MARK: Calling it

    /// A handler, or a host instruction that needs no memory operand.
    @inline(__always) static func handler(_ address: UInt) -> Op.Handler {
        unsafe unsafeBitCast(address, to: Op.Handler.self)
    }

    /// With a third argument: the host address of a memory operand, or what the code takes there.
    typealias Function = @convention(c) (UInt, UInt, UInt) -> UInt
    @inline(__always) static func call(_ address: UInt, _ cpu: UInt, _ op: UInt, _ memory: UInt) -> UInt {
        unsafe unsafeBitCast(address, to: Function.self)(cpu, op, memory)
    }
}
