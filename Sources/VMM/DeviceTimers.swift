// One thread per machine that calls its timed devices when their time comes.

internal import Devices
internal import Glibc
internal import KVM
internal import Synchronization

/// The host's clocks, as devices read them.
enum HostClock {
    static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }

    static let devices = DeviceClock(
        monotonic: { UInt64(truncatingIfNeeded: read(CLOCK_MONOTONIC)) }, wall: { read(CLOCK_REALTIME) })
}

/// Waits for the earliest deadline of its devices.
final class DeviceTimers: Sendable {
    private let changed: EventDescriptor
    private let stopping = Atomic<Bool>(false)
    private let devices = Mutex<[any TimedDevice]>([])

    init() throws(KVMError) { changed = try EventDescriptor() }

    func add(_ device: any TimedDevice) { devices.withLock { $0.append(device) } }

    /// A device's deadline may have come closer.
    func noteChange() { changed.signal() }

    func stop() {
        stopping.store(true, ordering: .releasing)
        changed.signal()
    }

    /// The thread's body.
    func run() {
        while true {
            _ = changed.drain()
            // After the drain, which would take away the word of who stops it in between.
            if stopping.load(ordering: .acquiring) { return }
            let devices = devices.withLock { $0 }
            for device in devices { device.advance() }
            let now = HostClock.devices.monotonic()
            guard let deadline = devices.compactMap(\.nextDeadline).min() else {
                _ = changed.wait(milliseconds: -1)
                continue
            }
            if deadline > now { wait(nanoseconds: deadline - now) }
        }
    }

    private func wait(nanoseconds: UInt64) {
        var descriptor = pollfd(fd: changed.rawValue, events: Int16(POLLIN), revents: 0)
        var timeout = timespec(
            tv_sec: Int(clamping: nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        _ = unsafe ppoll(&descriptor, 1, &timeout, nil)
    }
}
