import Glibc
import X86

/// The ops of instructions that emitted code calls the interpreter for, each by itself.
@safe final class TranslatedOps {
    private static let capacity = 1 << 20

    // SAFETY: mapped from init to deinit, filled up to `count`; each op is followed by one that ends it.
    private let ops: UnsafeMutablePointer<Op>?
    private var count = 0

    init() {
        let memory = unsafe mmap(
            nil, TranslatedOps.capacity * MemoryLayout<Op>.stride, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        let isMapped = unsafe memory != MAP_FAILED
        unsafe ops = isMapped ? memory?.assumingMemoryBound(to: Op.self) : nil
    }

    deinit {
        if let ops = unsafe ops { unsafe munmap(ops, TranslatedOps.capacity * MemoryLayout<Op>.stride) }
    }

    /// Whether a superblock of any size finds room.
    var hasRoom: Bool { unsafe ops != nil && count < TranslatedOps.capacity - 1024 }

    /// The address of an instruction's op; nil where there is no room.
    func add(_ instruction: Instruction, _ mode: CodeMode) -> UInt? {
        guard let ops = unsafe ops, count < TranslatedOps.capacity - 2 else { return nil }
        let (op, _) = Lowering.lower(instruction, mode: mode, offset: 0)
        unsafe (ops + count).initialize(to: op)
        unsafe (ops + count + 1).initialize(to: Op(handler: Interpreter.endOfStep))
        count += 2
        return unsafe UInt(bitPattern: ops + count - 2)
    }

    /// The address of what is known of an instruction's second page.
    func add(_ crossing: CrossingCode) -> UInt? {
        guard let ops = unsafe ops, count < TranslatedOps.capacity - 1 else { return nil }
        unsafe UnsafeMutableRawPointer(ops + count).storeBytes(of: crossing, as: CrossingCode.self)
        count += 1
        return unsafe UInt(bitPattern: ops + count - 1)
    }

    func removeAll() { count = 0 }
}
