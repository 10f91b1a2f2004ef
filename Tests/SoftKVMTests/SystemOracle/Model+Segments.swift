// Segment registers and descriptors. Intel SDM vol. 2, MOV, POP, LDS, LLDT, LTR, LAR, LSL, VERR, ARPL; vol. 3, 3.4.5, 3.5,
// 5.5 to 5.8.

import KVMABI

/// A descriptor as it lies in its table.
struct TableEntry {
    var value: UInt64
    var upper: UInt64 = 0
    var address: UInt64

    var type: UInt8 { UInt8(value >> 40 & 15) }
    var isSystem: Bool { value >> 44 & 1 == 0 }
    var dpl: UInt8 { UInt8(value >> 45 & 3) }
    var isPresent: Bool { value >> 47 & 1 != 0 }
    var isCode: Bool { !isSystem && type & 8 != 0 }
    var isConforming: Bool { isCode && type & 4 != 0 }
    var isReadable: Bool { !isSystem && (type & 8 == 0 || type & 2 != 0) }
    var isWritable: Bool { !isSystem && type & 0xA == 2 }
    var isLong: Bool { value >> 53 & 1 != 0 }
    var isBig: Bool { value >> 54 & 1 != 0 }
    // As a gate.
    var gateSelector: UInt16 { UInt16(truncatingIfNeeded: value >> 16) }
    var gateOffset: UInt64 { value & 0xFFFF | value >> 32 & 0xFFFF_0000 | upper << 32 }
    var gateCount: Int { Int(value >> 32 & 31) }
}

func isNull(_ selector: UInt16) -> Bool { selector & 0xFFFC == 0 }
func rpl(_ selector: UInt16) -> UInt8 { UInt8(selector & 3) }

extension Model {
    /// The address of a selector's descriptor of `size` bytes; nil beyond its table's limit, or with no LDT.
    func entryAddress(_ selector: UInt16, size: UInt64 = 8) -> UInt64? {
        let offset = UInt64(selector & 0xFFF8)
        if selector & 4 != 0 {
            let ldt = state.special.ldt
            guard ldt.unusable == 0, offset + size - 1 <= UInt64(ldt.limit) else { return nil }
            return ldt.base + offset
        }
        guard offset + size - 1 <= UInt64(state.special.gdt.limit) else { return nil }
        return state.special.gdt.base + offset
    }

    func entry(_ selector: UInt16, else fault: Fault) throws(Fault) -> TableEntry {
        guard let address = entryAddress(selector) else { throw fault }
        return TableEntry(value: read(address), address: address)
    }

    /// A system descriptor: 16 bytes in IA-32e mode.
    func systemEntry(_ selector: UInt16, else fault: Fault) throws(Fault) -> TableEntry {
        guard let address = entryAddress(selector, size: isLongMode ? 16 : 8) else { throw fault }
        return TableEntry(value: read(address), upper: isLongMode ? read(address + 8) : 0, address: address)
    }

    /// Sets the accessed bit, and gives the register's new contents.
    mutating func loaded(_ selector: UInt16, _ entry: TableEntry) -> kvm_segment {
        let value = entry.value | 1 << 40
        if value != entry.value { write(entry.address + 5, UInt8(value >> 40 & 0xFF)) }
        return kvm_segment(selector, value)
    }

    // MARK: Loads

    func realSegment(_ old: kvm_segment, _ selector: UInt16) -> kvm_segment {
        var segment = old
        segment.selector = selector
        segment.base = UInt64(selector) << 4
        if isV86 { return kvm_segment(selector, descriptor(base: segment.base, limit: 0xFFFF, access: 0xF3, flags: 0)) }
        return segment
    }

    mutating func load(_ path: WritableKeyPath<kvm_sregs, kvm_segment>, _ selector: UInt16) throws(Fault) {
        if isRealOrV86 {
            state.special[keyPath: path] = realSegment(state.special[keyPath: path], selector)
        } else if path == \kvm_sregs.ss {
            state.special.ss = try stackSegment(selector, level: cpl, null: is64Bit) { .gp($0) }
        } else {
            state.special[keyPath: path] = try dataSegment(selector) { .gp($0) }
        }
    }

    /// SS. `fault` makes the exception that names a bad selector; `null`: level 0 to 2 may have none (64-bit mode).
    mutating func stackSegment(
        _ selector: UInt16, level: UInt8, null: Bool, _ fault: (UInt16) -> Fault, ext: UInt32 = 0
    )
        throws(Fault) -> kvm_segment
    {
        if isNull(selector) {
            guard null, level < 3, rpl(selector) == level else { throw fault(0) }
            return .null(selector, dpl: level)
        }
        let entry = try entry(selector, else: fault(selector))
        guard rpl(selector) == level, entry.isWritable, entry.dpl == level else { throw fault(selector) }
        guard entry.isPresent else { throw .ss(selector, ext) }
        return loaded(selector, entry)
    }

    mutating func dataSegment(_ selector: UInt16, _ fault: (UInt16) -> Fault) throws(Fault) -> kvm_segment {
        if isNull(selector) { return .null(selector) }
        let entry = try entry(selector, else: fault(selector))
        guard entry.isReadable else { throw fault(selector) }
        if !entry.isConforming, rpl(selector) > entry.dpl || cpl > entry.dpl { throw fault(selector) }
        guard entry.isPresent else { throw .np(selector) }
        return loaded(selector, entry)
    }

    mutating func lldt(_ selector: UInt16) throws(Fault) {
        guard !isRealOrV86 else { throw .invalidOpcode }
        guard cpl == 0 else { throw .generalProtection }
        if isNull(selector) {
            state.special.ldt = .null(selector)
            return
        }
        guard selector & 4 == 0 else { throw .gp(selector) }
        let entry = try systemEntry(selector, else: .gp(selector))
        guard entry.isSystem, entry.type == 2 else { throw .gp(selector) }
        guard entry.isPresent else { throw .np(selector) }
        let segment = kvm_segment(selector, entry.value, upper: entry.upper)
        // AMD APM vol. 3, LLDT and LTR: a base that is not canonical.
        guard Model.isCanonical(segment.base) else { throw .gp(selector) }
        state.special.ldt = segment
    }

    mutating func ltr(_ selector: UInt16) throws(Fault) {
        guard !isRealOrV86 else { throw .invalidOpcode }
        guard cpl == 0, !isNull(selector) else { throw .generalProtection }
        guard selector & 4 == 0 else { throw .gp(selector) }
        let entry = try systemEntry(selector, else: .gp(selector))
        guard entry.isSystem, entry.type == 9 || (entry.type == 1 && !isLongMode) else { throw .gp(selector) }
        guard entry.isPresent else { throw .np(selector) }
        // The type field of the upper half is zero.
        if isLongMode, entry.upper & 0x1F00_0000_0000 != 0 { throw .gp(selector) }
        let busy = entry.value | 1 << 41
        let segment = kvm_segment(selector, busy, upper: entry.upper)
        guard Model.isCanonical(segment.base) else { throw .gp(selector) }
        write(entry.address + 5, UInt8(busy >> 40 & 0xFF))
        state.special.tr = segment
    }

    // MARK: Questions

    /// The descriptor that LAR (with `gates`) or LSL may see, if it is of a kind that they know.
    private func visible(_ selector: UInt16, gates: Bool) -> TableEntry? {
        guard !isNull(selector), let address = entryAddress(selector) else { return nil }
        let entry = TableEntry(value: read(address), address: address)
        if entry.isSystem {
            var types: Set<UInt8> = isLongMode ? [2, 9, 11] : [1, 2, 3, 9, 11]
            if gates { types.formUnion(isLongMode ? [12] : [4, 5, 12]) }
            guard types.contains(entry.type) else { return nil }
            // A descriptor that ends beyond the limit is beyond the limit.
            if isLongMode, entryAddress(selector, size: 16) == nil { return nil }
        }
        if !entry.isConforming, entry.dpl < cpl || entry.dpl < rpl(selector) { return nil }
        return entry
    }

    mutating func lar(_ selector: UInt16, size: Int) throws(Fault) {
        guard !isRealOrV86 else { throw .invalidOpcode }
        let entry = visible(selector, gates: true)
        set(0x40, entry != nil)
        if let entry { setRCX(entry.value >> 32 & 0x00F0_FF00, size) }
    }

    mutating func lsl(_ selector: UInt16, size: Int) throws(Fault) {
        guard !isRealOrV86 else { throw .invalidOpcode }
        let entry = visible(selector, gates: false)
        set(0x40, entry != nil)
        if let entry { setRCX(UInt64(kvm_segment(0, entry.value).limit), size) }
    }

    mutating func verify(_ selector: UInt16, write: Bool) throws(Fault) {
        guard !isRealOrV86 else { throw .invalidOpcode }
        guard !isNull(selector), let address = entryAddress(selector) else { return set(0x40, false) }
        let entry = TableEntry(value: read(address), address: address)
        let isReached = entry.isConforming || (entry.dpl >= cpl && entry.dpl >= rpl(selector))
        set(0x40, !entry.isSystem && isReached && (write ? entry.isWritable : entry.isReadable))
    }

    /// ARPL on AX, with BX's RPL.
    mutating func arpl() throws(Fault) {
        guard !isRealOrV86 else { throw .invalidOpcode }
        let requested = state.general.rbx & 3
        let lower = state.general.rax & 3 < requested
        set(0x40, lower)
        if lower { state.general.rax = state.general.rax & ~3 | requested }
    }

    private mutating func setRCX(_ value: UInt64, _ size: Int) {
        state.general.rcx = size == 2 ? state.general.rcx & ~0xFFFF | value & 0xFFFF : value
    }
}
