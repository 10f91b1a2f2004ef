import Glibc
public import Processor
import X86

/// A case whose end on the host's CPU and in the guest differ.
public struct Finding: Sendable {
    public var test: OracleCase
    public var differences: [String]
    /// The cases that ran before it, the last one last: what they leave behind may matter.
    public var before: [OracleCase] = []

    /// Its instructions and what differs: findings of one kind, once they are shrunk, most often have one cause.
    public var kind: String {
        let steps = CodeAnalysis(test.code, mode: test.mode).steps
        let names = differences.map { $0.prefix { $0 != " " }.filter { !$0.isNumber } }
        return (steps.map { $0.instruction.mnemonic.rawValue } + Set(names).sorted()).joined(separator: " ")
    }

    /// As a file that `CaseText.read` reads, with what is wrong as a comment.
    public var text: String {
        let history = before.map { CaseText.write($0) + "then\n" }.joined()
        return differences.map { "# \($0)\n" }.joined() + history + CaseText.write(test)
    }
}

/// Runs cases natively and in a guest, side by side, and compares their ends.
public final class OracleRunner {
    public let native: NativeProcess
    public let guest: GuestExecutor

    public struct Tally: Sendable {
        public var cases = 0
        public var inconclusive = 0
        /// Instructions of theirs that translated code has begun.
        public var translated = 0
        /// Ends by vector, natively.
        public var vectors: [UInt32: Int] = [:]
        public init() {}
    }
    public private(set) var tally = Tally()

    public init(_ executor: ExecutorOptions, program: String = NativeProcess.programBeside) throws {
        native = try NativeProcess(program: program)
        guest = try GuestExecutor(executor)
    }

    /// Runs cases until `next` gives none, and hands over those that differ; stops when `found` says false.
    ///
    /// While the native process runs one batch the guest runs the one before.
    public func run(_ next: () -> OracleCase?, found: (Finding) throws -> Bool) throws {
        defer { tally.translated = (try? guest.translatedInstructions()) ?? 0 }
        var batches: [[OracleCase]] = [[], []]
        var left: [OracleCase] = []
        var current = 0
        var goesOn = true
        func fill(_ batch: Int) {
            batches[batch].removeAll(keepingCapacity: true)
            while batches[batch].count < OracleRegion.batchSize, let test = next() {
                native.write(test, batch, batches[batch].count)
                batches[batch].append(test)
            }
            if !batches[batch].isEmpty { native.submit(batch, count: batches[batch].count) }
        }
        fill(0)
        while !batches[current].isEmpty {
            try native.wait()
            // An empty batch ends the loop: nothing is made any more once something has been found for good.
            if goesOn { fill(1 - current) } else { batches[1 - current].removeAll() }
            for (number, test) in batches[current].enumerated() {
                let comparison = compare(test, current, number)
                if let undecided { left.append(undecided) }
                guard !comparison.differences.isEmpty, goesOn else { continue }
                let before = Array(batches[current][max(0, number - 8)..<number])
                goesOn = try found(Finding(test: test, differences: comparison.differences, before: before))
            }
            if !goesOn, !batches[1 - current].isEmpty {
                try native.wait()
                return
            }
            current = 1 - current
        }
        for test in left where goesOn {
            let differences = try differences(of: test)
            if !differences.isEmpty { goesOn = try found(Finding(test: test, differences: differences)) }
        }
    }

    /// The last case compared, cut off before what made its outcome no one's to say.
    private var undecided: OracleCase?

    private func compare(_ test: OracleCase, _ batch: Int, _ number: Int) -> Comparison {
        undecided = nil
        let end = guest.run(test)
        let nativeEnd = unsafe native.region.end(batch, number).pointee
        let memory = unsafe guest.differences(
            from: UnsafeRawPointer(native.region.image(batch, number)), ignoring: test.ignored)
        var comparison = Comparison(test, native: nativeEnd, guest: end, memory: memory)
        // A jump may have gone between the instructions that were meant, to others that leave flags undefined or read such. Not
        // where a trap ended the case: steps take its place.
        if !comparison.differences.isEmpty, nativeEnd.vector != 1, end.vector != 1, let offsets = guest.trace(test),
            let last = offsets.last, UInt64(truncatingIfNeeded: last) == end.state.rip &- test.mode.codeStart
        {
            let path = PathAnalysis(test, offsets)
            comparison = Comparison(test, native: nativeEnd, guest: end, memory: memory, path: path)
            if let offset = path.readsUndefined {
                undecided = test.cutOff(at: offset)
                (comparison.differences, comparison.inconclusive) = ([], true)
            }
        }
        if !comparison.differences.isEmpty,
            unsafe test.showsTracking(in: UnsafeRawPointer(native.region.image(batch, number)))
        {
            (comparison.differences, comparison.inconclusive) = ([], true)
        }
        // What led up to a model's own choice is compared by itself.
        if comparison.choice != nil {
            undecided = test.cutOff(at: Int(truncatingIfNeeded: nativeEnd.state.rip &- test.mode.codeStart))
        }
        tally.cases += 1
        if comparison.inconclusive { tally.inconclusive += 1 }
        tally.vectors[nativeEnd.vector, default: 0] += 1
        return comparison
    }

    /// In what one case differs, after others have been run; empty where it doesn't, or where it can't be compared. No batch
    /// may be under way.
    public func differences(of test: OracleCase, after before: [OracleCase] = []) throws -> [String] {
        for earlier in before { _ = guest.run(earlier) }
        native.write(test, 0, 0)
        native.submit(0, count: 1)
        try native.wait()
        let differences = compare(test, 0, 0).differences
        if differences.isEmpty, let undecided { return try self.differences(of: undecided) }
        return differences
    }

    /// How a case ends natively, in words.
    public func nativeEnd(of test: OracleCase) throws -> OracleEnd {
        native.write(test, 0, 0)
        native.submit(0, count: 1)
        try native.wait()
        return unsafe native.region.end(0, 0).pointee
    }
}

extension OracleCase {
    /// Whether a state image shows a component in use that is in its initial configuration. That is the processor's to say, and
    /// changes with whatever restored the state last: an interrupt's end, another process's turn. Intel SDM vol. 1, 13.6.
    fileprivate func showsTracking(in data: UnsafeRawPointer) -> Bool {
        guard let first = instruction(at: state.rip), [.xsave, .xsavec, .xsaveopt].contains(first.mnemonic) else {
            return false
        }
        // XSTATE_BV's first byte: Intel SDM vol. 1, 13.4.2.
        let saved = unsafe data.load(fromByteOffset: Int(ImageCases.offset) + 512, as: UInt8.self)
        return saved & state.initialComponents != 0
    }
}
