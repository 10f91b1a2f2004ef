import SoftKVM
import Testing

@Suite struct RehearsalTests {
    /// The machine comes to its OUT: nothing of what it is to see is left out.
    @Test func comesToItsEnd() {
        for _ in 0..<3 { #expect(Rehearsal.perform(on: SoftwareEndpoint())) }
    }
}
