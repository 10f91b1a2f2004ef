/// What userspace has a part in and is not over: the accesses of one instruction.
///
/// An access that only userspace can answer ends the run before the instruction has changed anything. The next run executes
/// the instruction again: the answers so far are served in order, and the first access without one ends it again. So each
/// access is made once, whoever answers it. Writes to MMIO wait until the instruction is complete and then leave one by one.
///
/// Answers belong to the instruction that has asked, which is known by its linear address. Where the owner has moved RIP before
/// the next run they are nobody's: what is executed there makes its own accesses. Writes that wait are of an instruction that
/// is complete, and leave wherever RIP is.
struct UnfinishedAccess {
    /// What the last exit asks for.
    private(set) var awaited = AwaitedAnswer.nothing
    /// The linear address of the instruction that it asks for.
    private(set) var place: UInt64 = 0

    /// Bytes that answer reads so far, in order of the instruction's accesses.
    private var data: [UInt8] = []
    private var cursor = 0
    /// The answer to an access of another kind, which is the instruction's only one.
    private(set) var answer: Answer?

    enum Answer {
        /// OUT has been handed out, and has nothing left to do but to go on behind itself.
        case portWritten(following: UInt64)
        /// `error` is #GP.
        case msr(value: UInt64, error: Bool)
        case hypercall(result: UInt64)
    }

    /// MMIO writes of the instruction, complete or not: address and bytes (at most 8 each).
    private(set) var writes: [(address: UInt64, value: UInt64, size: Int)] = []
    /// The bytes of the port or MMIO write that the last exit has handed out.
    private(set) var outgoing: [UInt8] = []

    /// A device access that the owner has left to userspace as the instruction was first tried.
    private var refusal: (address: UInt64, size: Int, isWrite: Bool)?
    /// RIP of the last instruction in a block that has read one of the owner's devices.
    var ownRead: UInt64?

    var isAnswered: Bool { !data.isEmpty || answer != nil }

    // MARK: Exits and answers

    /// The run ends with an exit, RIP being at `linear`.
    mutating func leave(for exit: ProcessorExit, at linear: UInt64) {
        awaited = AwaitedAnswer(to: exit)
        place = linear
    }

    /// What the last exit asks for, once.
    mutating func takeAwaited() -> AwaitedAnswer {
        defer { awaited = .nothing }
        return awaited
    }

    mutating func complete(reading bytes: UnsafeRawBufferPointer) {
        awaited = .nothing
        unsafe data.append(contentsOf: bytes)
    }

    mutating func complete(_ answer: Answer) {
        awaited = .nothing
        self.answer = answer
    }

    /// OUT is handed out.
    mutating func handOut(_ value: UInt64, size: Int, following: UInt64) {
        setOutgoing(value, size: size)
        answer = .portWritten(following: following)
    }

    // MARK: Executing the instruction

    /// Before it is executed (again).
    mutating func rewind() { cursor = 0 }

    /// A fault takes its place, or the processor is reset: what it has put off never happens.
    mutating func abandon() {
        finish()
        awaited = .nothing
        writes.removeAll(keepingCapacity: true)
    }

    /// It is complete.
    mutating func finish() {
        forgetAnswers()
        refusal = nil
    }

    /// It has been stopped half way and begins again.
    mutating func restart() {
        cursor = 0
        refusal = nil
        writes.removeAll(keepingCapacity: true)
    }

    mutating func forgetAnswers() {
        if !data.isEmpty { data.removeAll(keepingCapacity: true) }
        cursor = 0
        answer = nil
    }

    /// The next `size` bytes of answers as a little-endian number (at most 8), or nil where there are none yet.
    mutating func take(_ size: Int) -> UInt64? {
        guard remaining >= size else { return nil }
        var value: UInt64 = 0
        for index in (0..<size).reversed() { value = value << 8 | UInt64(data[cursor + index]) }
        cursor += size
        return value
    }

    /// Bytes of answers not yet taken.
    var remaining: Int { data.count - cursor }

    /// The owner's own answer to a read that may have to be made again because of another one.
    mutating func keep(_ value: UInt64, _ size: Int) {
        for index in 0..<size { data.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
        cursor += size
    }

    /// The owner has left a device access to userspace, and needn't be asked when the instruction is executed by itself.
    mutating func refuse(_ address: UInt64, size: Int, isWrite: Bool) { refusal = (address, size, isWrite) }

    mutating func wasRefused(_ address: UInt64, size: Int, isWrite: Bool) -> Bool {
        guard let refused = refusal, refused == (address, size, isWrite) else { return false }
        refusal = nil
        return true
    }

    // MARK: Writes

    mutating func putOff(_ address: UInt64, _ value: UInt64, size: Int) { writes.append((address, value, size)) }

    /// The next write of the instruction that is complete, whose bytes are handed out.
    mutating func nextWrite() -> (address: UInt64, size: Int)? {
        guard !writes.isEmpty else { return nil }
        let write = writes.removeFirst()
        setOutgoing(write.value, size: write.size)
        return (write.address, write.size)
    }

    private mutating func setOutgoing(_ value: UInt64, size: Int) {
        beginOutgoing()
        addOutgoing(value, size: size)
    }

    mutating func beginOutgoing() { outgoing.removeAll(keepingCapacity: true) }

    mutating func addOutgoing(_ value: UInt64, size: Int) {
        for index in 0..<min(size, 8) { outgoing.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
    }
}

/// What the owner gives the processor before the next run, by the exit of the last one.
public enum AwaitedAnswer: Equatable, Sendable {
    case nothing
    /// Nothing, but the instruction isn't over: the next run completes it.
    case completion
    /// `VirtualProcessor.completeRead` with this many bytes.
    case portData(count: Int)
    case mmioData(count: Int)
    /// `completeMSR`.
    case msr(isRead: Bool)
    /// `completeHypercall`.
    case hypercallResult

    init(to exit: ProcessorExit) {
        self =
            switch exit {
            case .portRead(_, let size, let count): .portData(count: size * count)
            case .mmioRead(_, let size): .mmioData(count: size)
            case .portWrite, .mmioWrite: .completion
            case .readMSR: .msr(isRead: true)
            case .writeMSR: .msr(isRead: false)
            case .hypercall: .hypercallResult
            default: .nothing
            }
    }
}
