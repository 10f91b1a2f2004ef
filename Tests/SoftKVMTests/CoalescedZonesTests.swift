import TestLimits
import TestSupport
import Testing

@testable import SoftKVM

/// Zones of coalesced writes on one bus, against a list of them that is searched from end to end.
@Suite(.within(minutes: 20)) struct CoalescedZonesTests {
    private struct Zone {
        var start: UInt64
        var size: UInt64

        func contains(_ start: UInt64, _ size: UInt64) -> Bool {
            guard start >= self.start, !start.addingReportingOverflow(size).overflow else { return false }
            let (end, wraps) = self.start.addingReportingOverflow(self.size)
            return wraps || start + size <= end
        }
    }

    /// Random zones that nest, overlap, touch and repeat, at both ends of the address space.
    @Test func theyAreFoundAsInAList() throws {
        var choices = SplitMix64(seed: 27)
        for base: UInt64 in [0, 0xD000_0000, .max - 63] {
            var zones = CoalescedZones(), list: [Zone] = []
            for _ in 0..<400 {
                let zone = Zone(
                    start: base &+ .random(in: 0..<64, using: &choices), size: .random(in: 0...24, using: &choices))
                if Bool.random(using: &choices) || list.count < 3 {
                    try zones.insert(zone.start, size: zone.size)
                    list.append(zone)
                } else {
                    zones.remove(zone.start, size: zone.size)
                    list.removeAll { $0.contains(zone.start, zone.size) }
                }
                #expect(zones.count == list.count)
                for offset in UInt64(0)..<64 {
                    for size: UInt64 in [1, 2, 4, 8] {
                        let place = base &+ offset
                        #expect(zones.contains(place, size: size) == list.contains { $0.contains(place, size) })
                    }
                }
            }
        }
    }
}
