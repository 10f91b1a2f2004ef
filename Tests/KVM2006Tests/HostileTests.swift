// A client that says anything: each call succeeds or fails, and the process lives.

import KVM2006
import KVMABI
import Testing

@Suite struct HostileTests {
    /// The structures' fields are drawn from few values, so that they meet.
    private struct Draw: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }

        mutating func structure(_ size: Int) -> [UInt8] {
            var bytes: [UInt8] = []
            while bytes.count < size {
                switch next() >> 60 {
                case 0...7: bytes += FirstClient.bytes(UInt32(truncatingIfNeeded: next() >> 40 & 3))
                case 8...10: bytes += FirstClient.bytes(UInt64(truncatingIfNeeded: next() >> 40 & 0x1F_F000))
                case 11: bytes += FirstClient.bytes(UInt64.max << (next() >> 58))
                default: bytes += FirstClient.bytes(next())
                }
            }
            return Array(bytes.prefix(size))
        }
    }

    @Test(arguments: 0..<8)
    func randomCalls(_ seed: UInt64) throws {
        let client = try FirstClient(
            .software, (0..<0x2000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 5) }, vcpus: 2)
        var draw = Draw(state: seed)
        var outcomes: Set<Int32> = []
        for _ in 0..<4_000 {
            guard let request = FirstRequest.allCases.randomElement(using: &draw) else { continue }
            var bytes = draw.structure(Int(request.rawValue >> 16 & 0x3FFF))
            // A region beyond what a test may take is not what is asked here.
            if request == .setMemoryRegion { bytes.replaceSubrange(19..<24, with: [0, 0, 0, 0, 0]) }
            if request == .run {
                // Bounded: one instruction, or none.
                bytes[0] = UInt8(draw.next() >> 63)
                bytes.replaceSubrange(1..<4, with: [0, 0, 0])
                if bytes[0] == 0 { try client.debug(step: true) } else { client.interface.kick(vcpu: 1) }
            }
            do {
                if request == .createVCPU {
                    outcomes.insert(try client.ioctl(request, UInt(draw.next() >> 61)))
                } else {
                    outcomes.insert(try client.ioctl(request, &bytes))
                }
            } catch {
                outcomes.insert((error as? Errno)?.rawValue ?? -1)
            }
        }
        // Successes, EINTR, EINVAL, EFAULT (from the dirty log's pointer) and ENOENT; never an errno that this side has not.
        #expect(outcomes.isSuperset(of: [0, 4, 22, 2]))
        #expect(outcomes.isSubset(of: [0, 2, 4, 12, 14, 17, 22]))
    }
}
