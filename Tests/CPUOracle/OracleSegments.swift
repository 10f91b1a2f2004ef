/// A segment that 16-bit cases work in: an entry of the LDT, the same in the native process and in the guest.
///
/// Flat segments don't show which of them an address is taken from. These have bases and limits of their own: ES begins and
/// ends elsewhere than DS, SS is expand-down, each reaches a window.
enum OracleSegment: UInt32, CaseIterable {
    /// The raw value is the entry's number.
    case code = 1
    case data
    case extra
    case stack

    /// TI and RPL 3. Intel SDM vol. 3, 3.4.2.
    var selector: UInt16 { UInt16(rawValue) << 3 | 7 }

    var base: UInt32 {
        switch self {
        case .code: UInt32(OracleWindows.code)
        case .data: UInt32(OracleWindows.data)
        case .extra: UInt32(OracleWindows.data) + 0x40
        case .stack: UInt32(OracleWindows.stack) - UInt32(OracleWindows.stackOffset16)
        }
    }

    /// In bytes; of an expand-down segment, the last offset that is not in it.
    var limit: UInt32 {
        switch self {
        case .code, .data: 0xFFFF
        case .extra: 0x2F7F
        case .stack: UInt32(OracleWindows.stackOffset16) - 1
        }
    }

    /// The descriptor type without its accessed bit, which Linux sets. Intel SDM vol. 3, table 3-1.
    private var type: UInt32 {
        switch self {
        case .code: 10
        case .data, .extra: 2
        case .stack: 6
        }
    }

    /// For user level, of 16 bits, present and accessed. Intel SDM vol. 3, figure 3-8.
    var descriptor: UInt64 {
        let (base, limit) = (UInt64(base), UInt64(limit))
        let access: UInt64 = 0xF1 | UInt64(type)
        return limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40 | (limit >> 16) << 48 | (base >> 24) << 56
    }

    /// Linux's `struct user_desc`: number, base, limit, flags. Linux, arch/x86/include/uapi/asm/ldt.h.
    var userDescriptor: InlineArray<4, UInt32> {
        // `contents` from bit 1, `read_exec_only` at bit 3.
        [rawValue, base, limit, (type >> 2) << 1]
    }
}

/// The selectors with which a case begins. FS and GS are null.
struct OracleSelectors {
    var cs: UInt16
    var ss: UInt16
    var ds: UInt16
    var es: UInt16

    init(_ mode: OracleCase.Mode) {
        cs = UInt16(mode.rawValue)
        if mode == .bits16 {
            (ss, ds, es) = (
                OracleSegment.stack.selector, OracleSegment.data.selector, OracleSegment.extra.selector
            )
        } else {
            // Linux's __USER_DS.
            (ss, ds, es) = (0x2B, 0x2B, 0x2B)
        }
    }
}

extension OracleCase.Mode {
    /// Where a window begins as code of this mode names it: by CS, DS and SS.
    public var codeStart: UInt64 { self == .bits16 ? 0 : OracleWindows.code }
    var dataStart: UInt64 { self == .bits16 ? 0 : OracleWindows.data }
    var stackStart: UInt64 { self == .bits16 ? OracleWindows.stackOffset16 : OracleWindows.stack }
}
