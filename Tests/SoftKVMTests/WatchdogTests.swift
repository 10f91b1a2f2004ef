// What ends the tests that would not end.

import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct WatchdogTests {
    @Test func aGuestThatLoopsIsLeft() throws {
        var cpu = try TestMachine(.software, source: "again: jmp again").makeCPU()
        let watchdog = Watchdog(cpu.kickHandle, patience: .milliseconds(50))
        watchdog.begin()
        try cpu.run()
        watchdog.end()
        #expect(cpu.exit.reason == .intr)
        #expect(watchdog.hasBitten)
    }

    /// A vCPU that goes on without a round, in exits or without one, is what hangs where a lock isn't one.
    @Test func aRoundThatNeverEndsIsLeft() throws {
        let round = Flag()
        let bitten = Flag()
        let watchdog = Watchdog(
            patience: .milliseconds(50), of: .thread, progress: { round.isRaised ? 1 : 0 }, bite: { bitten.raise() })
        watchdog.begin()
        round.raise()
        while !bitten.isRaised {}
        watchdog.end()
        #expect(watchdog.hasBitten)
        watchdog.begin()
        #expect(!watchdog.hasBitten)
        watchdog.end()
    }

    /// When a test's time is up the watchdogs bite that were made in it, while there is something to bite.
    @Test func theTimeOfATestIsUp() {
        let time = TestTime()
        let bitten = Flag()
        let watchdog = TestTime.$current.withValue(time) {
            Watchdog(patience: .seconds(36000), of: .wall) { bitten.raise() }
        }
        time.end()
        #expect(time.isUp && !bitten.isRaised)
        watchdog.begin()
        time.end()
        #expect(bitten.isRaised && watchdog.hasBitten)
        watchdog.end()
    }
}
