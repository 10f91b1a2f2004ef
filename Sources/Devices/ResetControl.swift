// The reset control register at port 0xCF9 (Intel 82371SB data sheet, 2.5.5; ICH9 data sheet, 13.7.5), which
// the ACPI tables also name as the reset register.
//
// Contract: takes ports 0xCF8–0xCFB on a machine without PCI. Only a byte access to 0xCF9 is the register; the
// dword at 0xCF8 is where PCI's configuration address would be, and must neither reset the machine nor look like
// PCI, so it reads as all ones.

internal import Synchronization

/// The reset control register.
public final class ResetControl: RegisterDevice {
    /// The first port to attach it at.
    public static let firstPort: UInt16 = 0xcf8
    /// How many ports it takes.
    public static let portCount = 4
    /// The value that a reset by the ACPI reset register writes: RST_CPU and SYS_RST.
    public static let fullReset: UInt8 = 0x06

    private let register = Atomic<UInt8>(0)
    private let request: @Sendable (PlatformRequest) -> Void

    public init(request: @escaping @Sendable (PlatformRequest) -> Void) { self.request = request }

    /// The register's bits, for saving.
    public var state: UInt8 {
        get { register.load(ordering: .relaxed) }
        set { register.store(newValue & 0x0a, ordering: .relaxed) }
    }

    public func takesWhole(offset: UInt64, width: Int) -> Bool { width == 1 || offset == 0 && width == 4 }

    public func read(offset: UInt64, width: Int) -> UInt64 {
        offset == 1 && width == 1 ? UInt64(state) : .max
    }

    public func write(offset: UInt64, width: Int, value: UInt64) {
        guard offset == 1, width == 1 else { return }
        let byte = UInt8(truncatingIfNeeded: value)
        state = byte
        // RST_CPU resets; SYS_RST only says how hard.
        if byte & 0x04 != 0 { request(.reset(.resetControl)) }
    }
}
