import FuzzInput
import TestSupport
import X86

@testable import Processor

/// The same guest on two processors: one goes by single instructions, the other by blocks.
final class Comparison {
    // SAFETY: libFuzzer calls on one thread.
    nonisolated(unsafe) static let shared = Comparison()

    private static let longest = 2000
    private let single = FuzzedMachine()
    private let blocks = FuzzedMachine()
    private let watchdogs: (single: Watchdog, blocks: Watchdog)

    private init() {
        let patience = Duration.milliseconds(5)
        watchdogs = (Watchdog(single.processor, patience: patience), Watchdog(blocks.processor, patience: patience))
    }

    func run(_ bytes: [UInt8]) {
        GuestState(FuzzInput(bytes)).enter(single)
        let expected = watchdogs.single.watch { single.step(atMost: Comparison.longest) }
        GuestState(FuzzInput(bytes)).enter(blocks)
        let actual = watchdogs.blocks.watch { blocks.processor.run() }
        // A guest that goes on for ever has no state to compare at, but the processor must be able to leave.
        guard let expected, expected != .requested, actual != .requested else { return }
        guard let difference = difference(expected, actual) else { return }

        // Random numbers are what they are.
        GuestState(FuzzInput(bytes)).enter(blocks)
        let again = watchdogs.blocks.watch { blocks.step(atMost: Comparison.longest) }
        if again != expected || self.difference(expected, expected) != nil { return }
        // Software that changes tables without invalidating, or turns to others, gets either translation (SDM vol. 3, 4.10.4).
        if single.hasChangedTables { return }
        report("by blocks: \(difference)")
    }

    /// The first thing in which the machines differ.
    private func difference(_ expected: ProcessorExit, _ actual: ProcessorExit) -> String? {
        if expected != actual { return "exit \(actual), not \(expected)" }
        let one = single.processor, other = blocks.processor
        func differ(_ name: String, _ a: UInt64, _ b: UInt64) -> String? {
            a == b ? nil : "\(name) is \(String(b, radix: 16)), not \(String(a, radix: 16)), at \(expected)"
        }
        for index in 0..<16 {
            if let text = differ("register \(index)", one.state.registers[index], other.state.registers[index]) {
                return text
            }
        }
        for (name, value) in FuzzedMachine.values {
            if let text = differ(name, value(one), value(other)) { return text }
        }
        for index in 0..<8 where one.state.segments[index] != other.state.segments[index] {
            return "segment \(index) is \(other.state.segments[index]), not \(one.state.segments[index])"
        }
        for index in 0..<104 {
            if let text = differ("XSAVE word \(index)", one.state.xsave[index], other.state.xsave[index]) {
                return text
            }
        }
        if let place = single.firstDifference(from: blocks) { return "memory at \(String(place, radix: 16)) differs" }
        return nil
    }
}
