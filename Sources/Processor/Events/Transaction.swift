/// The conversation with userspace about one instruction, which is executed again until all its reads are answered.
///
/// A read that only userspace can answer ends the run before the instruction has changed anything. When the next run
/// executes the instruction again, the answers so far are served in order and the first unanswered read ends it again.
/// Writes to MMIO wait in `writes` until the instruction is complete and then leave one by one.
struct Transaction {
    /// Bytes that answer reads so far, in order of the instruction's accesses.
    private(set) var answers: [UInt8] = []
    private var cursor = 0
    /// MMIO writes made by the completed instruction: address and bytes (at most 8 each).
    var writes: [(address: UInt64, value: UInt64, size: Int)] = []
    /// What `withOutgoing` shows.
    private(set) var outgoing: [UInt8] = []
    /// A port write has been handed out: executing the instruction again completes it.
    var portWriteDone = false
    /// Where that instruction lies and the one after it.
    var portWritePlace: (rip: UInt64, following: UInt64) = (0, 0)
    /// One instruction is executed by itself: MMIO writes are put off until it is complete.
    var isCareful = false
    private(set) var msrAnswer: (value: UInt64, error: Bool)?

    var isActive: Bool { !answers.isEmpty || portWriteDone || msrAnswer != nil }

    mutating func completeRead(_ bytes: UnsafeRawBufferPointer) { unsafe answers.append(contentsOf: bytes) }
    mutating func completeMSR(value: UInt64, error: Bool) { msrAnswer = (value, error) }

    /// Before the instruction is executed (again).
    mutating func rewind() { cursor = 0 }

    /// A fault takes the place of the instruction: what it had put off never happens.
    mutating func abandon() {
        finish()
        writes.removeAll(keepingCapacity: true)
    }

    /// After part of the instruction is complete (an iteration of a string instruction): answers taken are used up.
    mutating func commit() {
        answers.removeFirst(cursor)
        cursor = 0
    }

    /// After the instruction is complete, or when an event takes its place.
    mutating func finish() {
        if !answers.isEmpty { answers.removeAll(keepingCapacity: true) }
        cursor = 0
        portWriteDone = false
        msrAnswer = nil
    }

    /// The next `size` bytes of answers as a little-endian number (at most 8), or nil where there are none yet.
    mutating func take(_ size: Int) -> UInt64? {
        guard answers.count - cursor >= size else { return nil }
        var value: UInt64 = 0
        for index in (0..<size).reversed() { value = value << 8 | UInt64(answers[cursor + index]) }
        cursor += size
        return value
    }

    /// Bytes of answers not yet taken.
    var remaining: Int { answers.count - cursor }

    mutating func setOutgoing(value: UInt64, size: Int) {
        outgoing.removeAll(keepingCapacity: true)
        for index in 0..<min(size, 8) { outgoing.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
    }

    mutating func setOutgoing(_ bytes: [UInt8]) { outgoing = bytes }

    func withOutgoing<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R { unsafe outgoing.withUnsafeBytes(body) }
}
