/// Descriptors of segments, system segments and gates, as they lie in the GDT, LDT and IDT.
///
/// Intel SDM vol. 3, 3.4.5 (segment descriptors), 3.5 (system descriptors), 5.8.3 (call gates), 6.11 and 6.14.1 (IDT gates).

/// A segment selector.
public struct Selector: Sendable, Hashable {
    public var rawValue: UInt16
    @inlinable public init(_ rawValue: UInt16) { self.rawValue = rawValue }
    /// Requested privilege level, 0…3.
    public var rpl: UInt8 { UInt8(rawValue & 3) }
    /// In the LDT, not the GDT.
    public var isLocal: Bool { rawValue & 4 != 0 }
    public var index: UInt16 { rawValue >> 3 }
    /// The byte offset in its table.
    public var offset: UInt16 { rawValue & 0xFFF8 }
    /// Null: GDT index 0, any RPL.
    public var isNull: Bool { rawValue & 0xFFFC == 0 }
}

/// Types of system descriptors (S = 0). In long mode only `ldt`, the 32-bit TSS types (as 64-bit ones) and the 32-bit gate
/// types (as 64-bit ones) exist.
public enum SystemDescriptorType: UInt8, Sendable {
    case tss16Available = 1
    case ldt = 2
    case tss16Busy = 3
    case callGate16 = 4
    case taskGate = 5
    case interruptGate16 = 6
    case trapGate16 = 7
    case tss32Available = 9
    case tss32Busy = 11
    case callGate32 = 12
    case interruptGate32 = 14
    case trapGate32 = 15
}

/// A code, data, LDT or TSS descriptor.
public struct SegmentDescriptor: Sendable, Hashable {
    /// The eight bytes, little endian.
    public var rawValue: UInt64
    /// Bytes 8…15 of a 16-byte system descriptor of long mode, else 0.
    public var upper: UInt64

    public init(rawValue: UInt64, upper: UInt64 = 0) {
        self.rawValue = rawValue
        self.upper = upper
    }

    /// The linear base; 64 bits with `upper`.
    public var base: UInt64 {
        (rawValue >> 16) & 0xFF_FFFF | (rawValue >> 32) & 0xFF00_0000 | upper << 32
    }
    /// The limit in bytes, granularity applied: the last valid offset (of expand-down segments: the last invalid one).
    public var limit: UInt32 {
        let raw = UInt32(truncatingIfNeeded: rawValue & 0xFFFF | (rawValue >> 32) & 0xF_0000)
        return granularity ? raw << 12 | 0xFFF : raw
    }
    /// Bits 40…55 without the limit: type, S, DPL, P, AVL, L, D/B, G at the places that VMX and KVM use too
    /// (type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, DB 14, G 15).
    public var attributes: UInt16 { UInt16(truncatingIfNeeded: rawValue >> 40) & 0xF0FF }
    public var type: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 40) & 15 }
    /// S: a code or data segment, not a system one.
    public var isCodeOrData: Bool { rawValue >> 44 & 1 != 0 }
    public var dpl: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 45) & 3 }
    public var present: Bool { rawValue >> 47 & 1 != 0 }
    public var available: Bool { rawValue >> 52 & 1 != 0 }
    /// L: 64-bit code.
    public var long: Bool { rawValue >> 53 & 1 != 0 }
    /// D/B: 32-bit default operands, or stack pointer.
    public var defaultBig: Bool { rawValue >> 54 & 1 != 0 }
    /// G: the limit counts 4 KiB.
    public var granularity: Bool { rawValue >> 55 & 1 != 0 }

    public var isCode: Bool { isCodeOrData && type & 8 != 0 }
    public var isData: Bool { isCodeOrData && type & 8 == 0 }
    public var isConforming: Bool { isCode && type & 4 != 0 }
    public var isExpandDown: Bool { isData && type & 4 != 0 }
    public var isReadable: Bool { isData || isCode && type & 2 != 0 }
    public var isWritable: Bool { isData && type & 2 != 0 }
    public var isAccessed: Bool { isCodeOrData && type & 1 != 0 }
    public var systemType: SystemDescriptorType? {
        isCodeOrData ? nil : SystemDescriptorType(rawValue: type)
    }
    /// The accessed bit of code and data, in the descriptor's 8 bytes.
    public static let accessedBit: UInt64 = 1 << 40
    /// The busy bit of a TSS, in the descriptor's 8 bytes.
    public static let busyBit: UInt64 = 1 << 41

    /// Composes a descriptor from its fields: `attributes` as in the property of that name; `limit` in bytes (its low
    /// 12 bits are lost with G).
    public init(base: UInt64, limit: UInt32, attributes: UInt16) {
        let raw = UInt64(attributes & 0x8000 != 0 ? limit >> 12 : limit)
        rawValue =
            raw & 0xFFFF | (raw & 0xF_0000) << 32 | (base & 0xFF_FFFF) << 16 | (base & 0xFF00_0000) << 32
            | UInt64(attributes & 0xF0FF) << 40
        upper = base >> 32
    }
}

/// A call, interrupt, trap or task gate.
public struct GateDescriptor: Sendable, Hashable {
    public var rawValue: UInt64
    /// Bytes 8…15 of a 16-byte gate of long mode, else 0.
    public var upper: UInt64

    public init(rawValue: UInt64, upper: UInt64 = 0) {
        self.rawValue = rawValue
        self.upper = upper
    }

    public var selector: Selector { Selector(UInt16(truncatingIfNeeded: rawValue >> 16)) }
    /// The entry point: 64 bits with `upper`. Of 16-bit gates only the low 16 bits count.
    public var offset: UInt64 {
        rawValue & 0xFFFF | (rawValue >> 32) & 0xFFFF_0000 | upper << 32
    }
    /// Call gates: words or doublewords to copy, 0…31.
    public var parameterCount: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 32) & 31 }
    /// Interrupt and trap gates of long mode: the interrupt stack table entry, 0 for none.
    public var ist: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 32) & 7 }
    public var type: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 40) & 15 }
    public var isSystem: Bool { rawValue >> 44 & 1 == 0 }
    public var systemType: SystemDescriptorType? { isSystem ? SystemDescriptorType(rawValue: type) : nil }
    public var dpl: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 45) & 3 }
    public var present: Bool { rawValue >> 47 & 1 != 0 }
}
