/// Control, flag and debug registers: their bits as the manuals name them.
///
/// Intel SDM vol. 3, 2.3 (EFLAGS), 2.5 (CR0…CR8), 2.6 (XCR0), 17.2 (DR0…DR7); AMD APM vol. 2, 3.1.

/// CR0.
public struct CR0: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Protection enable.
    public static let PE = CR0(rawValue: 1 << 0)
    /// Monitor coprocessor.
    public static let MP = CR0(rawValue: 1 << 1)
    /// x87 emulation.
    public static let EM = CR0(rawValue: 1 << 2)
    /// Task switched.
    public static let TS = CR0(rawValue: 1 << 3)
    /// Extension type: reads as 1.
    public static let ET = CR0(rawValue: 1 << 4)
    /// Numeric error: x87 exceptions as #MF.
    public static let NE = CR0(rawValue: 1 << 5)
    /// Write protect: supervisor writes honour read-only pages.
    public static let WP = CR0(rawValue: 1 << 16)
    /// Alignment mask: enables EFLAGS.AC's checks at CPL 3.
    public static let AM = CR0(rawValue: 1 << 18)
    /// Not write-through.
    public static let NW = CR0(rawValue: 1 << 29)
    /// Cache disable.
    public static let CD = CR0(rawValue: 1 << 30)
    /// Paging.
    public static let PG = CR0(rawValue: 1 << 31)

    /// Every defined bit.
    public static let defined: CR0 = [.PE, .MP, .EM, .TS, .ET, .NE, .WP, .AM, .NW, .CD, .PG]
    /// After RESET: 60000010H.
    public static let reset: CR0 = [.ET, .NW, .CD]
}

/// CR3 outside of its address bits.
public enum CR3 {
    /// With CR4.PCIDE = 0: page-level write-through.
    public static let PWT: UInt64 = 1 << 3
    /// With CR4.PCIDE = 0: page-level cache disable.
    public static let PCD: UInt64 = 1 << 4
    /// With CR4.PCIDE = 1: the process-context identifier.
    public static let pcidMask: UInt64 = 0xFFF
    /// In the source operand of MOV to CR3 with CR4.PCIDE = 1: keep this PCID's translations.
    public static let noFlush: UInt64 = 1 << 63
}

/// CR4.
public struct CR4: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Virtual-8086 mode extensions.
    public static let VME = CR4(rawValue: 1 << 0)
    /// Protected-mode virtual interrupts.
    public static let PVI = CR4(rawValue: 1 << 1)
    /// RDTSC and RDTSCP at CPL 0 only.
    public static let TSD = CR4(rawValue: 1 << 2)
    /// Debugging extensions: DR4 and DR5 are #UD.
    public static let DE = CR4(rawValue: 1 << 3)
    /// Page size extensions: 4 MiB pages.
    public static let PSE = CR4(rawValue: 1 << 4)
    /// Physical address extension.
    public static let PAE = CR4(rawValue: 1 << 5)
    /// Machine-check enable.
    public static let MCE = CR4(rawValue: 1 << 6)
    /// Global pages.
    public static let PGE = CR4(rawValue: 1 << 7)
    /// RDPMC at any CPL.
    public static let PCE = CR4(rawValue: 1 << 8)
    /// FXSAVE and SSE offered by the operating system.
    public static let OSFXSR = CR4(rawValue: 1 << 9)
    /// #XM for unmasked SIMD floating-point exceptions.
    public static let OSXMMEXCPT = CR4(rawValue: 1 << 10)
    /// User-mode instruction prevention.
    public static let UMIP = CR4(rawValue: 1 << 11)
    /// 57-bit linear addresses.
    public static let LA57 = CR4(rawValue: 1 << 12)
    public static let VMXE = CR4(rawValue: 1 << 13)
    public static let SMXE = CR4(rawValue: 1 << 14)
    /// RDFSBASE and its kin.
    public static let FSGSBASE = CR4(rawValue: 1 << 16)
    /// Process-context identifiers.
    public static let PCIDE = CR4(rawValue: 1 << 17)
    /// XSAVE and processor extended states.
    public static let OSXSAVE = CR4(rawValue: 1 << 18)
    /// Supervisor-mode execution prevention.
    public static let SMEP = CR4(rawValue: 1 << 20)
    /// Supervisor-mode access prevention.
    public static let SMAP = CR4(rawValue: 1 << 21)
    /// Protection keys for user pages.
    public static let PKE = CR4(rawValue: 1 << 22)
    /// Control-flow enforcement.
    public static let CET = CR4(rawValue: 1 << 23)
    /// Protection keys for supervisor pages.
    public static let PKS = CR4(rawValue: 1 << 24)
}

/// XCR0: the state components that XSAVE manages and whose instructions may run.
public struct XCR0: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static let x87 = XCR0(rawValue: 1 << 0)
    public static let sse = XCR0(rawValue: 1 << 1)
    public static let avx = XCR0(rawValue: 1 << 2)
    public static let pkru = XCR0(rawValue: 1 << 9)
}

/// MSR C0000080H, IA32_EFER.
public struct EFER: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// SYSCALL enable.
    public static let SCE = EFER(rawValue: 1 << 0)
    /// Long mode enable.
    public static let LME = EFER(rawValue: 1 << 8)
    /// Long mode active.
    public static let LMA = EFER(rawValue: 1 << 10)
    /// No-execute enable.
    public static let NXE = EFER(rawValue: 1 << 11)
    /// AMD: secure virtual machine enable.
    public static let SVME = EFER(rawValue: 1 << 12)
    /// AMD: long mode segment limit enable.
    public static let LMSLE = EFER(rawValue: 1 << 13)
    /// AMD: fast FXSAVE and FXRSTOR.
    public static let FFXSR = EFER(rawValue: 1 << 14)
    /// AMD: translation cache extension.
    public static let TCE = EFER(rawValue: 1 << 15)
}

/// RFLAGS.
public struct RFLAGS: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static let CF = RFLAGS(rawValue: 1 << 0)
    /// Bit 1, always set.
    public static let fixed = RFLAGS(rawValue: 1 << 1)
    public static let PF = RFLAGS(rawValue: 1 << 2)
    public static let AF = RFLAGS(rawValue: 1 << 4)
    public static let ZF = RFLAGS(rawValue: 1 << 6)
    public static let SF = RFLAGS(rawValue: 1 << 7)
    /// Trap: single step.
    public static let TF = RFLAGS(rawValue: 1 << 8)
    /// Interrupt enable.
    public static let IF = RFLAGS(rawValue: 1 << 9)
    /// Direction.
    public static let DF = RFLAGS(rawValue: 1 << 10)
    public static let OF = RFLAGS(rawValue: 1 << 11)
    /// Both bits of the I/O privilege level.
    public static let IOPL = RFLAGS(rawValue: 3 << 12)
    /// Nested task.
    public static let NT = RFLAGS(rawValue: 1 << 14)
    /// Resume.
    public static let RF = RFLAGS(rawValue: 1 << 16)
    /// Virtual-8086 mode.
    public static let VM = RFLAGS(rawValue: 1 << 17)
    /// Alignment check; access control with CR4.SMAP.
    public static let AC = RFLAGS(rawValue: 1 << 18)
    /// Virtual interrupt.
    public static let VIF = RFLAGS(rawValue: 1 << 19)
    /// Virtual interrupt pending.
    public static let VIP = RFLAGS(rawValue: 1 << 20)
    /// Identification: CPUID is there.
    public static let ID = RFLAGS(rawValue: 1 << 21)

    /// The six flags of arithmetic.
    public static let status: RFLAGS = [.CF, .PF, .AF, .ZF, .SF, .OF]
    /// Every bit that software can set; all others but `fixed` read as zero.
    public static let defined: RFLAGS = [
        .status, .TF, .IF, .DF, .IOPL, .NT, .RF, .VM, .AC, .VIF, .VIP, .ID,
    ]
    /// The I/O privilege level, 0…3.
    public var iopl: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 12) & 3 }
}

/// DR6, the debug status register.
public struct DR6: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static let B0 = DR6(rawValue: 1 << 0)
    public static let B1 = DR6(rawValue: 1 << 1)
    public static let B2 = DR6(rawValue: 1 << 2)
    public static let B3 = DR6(rawValue: 1 << 3)
    /// A debug register was accessed while DR7.GD was set.
    public static let BD = DR6(rawValue: 1 << 13)
    /// Single step.
    public static let BS = DR6(rawValue: 1 << 14)
    /// Task switch to a TSS with its T bit set.
    public static let BT = DR6(rawValue: 1 << 15)
    /// Bits that read as 1 (RTM's bit 16 is active low and not offered).
    public static let fixed = DR6(rawValue: 0xFFFF_0FF0)
    /// Bits that MOV can change.
    public static let writable: DR6 = [.B0, .B1, .B2, .B3, .BD, .BS, .BT]
}

/// DR7, the debug control register.
public struct DR7: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// Local exact breakpoint enable; no effect.
    public static let LE = DR7(rawValue: 1 << 8)
    /// Global exact breakpoint enable; no effect.
    public static let GE = DR7(rawValue: 1 << 9)
    /// Bit 10, always set.
    public static let fixed = DR7(rawValue: 1 << 10)
    /// General detect: the next access to a debug register is #DB.
    public static let GD = DR7(rawValue: 1 << 13)
    /// Local enables of the four breakpoints, cleared by a task switch.
    public static let localEnables = DR7(rawValue: 0x55)
    /// Bits that MOV can change.
    public static let writable = DR7(rawValue: 0xFFFF_23FF)

    /// What a breakpoint watches.
    public enum Condition: UInt8, Sendable {
        case execute, write, io, readWrite
    }
    /// Breakpoint 0…3 is enabled, locally or globally.
    public func isEnabled(_ breakpoint: Int) -> Bool { (rawValue >> (UInt64(breakpoint & 3) * 2)) & 3 != 0 }
    public func condition(_ breakpoint: Int) -> Condition {
        Condition(rawValue: UInt8((rawValue >> (16 + UInt64(breakpoint & 3) * 4)) & 3)) ?? .execute
    }
    /// The watched range in bytes: 1, 2, 4 or 8.
    public func length(_ breakpoint: Int) -> UInt8 {
        switch (rawValue >> (18 + UInt64(breakpoint & 3) * 4)) & 3 {
        case 0: 1
        case 1: 2
        case 2: 8
        default: 4
        }
    }
}

/// MXCSR. Intel SDM vol. 1, 10.2.3.
public struct MXCSR: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let IE = MXCSR(rawValue: 1 << 0)
    public static let DE = MXCSR(rawValue: 1 << 1)
    public static let ZE = MXCSR(rawValue: 1 << 2)
    public static let OE = MXCSR(rawValue: 1 << 3)
    public static let UE = MXCSR(rawValue: 1 << 4)
    public static let PE = MXCSR(rawValue: 1 << 5)
    /// Denormals are zeros.
    public static let DAZ = MXCSR(rawValue: 1 << 6)
    public static let IM = MXCSR(rawValue: 1 << 7)
    public static let DM = MXCSR(rawValue: 1 << 8)
    public static let ZM = MXCSR(rawValue: 1 << 9)
    public static let OM = MXCSR(rawValue: 1 << 10)
    public static let UM = MXCSR(rawValue: 1 << 11)
    public static let PM = MXCSR(rawValue: 1 << 12)
    /// Rounding control: nearest, down, up, towards zero.
    public static let RC = MXCSR(rawValue: 3 << 13)
    /// Flush to zero.
    public static let FTZ = MXCSR(rawValue: 1 << 15)
    public static let flags: MXCSR = [.IE, .DE, .ZE, .OE, .UE, .PE]
    public static let masks: MXCSR = [.IM, .DM, .ZM, .OM, .UM, .PM]
    /// After reset and FNINIT-like initialisation: all masked.
    public static let reset = masks
    /// Bits that may be set; any other makes LDMXCSR #GP(0). The host's MXCSR_MASK agrees on every x86-64 processor.
    public static let defined = MXCSR(rawValue: 0xFFFF)
}
