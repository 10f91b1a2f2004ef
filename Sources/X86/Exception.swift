/// Exceptions and their vectors, error codes and classes.
///
/// Intel SDM vol. 3, 6.3.1 (table 6-1), 6.13 (error codes), 6.15 (table 6-5, conditions for a double fault), 4.7 (page faults).
public enum Exception: UInt8, Sendable, CaseIterable {
    /// #DE, divide error.
    case divideError = 0
    /// #DB, debug.
    case debug = 1
    case nonMaskableInterrupt = 2
    /// #BP, INT3.
    case breakpoint = 3
    /// #OF, INTO.
    case overflow = 4
    /// #BR, BOUND.
    case boundRange = 5
    /// #UD.
    case invalidOpcode = 6
    /// #NM, no x87 or SIMD unit for now.
    case deviceNotAvailable = 7
    /// #DF.
    case doubleFault = 8
    case coprocessorSegmentOverrun = 9
    /// #TS.
    case invalidTSS = 10
    /// #NP.
    case segmentNotPresent = 11
    /// #SS.
    case stackFault = 12
    /// #GP.
    case generalProtection = 13
    /// #PF.
    case pageFault = 14
    /// #MF, x87.
    case floatingPoint = 16
    /// #AC.
    case alignmentCheck = 17
    /// #MC.
    case machineCheck = 18
    /// #XM.
    case simdFloatingPoint = 19
    /// #VE.
    case virtualization = 20
    /// #CP.
    case controlProtection = 21
    /// AMD #HV.
    case hypervisorInjection = 28
    /// AMD #VC.
    case vmmCommunication = 29
    /// AMD #SX.
    case security = 30

    public var vector: UInt8 { rawValue }

    /// An error code is pushed (in protected and long mode; never in real mode).
    public var hasErrorCode: Bool { Exception.hasErrorCode(vector: rawValue) }

    /// Whether the exception of that vector pushes an error code; false for vectors that are no exception's.
    public static func hasErrorCode(vector: UInt8) -> Bool {
        switch vector {
        case 8, 10, 11, 12, 13, 14, 17, 21, 29, 30: true
        default: false
        }
    }

    /// For the conditions of a double fault.
    public enum Class: Sendable {
        case benign, contributory, pageFault, doubleFault
    }

    public var faultClass: Class {
        switch self {
        case .divideError, .invalidTSS, .segmentNotPresent, .stackFault, .generalProtection, .controlProtection,
            .vmmCommunication:
            .contributory
        case .pageFault, .virtualization: .pageFault
        case .doubleFault: .doubleFault
        default: .benign
        }
    }

    /// What comes of an exception that arises while another is being delivered.
    public enum Combination: Sendable {
        /// The second is delivered.
        case second
        case doubleFault
        /// Shutdown.
        case tripleFault
    }

    /// Table 6-5: `second` arises while `first` is delivered.
    public static func combine(_ first: Exception, _ second: Exception) -> Combination {
        switch (first.faultClass, second.faultClass) {
        case (.doubleFault, .contributory), (.doubleFault, .pageFault), (.doubleFault, .doubleFault): .tripleFault
        case (.contributory, .contributory), (.pageFault, .contributory), (.pageFault, .pageFault): .doubleFault
        default: .second
        }
    }

    /// Faults that RIP points at the instruction of (so that RF is set in the pushed flags); the others are traps or aborts.
    public var isFault: Bool {
        switch self {
        case .debug, .nonMaskableInterrupt, .breakpoint, .overflow, .doubleFault, .machineCheck, .hypervisorInjection:
            false
        default: true
        }
    }
}

/// The error code of a page fault.
public struct PageFaultCode: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// P: a protection violation, not a missing page.
    public static let present = PageFaultCode(rawValue: 1 << 0)
    public static let write = PageFaultCode(rawValue: 1 << 1)
    public static let user = PageFaultCode(rawValue: 1 << 2)
    /// A reserved bit was set in an entry.
    public static let reserved = PageFaultCode(rawValue: 1 << 3)
    public static let instructionFetch = PageFaultCode(rawValue: 1 << 4)
    public static let protectionKey = PageFaultCode(rawValue: 1 << 5)
}

/// The error code that names a selector: #TS, #NP, #SS, #GP.
public struct SelectorErrorCode: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// The event came from outside of the program: an interrupt or an earlier exception.
    public static let external = SelectorErrorCode(rawValue: 1)
    /// The index is of a gate in the IDT.
    public static let idt = SelectorErrorCode(rawValue: 2)

    /// The code of a selector: its index and table, without the RPL.
    public static func of(selector: UInt16) -> UInt32 { UInt32(selector & 0xFFFC) }
    /// The code of a vector's gate.
    public static func of(vector: UInt8) -> UInt32 { UInt32(vector) << 3 | idt.rawValue }
}
