import X86

/// A decoded instruction as the interpreter executes it: 56 bytes, read through a pointer and never copied on the hot path.
struct Op {
    /// Executes an op: given the addresses of the state and of the op, returns the address of the next op, or 0 with
    /// `CPUState.stop` set. Addresses, so that semantics need no `unsafe`: only `CPU` and `OpCursor` take them apart.
    typealias Handler = @convention(c) (UInt, UInt) -> UInt

    var handler: Handler
    /// The immediate, extended to 64 bits; a branch's target relative to `blockRIP`.
    var immediate: UInt64 = 0
    /// Displacement of the memory operand (RIP-relative ones count from `blockRIP`).
    var displacement: UInt64 = 0
    /// A direct branch: the address of the block that its target was last, or 0. Others: free for the family (`Op.link`).
    var link: UInt = 0
    /// Registers by byte offset into `CPUState`.
    var destination: UInt16 = CPUState.zeroOffset
    var source: UInt16 = CPUState.zeroOffset
    var base: UInt16 = CPUState.zeroOffset
    var index: UInt16 = CPUState.zeroOffset
    /// Offset of the base that is added to the effective address without further checks (`.flat`).
    var segmentBase: UInt16 = CPUState.zeroOffset
    /// From `blockRIP` to the end of the instruction.
    var nextOffset: UInt16 = 0
    var scale: UInt8 = 0
    var addressing = Addressing.flat
    var segment = SegmentName.ds
    /// Bytes.
    var length: UInt8 = 0
    /// 2, 4 or 8.
    var operandSize: UInt8 = 0
    var addressSize: UInt8 = 0
    /// Prefixes, and what the family needs (a condition code, a count …).
    var prefixes: Prefixes = []
    var detail: UInt8 = 0
    /// Index of the row in the opcode table and of the decoded instruction, where a family keeps one.
    var extra: UInt32 = 0
}

/// How a memory operand's linear address is made.
enum Addressing: UInt8 {
    /// 64-bit offsets, base of FS/GS or zero; nothing to check (canonicality is seen by the TLB miss).
    case flat
    /// As above with 32-bit offsets: address-size prefix in 64-bit mode, or 32-bit code with flat data segments.
    case flat32
    /// Segment type and limit checks; 16- or 32-bit offsets by `addressSize`.
    case checked
}

/// A handler's view of its op.
///
/// SAFETY: the pointer is into a block's ops, which outlive the run of the block (`BlockCache`).
@safe struct OpCursor {
    let pointer: UnsafeMutablePointer<Op>

    @inline(__always) init(_ address: UInt) {
        unsafe pointer = UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
    }

    @inline(__always) var op: Op {
        unsafeAddress { unsafe UnsafePointer(pointer) }
        nonmutating unsafeMutableAddress { unsafe pointer }
    }

    /// The op that follows in the block.
    @inline(__always) var next: UInt { unsafe UInt(bitPattern: pointer + 1) }
}
