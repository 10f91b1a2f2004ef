import X86

/// A vCPU's architectural state: one plain struct at a fixed address, shared by the executors and by the ioctls.
///
/// Instruction operands name registers by byte offset into it (`CPUState.offset(of:)`), so that AH is RAX's offset plus one.
@safe public struct CPUState {
    /// The XSAVE area in its standard form: legacy region, header, YMM_Hi128 at 576. First, so that it is 64-byte aligned.
    /// Intel SDM vol. 1, 13.4.
    public var xsave = InlineArray<128, UInt64>(repeating: 0)

    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8…R15.
    public var registers = InlineArray<16, UInt64>(repeating: 0)
    /// Always zero: the register of an operand that has no base, index or segment base.
    public let zero: UInt64 = 0
    /// Valid at block boundaries only; inside a block an instruction's address is `blockRIP` plus its op's offset.
    public var rip: UInt64 = 0xFFF0
    /// The RIP at which the running block starts.
    public var blockRIP: UInt64 = 0

    // MARK: Status flags, lazily. See `Flags.swift`.
    var lazyResult: UInt64 = 1
    var lazyCarry: UInt64 = 0
    var lazyParity: UInt8 = 1
    var lazyAdjust: UInt8 = 0
    var lazySignFlip: UInt8 = 0
    /// RFLAGS without CF, PF, AF, ZF, SF, OF; bit 1 is set.
    public var systemFlags: UInt64 = 2

    // MARK: What the memory fast path reads.
    /// The table of translations for the current privilege (`TLB.swift`).
    // SAFETY: a table of `TLB`, which lives as long as the state.
    var tlb: UnsafeMutablePointer<TLBEntry>
    /// Which block lies at which linear address (`BlockCache.swift`).
    // SAFETY: of the processor's `BlockCache`, which lives as long as the state.
    var lookups: UnsafeMutablePointer<BlockCache.Lookup>
    /// In the low 12 bits of each valid tag; changing it empties the TLB.
    var tlbGeneration: UInt64 = 1
    /// The same in write tags, which are dropped by themselves, too.
    var tlbWriteGeneration: UInt64 = 1
    var lookupEpochs = LookupEpochs()
    var codePages = CodePageFilter()
    /// Compared with a block's before it runs; changing it makes every block compare its bytes again.
    var codeGeneration: UInt64 = 1
    /// What decoded code depends on beside its bytes; see `CodeMode`.
    var codeMode = CodeMode(rawValue: 0)
    /// The address of the op that is being executed, for stops raised below it.
    var currentOp: UInt
    /// Why the last handler returned no successor.
    var stop = Stop.boundary
    /// MXCSR as it was when it was loaded into the host's register, where exception flags have gathered since; 0 when none is.
    var loadedMXCSR: UInt32 = 0
    /// The owner, for the slow paths.
    unowned(unsafe) var processor: VirtualProcessor

    // MARK: What emitted code shares with the run loop (`Translator`)
    /// The status flags while it runs or is left: as LAHF gives them in the upper byte, OF in bit 0.
    var packedFlags: UInt16 = 0x0200
    /// RIP of the first byte of the page that it runs in.
    var codeBase: UInt64 = 0
    /// `CPU.lookupKey` as it was entered.
    var enteredKey: UInt64 = 0
    /// The way into emitted code; 0 where there is none.
    var enterAddress: UInt = 0
    /// Times that it was entered, and left for an instruction that the interpreter executes.
    var entries: UInt64 = 0
    var coldExits: UInt64 = 0
    /// Changes whenever links to other code may be wrong: mode, translations of code, or the code itself.
    var linkStamp: UInt64 = 1
    /// `codeGeneration` as emitted code was entered.
    var stampedGeneration: UInt64 = 0
    /// What links were last filled for under each view (`TLBView`), and the last stamp of all.
    var stamps = InlineArray<4, LinkStamp>(repeating: LinkStamp())
    var lastStamp: UInt64 = 1
    /// Slots on the lists of those that are filled (`SlotList`).
    var filledSlots = InlineArray<4, UInt32>(repeating: 0)
    /// Something in the upper half of the address space lies in a page that is not global.
    var upperIsPrivate = false
    /// Registers, for the length of an instruction or of a leaf.
    var spills = InlineArray<5, UInt64>(repeating: 0)
    /// The instruction that `interruptShadow` is over while emitted code runs: behind it the shadow is past (`CPU.isPastShadow`).
    var shadowRIP: UInt64 = 0
    /// What `CPU.find` adds to a linear address.
    var foundDelta: UInt64 = 0
    /// The host's base of GS, which is the state's address meanwhile.
    var hostGSBase: UInt = 0
    /// Instructions that emitted code has begun, by privilege, where it counts them.
    var userInstructions: UInt64 = 0
    var systemInstructions: UInt64 = 0
    var isInEmittedCode = false
    /// Whether the vector registers and MXCSR are in the host's, and what `xsave` has of them is old.
    var vectorPlace = RegisterPlace.state
    /// The same of the x87 state, but for FIP, FDP and FOP, which `xsave` always has.
    var x87Place = RegisterPlace.state
    /// The next block is the interpreter's, whatever there is: it begins with what emitted code has left to it.
    var nextIsCold = false

    // MARK: The processor's, by address: what each system call looks at. See `VirtualProcessor`.
    var isStepping = false
    var isAMD = false
    var codeLimit: UInt32 = 0
    var heldRequests: ExitRequest = []
    var withheld: UInt32 = 0

    // MARK: Segments and tables, in the order of `SegmentName`.
    public var segments: InlineArray<8, SegmentRegister>
    public var gdtr = DescriptorTableRegister()
    public var idtr = DescriptorTableRegister()

    public var cr0: UInt64 = 0x6000_0010
    public var cr2: UInt64 = 0
    public var cr3: UInt64 = 0
    public var cr4: UInt64 = 0
    public var efer: UInt64 = 0
    public var xcr0: UInt64 = 1
    /// PDPTEs as loaded by the last CR3 load in PAE mode. Intel SDM vol. 3, 4.4.1.
    public var pdptes = InlineArray<4, UInt64>(repeating: 0)
    public var dr = InlineArray<4, UInt64>(repeating: 0)
    public var dr6: UInt64 = 0xFFFF_0FF0
    public var dr7: UInt64 = 0x400
    /// 0…3.
    public var cpl: UInt8 = 0

    // MARK: Events.
    /// STI or MOV SS/POP SS blocks interrupts for one instruction: bit 0 STI, bit 1 MOV SS (as KVM_X86_SHADOW_INT_*).
    public var interruptShadow: UInt8 = 0
    /// NMIs are blocked until IRET.
    public var nmiBlocked = false
    /// The exception, if any, whose delivery is under way, for double faults and KVM_GET_VCPU_EVENTS.
    public var pendingException = PendingException()

    // MARK: MSRs that the processor itself acts on.
    public var star: UInt64 = 0
    public var lstar: UInt64 = 0
    public var cstar: UInt64 = 0
    public var sfmask: UInt64 = 0
    public var kernelGSBase: UInt64 = 0
    public var sysenterCS: UInt64 = 0
    public var sysenterESP: UInt64 = 0
    public var sysenterEIP: UInt64 = 0
    public var tscAux: UInt64 = 0
    public var pat: UInt64 = 0x0007_0406_0007_0406
    public var xss: UInt64 = 0
    public var debugControl: UInt64 = 0
    public var miscEnable: UInt64 = 1

    /// Byte offset of a general register's low byte.
    static func offset(ofRegister number: UInt8) -> UInt16 { registersOffset + UInt16(number & 15) * 8 }
    /// Byte offset of AH, CH, DH, BH (0…3).
    static func offset(ofHighByte number: UInt8) -> UInt16 { registersOffset + UInt16(number & 3) * 8 + 1 }
    static func offset(ofSegmentBase segment: UInt8) -> UInt16 { segmentsOffset + UInt16(segment & 7) * 16 }

    private static let registersOffset = UInt16(MemoryLayout<CPUState>.offset(of: \.registers) ?? 0)
    private static let segmentsOffset = UInt16(MemoryLayout<CPUState>.offset(of: \.segments) ?? 0)
    static let zeroOffset = UInt16(MemoryLayout<CPUState>.offset(of: \.zero) ?? 0)
    static let blockRIPOffset = UInt16(MemoryLayout<CPUState>.offset(of: \.blockRIP) ?? 0)
}
