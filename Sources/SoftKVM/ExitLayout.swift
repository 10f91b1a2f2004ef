// Where the payloads of `struct kvm_run` have their fields: byte offsets from its start. <linux/kvm.h>.

internal import KVMABI

/// Offsets into the run area, by exit. A test pins them to the header.
enum ExitLayout {
    static let ioDirection = 32
    static let ioSize = 33
    static let ioPort = 34
    static let ioCount = 36
    static let ioDataOffset = 40

    static let mmioAddress = 32
    static let mmioData = 40
    static let mmioLength = 48
    static let mmioIsWrite = 52

    static let debugException = 32
    static let debugPC = 40
    static let debugDR6 = 48
    static let debugDR7 = 56

    static let hypercallNumber = 32
    static let hypercallArguments = 40
    static let hypercallResult = 88
    static let hypercallFlags = 96

    static let msrError = 32
    static let msrReason = 40
    static let msrIndex = 44
    static let msrData = 48

    static let internalSuberror = 32
    static let internalDataCount = 36
    static let internalData = 40

    static let eoiVector = 32

    static let memoryFaultFlags = 32
    static let memoryFaultAddress = 40
    static let memoryFaultSize = 48

    static let tprAccessRIP = 32
    static let tprAccessIsWrite = 40
}
