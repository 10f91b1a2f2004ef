import Glibc
internal import Locking
import Synchronization

/// Machine code for the host, made at run time: memory that is mapped twice, writable here and executable there.
///
/// Code is only added, in chunks, up to a bound, and never changed, moved or freed, so that any thread may run it. Everything
/// mutable is behind the lock.
enum HostCode {
    /// Bytes of one chunk, and of all.
    private static let chunkSize = 64 << 10
    private static let limit = 32 << 20

    @safe private struct Chunk {
        // SAFETY: `chunkSize` bytes each, the same memory, mapped for good.
        var writable: UnsafeMutableRawPointer
        var executable: UnsafeMutableRawPointer
    }

    private struct Memory {
        /// The one that code is added to, and how much of it is used.
        var chunk: Chunk?
        var used = 0
        var chunks = 0
    }

    private static let memory = Lock(Memory())

    // MARK: After a fork

    /// Whose the memory and the locks are.
    private static let owner = Atomic<pid_t>(0)
    private static let changing: pid_t = -1

    /// Called before a processor makes code. In the child of a fork what was made before can be run for ever, but its memory is
    /// the parent's too, who goes on adding to it, and the locks may be held by threads that the child does not have: the child
    /// starts again.
    ///
    /// Not done by a handler at the fork: most children only execute another program, and Swift's own runtime may be held then.
    static func own() {
        let process = getpid()
        while true {
            let owner = owner.load(ordering: .acquiring)
            if owner == process { return }
            if owner != changing,
                HostCode.owner.compareExchange(expected: owner, desired: changing, ordering: .acquiring).exchanged
            {
                if owner != 0 { startAgain() }
                HostCode.owner.store(process, ordering: .releasing)
                return
            }
            sched_yield()
        }
    }

    private static func startAgain() {
        memory.startAgain(Memory())
        var renewal = unsafe renewals.load(ordering: .acquiring)?.takeUnretainedValue()
        while let present = renewal {
            present.work()
            renewal = present.next
        }
    }

    /// Something else that the child of a fork starts again.
    private final class Renewal: Sendable {
        let work: @Sendable () -> Void
        let next: Renewal?

        init(_ work: @escaping @Sendable () -> Void, next: Renewal?) {
            self.work = work
            self.next = next
        }
    }

    // SAFETY: a list that is only added to, by one word, so that a fork finds it whole at any instant; what is in it is never freed.
    private static let renewals = unsafe Atomic<Unmanaged<Renewal>?>(nil)

    /// From now on `work` is done in the child of a fork, before it makes code, for what lives as long as the process.
    static func afterFork(_ work: @escaping @Sendable () -> Void) {
        while true {
            let former = unsafe renewals.load(ordering: .acquiring)
            let renewal = unsafe Unmanaged.passRetained(Renewal(work, next: former?.takeUnretainedValue()))
            if unsafe renewals.compareExchange(expected: former, desired: renewal, ordering: .acquiringAndReleasing)
                .exchanged
            {
                return
            }
            unsafe renewal.release()
        }
    }

    /// The address at which `code` can be called from now on, or nil where the host gives no memory for it.
    static func add(_ code: [UInt8]) -> UInt? {
        memory.withLock { memory in
            guard code.count <= chunkSize else { return nil }
            if memory.chunk == nil || memory.used + code.count > chunkSize {
                guard (memory.chunks + 1) * chunkSize <= limit, let chunk = makeChunk() else { return nil }
                memory.chunk = chunk
                memory.used = 0
                memory.chunks += 1
            }
            guard let chunk = memory.chunk else { return nil }
            for (index, byte) in code.enumerated() {
                unsafe chunk.writable.storeBytes(of: byte, toByteOffset: memory.used + index, as: UInt8.self)
            }
            let address = UInt(bitPattern: unsafe chunk.executable) + UInt(memory.used)
            memory.used = (memory.used + code.count + 15) & ~15
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
