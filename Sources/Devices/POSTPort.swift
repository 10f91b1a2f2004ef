// Port 0x80, the power-on self-test display. Linux also writes to it to let the bus settle.

internal import Synchronization

/// Remembers the last code that was written to it.
public final class POSTPort: RegisterDevice {
    private let lastCode = Atomic<UInt8>(0)

    public init() {}

    /// What a POST card would show.
    public var code: UInt8 {
        get { lastCode.load(ordering: .relaxed) }
        set { lastCode.store(newValue, ordering: .relaxed) }
    }

    public func read(offset: UInt64, width: Int) -> UInt64 { UInt64(code) }
    public func write(offset: UInt64, width: Int, value: UInt64) { code = UInt8(truncatingIfNeeded: value) }
}
