import Devices
import Synchronization

/// A test's interrupt line, clock and request log.
final class Bench: Sendable {
    private let level = Mutex(false)
    private let edges = Mutex(0)
    private let requests = Mutex<[PlatformRequest]>([])
    private let output = Mutex<[UInt8]>([])
    private let monotonic = Mutex<UInt64>(1_000_000)
    private let wall = Mutex<Int64>(0)

    var line: InterruptLine {
        { [self] asserted in
            level.withLock { $0 = asserted }
            if asserted { edges.withLock { $0 += 1 } }
        }
    }
    var asserted: Bool { level.withLock { $0 } }
    var risingEdges: Int { edges.withLock { $0 } }

    var request: @Sendable (PlatformRequest) -> Void {
        { [self] request in requests.withLock { $0.append(request) } }
    }
    var requested: [PlatformRequest] { requests.withLock { $0 } }

    var transmit: @Sendable (UInt8) -> Void { { [self] byte in output.withLock { $0.append(byte) } } }
    var transmitted: [UInt8] { output.withLock { $0 } }

    var clock: DeviceClock {
        DeviceClock(
            monotonic: { [self] in monotonic.withLock { $0 } }, wall: { [self] in wall.withLock { $0 } })
    }
    func setWall(_ nanoseconds: Int64) { wall.withLock { $0 = nanoseconds } }
    func pass(_ nanoseconds: UInt64) {
        monotonic.withLock { $0 += nanoseconds }
        wall.withLock { $0 += Int64(nanoseconds) }
    }
    var now: UInt64 { monotonic.withLock { $0 } }
}

extension RegisterDevice {
    /// A byte-wide IN.
    func get(_ offset: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: read(offset: offset, width: 1)) }
    /// A byte-wide OUT.
    func put(_ offset: UInt64, _ value: UInt8) { write(offset: offset, width: 1, value: UInt64(value)) }
}
