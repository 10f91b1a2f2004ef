// Where the payloads of `struct kvm_run` have their fields: byte offsets from its start. <linux/kvm.h>.

/// Offsets into the run area, by exit. A test pins them to the header.
public enum ExitLayout {
    public static var ioDirection: Int { 32 }
    public static var ioSize: Int { 33 }
    public static var ioPort: Int { 34 }
    public static var ioCount: Int { 36 }
    public static var ioDataOffset: Int { 40 }

    public static var mmioAddress: Int { 32 }
    public static var mmioData: Int { 40 }
    public static var mmioLength: Int { 48 }
    public static var mmioIsWrite: Int { 52 }

    public static var hardwareExitReason: Int { 32 }

    public static var exceptionVector: Int { 32 }
    public static var exceptionErrorCode: Int { 36 }

    public static var debugException: Int { 32 }
    public static var debugPC: Int { 40 }
    public static var debugDR6: Int { 48 }
    public static var debugDR7: Int { 56 }

    public static var hypercallNumber: Int { 32 }
    public static var hypercallArguments: Int { 40 }
    public static var hypercallResult: Int { 88 }
    public static var hypercallFlags: Int { 96 }

    public static var msrError: Int { 32 }
    public static var msrReason: Int { 40 }
    public static var msrIndex: Int { 44 }
    public static var msrData: Int { 48 }

    public static var hardwareEntryFailureReason: Int { 32 }

    public static var internalSuberror: Int { 32 }
    public static var internalDataCount: Int { 36 }
    public static var internalData: Int { 40 }

    public static var eoiVector: Int { 32 }

    public static var memoryFaultFlags: Int { 32 }
    public static var memoryFaultAddress: Int { 40 }
    public static var memoryFaultSize: Int { 48 }

    public static var tprAccessRIP: Int { 32 }
    public static var tprAccessIsWrite: Int { 40 }
}
