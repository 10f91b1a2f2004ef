/// An entry of a paging structure, of 4 or 8 bytes.
///
/// Intel SDM vol. 3, 4.3 (32-bit), 4.4 (PAE), 4.5 (4-level and 5-level paging).
public struct PageTableEntry: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    /// P.
    public static let present = PageTableEntry(rawValue: 1 << 0)
    /// R/W.
    public static let writable = PageTableEntry(rawValue: 1 << 1)
    /// U/S.
    public static let user = PageTableEntry(rawValue: 1 << 2)
    /// PWT.
    public static let writeThrough = PageTableEntry(rawValue: 1 << 3)
    /// PCD.
    public static let cacheDisable = PageTableEntry(rawValue: 1 << 4)
    /// A.
    public static let accessed = PageTableEntry(rawValue: 1 << 5)
    /// D, of entries that map a page.
    public static let dirty = PageTableEntry(rawValue: 1 << 6)
    /// PS, of directory entries: this entry maps a large page.
    public static let pageSize = PageTableEntry(rawValue: 1 << 7)
    /// G, of entries that map a page.
    public static let global = PageTableEntry(rawValue: 1 << 8)
    /// PAT of a large page; bit 7 is that of a 4 KiB page.
    public static let largePAT = PageTableEntry(rawValue: 1 << 12)
    /// XD/NX, with EFER.NXE.
    public static let executeDisable = PageTableEntry(rawValue: 1 << 63)

    /// Bits 12…51: the address, before it is cut to the physical address width.
    public static let addressMask: UInt64 = 0x000F_FFFF_FFFF_F000
    /// The physical address of a 4 KiB page or of the next table.
    public var address: UInt64 { rawValue & PageTableEntry.addressMask }
    /// The protection key, bits 59…62.
    public var protectionKey: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 59) & 15 }

    /// The physical address of the 4 MiB page that a 32-bit directory entry with PS maps: bits 13…20 are address bits 32…39
    /// (PSE-36).
    public var address4M: UInt64 { rawValue & 0xFFC0_0000 | (rawValue & 0x1F_E000) << 19 }
    /// Bit 21 of a 4 MiB entry is reserved.
    public static let reserved4M: UInt64 = 1 << 21
    /// Bits of a PAE page-directory-pointer entry that must be zero: 1, 2, 5…8.
    public static let reservedPDPTE: UInt64 = 0x1E6
    /// Bits 13…20 of a 2 MiB page, 13…29 of a 1 GiB page.
    public static let reserved2M: UInt64 = 0x001F_E000
    public static let reserved1G: UInt64 = 0x3FFF_E000

    /// Bits from the physical address width up to 51, reserved in every entry of 8 bytes.
    public static func reservedAddressBits(physicalAddressBits: UInt8) -> UInt64 {
        let width = min(max(physicalAddressBits, 32), 52)
        return addressMask & ~((1 << UInt64(width)) &- 1)
    }
}
