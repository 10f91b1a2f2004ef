import SoftKVM
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct RehearsalTests {
    /// The machine comes to its OUT: nothing of what it is to see is left out.
    @Test func comesToItsEnd() {
        for _ in 0..<3 { #expect(Rehearsal.perform(on: SoftwareEndpoint())) }
    }
}
