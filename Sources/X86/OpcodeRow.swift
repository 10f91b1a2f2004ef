/// One row of the opcode table: an encoding, what it does, and what a processor checks before.
///
/// Intel SDM vol. 2, chapter 2 and appendix A.
public struct OpcodeRow: Sendable {
    // MARK: Encoding

    public var map: OpcodeMap = .oneByte
    /// The first of `opcodeCount` opcodes (8 where its low bits name a register, 16 where they are a condition).
    public var opcode: UInt8 = 0
    public var opcodeCount: UInt8 = 1
    public var prefix: MandatoryPrefix = .any
    public var hasModRM = false
    /// The /digit in ModRM.reg.
    public var digit: UInt8? = nil
    /// The whole ModRM byte where it is fixed.
    public var fixedModRM: UInt8? = nil
    public var mod: ModForm = .any
    public var isVEX = false
    public var vectorLength: VectorLengthForm = .none
    /// REX.W or VEX.W that the row wants; nil for any.
    public var w: Bool? = nil
    /// Matches without REX.B only (NOP and PAUSE, beside XCHG).
    public var withoutREXB = false

    // MARK: Meaning

    public var mnemonic: Mnemonic = .invalid
    public var operands: InlineArray<4, OperandForm> = .init(repeating: OperandForm())
    public var operandCount: UInt8 = 0
    public var operandSize: OperandSizeRule = .standard
    public var opcodeClass: OpcodeClass = .integer

    // MARK: Conditions

    public var invalidIn64Bit = false
    public var only64Bit = false
    /// #UD in real and virtual-8086 mode.
    public var onlyProtected = false
    public var privilege = Privilege.none
    /// LOCK is allowed on the form with a memory destination.
    public var lockable = false
    /// The memory operand is a vector of addresses.
    public var vsib = false
    /// The CPUID feature, and the one of the 256-bit form where that is another.
    public var feature: Feature? = nil
    public var wideFeature: Feature? = nil
    /// The exception type of the manual (vol. 2, 2.4: 1…13; vol. 3, 23.25.3: 22…25 for MMX); 0 for other instructions.
    public var exceptionClass: UInt8 = 0
    /// A legacy SSE form whose 16-byte memory operand needn't be aligned.
    public var unalignedAllowed = false
    public var vendorDifference: VendorDifference = .none

    // MARK: Effects

    public var flagsRead: RFLAGS = []
    public var flagsWritten: RFLAGS = []
    public var flagsUndefined: RFLAGS = []
    /// With some counts (0) the flags stay as they were.
    public var flagsMayBeKept = false
    public var flow = Flow.straight
    public var memoryUse = MemoryUse.operands

    public init() {}

    /// Not for CPL 1 to 3.
    public var privileged: Bool { privilege == .supervisor || privilege == .hidden }
    /// Transfers control, or may.
    public var isBranch: Bool { flow == .branch || flow == .conditional }

    /// A memory operand of the full vector width must be aligned to it, else #GP(0).
    public var requiresAlignment: Bool {
        switch exceptionClass {
        case 1: !unalignedAllowed
        case 2, 4: !isVEX && opcodeClass == .sse && !unalignedAllowed
        // CVTPD2PI and CVTTPD2PI. Intel SDM vol. 3, table 23-4.
        case 22: prefix == .p66 && operands[1].kind == .W
        default: false
        }
    }
    /// The feature that the form of this vector length (in bytes) needs.
    public func feature(vectorLength: UInt8) -> Feature? {
        vectorLength == 32 ? wideFeature ?? feature : feature
    }
}

/// What a row asks of 66, F2 and F3 (or VEX.pp). The last of F2 and F3 counts, and 66 only without them.
public enum MandatoryPrefix: UInt8, Sendable {
    /// They have their usual meanings, or none.
    case any
    /// NP: none of the three.
    case none
    case p66, pF3, pF2
    /// NFx: neither F2 nor F3; 66 is the operand size.
    case noRepeat
}

public enum ModForm: UInt8, Sendable {
    case any, memory, register
}

public enum VectorLengthForm: UInt8, Sendable {
    /// Not VEX.
    case none
    /// VEX.L is ignored.
    case ignored
    case l128, l256
    /// Both, VEX.L choosing.
    case either
}

public enum OperandSizeRule: UInt8, Sendable {
    case standard
    /// 64 bits by default in 64-bit mode; 66 makes 16.
    case default64
    /// Always 64 bits in 64-bit mode.
    case forced64
}

/// Who may execute an instruction. Intel SDM vol. 3, 5.9; vol. 1, 19.5.1.
public enum Privilege: UInt8, Sendable {
    case none
    /// CPL 0; else #GP(0).
    case supervisor
    /// CPL 0; else #UD.
    case hidden
    /// CPL up to IOPL; else #GP(0), unless the I/O permission map or virtual interrupts allow it.
    case inputOutput
    /// CPL 0, and others by a bit of CR4 (TSD, PCE, UMIP); else #GP(0).
    case control
}

/// Where execution goes on behind an instruction.
public enum Flow: UInt8, Sendable {
    /// At the next one.
    case straight
    /// At the next one, or elsewhere.
    case conditional
    /// Elsewhere.
    case branch
    /// At the next one, for which mode, translation, code bytes or interruptibility may be others: not in one decoded block.
    case boundary
    /// So, where decoded code depends on the segment register that is loaded.
    case segment
}

/// Which memory an instruction accesses, and may fault on.
public enum MemoryUse: UInt8, Sendable {
    /// Its operands that are in memory.
    case operands
    /// The stack, a descriptor table, an image, or what an implicit register points to.
    case implicit
    /// None, though an operand may name some.
    case none
}

public enum OpcodeClass: UInt8, Sendable {
    case integer, system, x87, mmx, sse, vex
}

/// In what Intel and AMD differ.
public enum VendorDifference: UInt8, Sendable {
    case none
    /// Near branches in 64-bit mode: Intel ignores 66, AMD makes them 16-bit.
    case branch66
    /// Far pointers in memory: Intel honours REX.W, AMD ignores it.
    case farW
    /// SYSENTER and SYSEXIT in long mode: #UD with AMD.
    case sysenterLong
    /// The prefetches' forms with a register: #UD with AMD, no operation with Intel.
    case prefetchRegister
    /// VPINSRD with VEX.W outside 64-bit mode: #UD with AMD, W ignored by Intel.
    case wideInsert
    /// Unaligned memory operands: #GP with Intel only.
    case unalignedSHA
    /// SYSCALL and SYSRET outside 64-bit mode: #UD with Intel.
    case syscallCompat
}

/// An operand's form: the manuals' letter of addressing, and sizes.
public struct OperandForm: Sendable, Hashable {
    public var kind: Kind = .none
    /// The size as a register (or an immediate), and as memory.
    public var size: SizeCode = .none
    public var memorySize: SizeCode = .none
    public var access: Access = .read
    /// The register of a fixed operand.
    public var number: UInt8 = 0

    public init() {}

    public enum Kind: UInt8, Sendable {
        case none
        /// E: general register or memory by ModRM.rm. M: memory only. R: general register by ModRM.rm whatever mod says.
        case E, M, R
        /// G: general register by ModRM.reg. Z: by the opcode's low bits. B: by VEX.vvvv.
        case G, Z, B
        /// A fixed general register; the constant 1; a fixed segment register.
        case fixed, one, fixedSegment
        /// S: segment register by ModRM.reg, as source; T: as destination. C, D: control, debug registers.
        case S, T, C, D
        /// Immediates: zero-extended, sign-extended.
        case I, signedI
        /// J: relative. A: far pointer. O: offset. X, Y: string source, destination.
        case J, A, O, X, Y
        /// P: MMX register by reg. Q: MMX register or memory by rm. N: MMX register by rm.
        case P, Q, N
        /// V: vector by reg. W: vector or memory by rm. U: vector by rm. H: by VEX.vvvv. L: by imm8[7:4]. XMM0.
        case V, W, U, H, L, xmm0
        /// ST(0), ST(1) and other fixed ones by number; ST(i) by rm.
        case st, sti
    }

    public enum SizeCode: UInt8, Sendable {
        case none
        case b, w, d, q, t, dq, qq
        /// v: the operand size. z: that, at most 4. y: 8 with W in 64-bit mode, else 4. n: 8 in 64-bit mode, else 4.
        case v, z, y, n
        /// p: a far pointer. s: a pseudo-descriptor. a: BOUND's pair.
        case p, s, a
        /// x: the vector length. h, f, e: a half, a fourth, an eighth of it (as register: 16 bytes).
        case x, h, f, e
        /// The x87 environment and state.
        case env, st
    }

    public enum Access: UInt8, Sendable {
        case read, write, readWrite
    }
}
