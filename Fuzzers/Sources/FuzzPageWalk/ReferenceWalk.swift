import FuzzInput

/// A page walk in the words of Intel SDM vol. 3, chapter 4, over plain bytes: one level after the other, nothing cached, nothing
/// shared with the processor's own walker.
struct ReferenceWalk {
    enum Mode: UInt8 {
        case none, bits32, pae, fourLevel
    }

    enum Access {
        case read, write, fetch
    }

    /// A page-fault error code, 4.7.
    struct Fault: Error {
        var code: UInt32
    }

    var mode: Mode
    var cr3: UInt64
    /// CR0.WP; CR4.PSE, SMEP, SMAP; EFER.NXE.
    var writeProtect: Bool, pse: Bool, smep: Bool, smap: Bool, nxe: Bool
    /// MAXPHYADDR, and whether CPUID offers pages of 1 GiB.
    var physicalBits: Int
    var gigabytePages: Bool
    /// EFLAGS.AC.
    var ac: Bool
    /// As loaded with CR3, 4.4.1.
    var pdptes: [UInt64] = []

    /// An entry that the last walk has used, for 4.8.
    struct Use {
        var place: UInt64
        var size: Int
    }
    var used: [Use] = []

    /// The physical address of `linear`. Sets A and D flags in `memory` where the access succeeds.
    /// - Parameters:
    ///   - user: the access is a user-mode one, 4.6.
    ///   - implicit: the processor makes it by itself, to a system data structure.
    mutating func translate(
        _ linear: UInt64, _ access: Access, user: Bool, implicit: Bool, in memory: inout FlatMemory
    ) throws(Fault) -> UInt64 {
        used = []
        switch mode {
        case .none: return linear
        case .bits32: return try translate32(linear, access, user, implicit, &memory)
        case .pae:
            // Table 4-8: reserved bits were checked when the registers were loaded.
            let register = pdptes[Int(linear >> 30) & 3]
            guard register & 1 == 1 else { throw fault(access, user, present: false) }
            return try descend(
                linear, access, user, implicit, &memory, table: bits(register, 12, 51), shifts: [21, 12])
        case .fourLevel:
            return try descend(
                linear, access, user, implicit, &memory, table: bits(cr3, 12, 51), shifts: [39, 30, 21, 12])
        }
    }

    /// Bits low…high of `value`, in place.
    private func bits(_ value: UInt64, _ low: Int, _ high: Int) -> UInt64 {
        guard high >= low else { return 0 }
        return value & (UInt64.max >> UInt64(63 - high)) & (UInt64.max << UInt64(low))
    }

    /// Figure 4-12.
    private func fault(_ access: Access, _ user: Bool, present: Bool, reserved: Bool = false) -> Fault {
        var code: UInt32 = 0
        if present { code |= 1 }
        if access == .write { code |= 2 }
        if user { code |= 4 }
        if reserved { code |= 8 }
        if access == .fetch, smep || (nxe && mode != .bits32) { code |= 16 }
        return Fault(code: code)
    }

    /// 4.6.1. `userPage`: U/S is 1 in every entry; `writable`: so is R/W; `noExecute`: XD is 1 in one.
    private func allowed(
        _ access: Access, _ user: Bool, _ implicit: Bool, userPage: Bool, writable: Bool, noExecute: Bool
    ) -> Bool {
        if access == .fetch {
            if user { return userPage && !noExecute }
            return !(userPage && smep) && !noExecute
        }
        if user { return userPage && (access == .read || writable) }
        if userPage && smap && (implicit || !ac) { return false }
        return access == .read || writable || !writeProtect
    }

    /// PAE and 4-level paging, 4.4.2 and 4.5: entries of 8 bytes, each of which maps 1 << shift bytes.
    private mutating func descend(
        _ linear: UInt64, _ access: Access, _ user: Bool, _ implicit: Bool, _ memory: inout FlatMemory,
        table: UInt64, shifts: [Int]
    ) throws(Fault) -> UInt64 {
        var table = table
        var userPage = true, writable = true, noExecute = false
        for shift in shifts {
            let place = table + (linear >> UInt64(shift)) % 512 * 8
            let entry = memory.load(place, 8)
            guard entry & 1 == 1 else { throw fault(access, user, present: false) }
            let ps = entry & 0x80 != 0
            let maps = shift == 12 || (ps && (shift == 21 || (shift == 30 && gigabytePages)))
            // Tables 4-9…4-11 and 4-15…4-20.
            var reserved = bits(entry, physicalBits, 51)
            if mode == .pae { reserved |= bits(entry, 52, 62) }
            if !nxe { reserved |= bits(entry, 63, 63) }
            if ps, shift == 39 || (shift == 30 && !gigabytePages) { reserved |= 0x80 }
            if maps, shift > 12 { reserved |= bits(entry, 13, shift - 1) }
            guard reserved == 0 else { throw fault(access, user, present: true, reserved: true) }
            used.append(Use(place: place, size: 8))
            userPage = userPage && entry & 4 != 0
            writable = writable && entry & 2 != 0
            noExecute = noExecute || entry >> 63 != 0
            guard maps else {
                table = bits(entry, 12, physicalBits - 1)
                continue
            }
            guard
                allowed(access, user, implicit, userPage: userPage, writable: writable, noExecute: noExecute)
            else { throw fault(access, user, present: true) }
            mark(access, &memory)
            return bits(entry, shift, physicalBits - 1) | bits(linear, 0, shift - 1)
        }
        report("a walk ends with a page")
    }

    /// 32-bit paging, 4.3.
    private mutating func translate32(
        _ linear: UInt64, _ access: Access, _ user: Bool, _ implicit: Bool, _ memory: inout FlatMemory
    ) throws(Fault) -> UInt64 {
        let directoryPlace = bits(cr3, 12, 31) + (bits(linear, 22, 31) >> 22) * 4
        let directory = memory.load(directoryPlace, 4)
        guard directory & 1 == 1 else { throw fault(access, user, present: false) }
        used.append(Use(place: directoryPlace, size: 4))
        var userPage = directory & 4 != 0, writable = directory & 2 != 0
        var physical: UInt64
        if pse, directory & 0x80 != 0 {
            // Table 4-4, where M is the lesser of MAXPHYADDR and 40: bits 21:(M-19) are reserved.
            let m = min(physicalBits, 40)
            used = []
            guard bits(directory, m - 19, 21) == 0 else { throw fault(access, user, present: true, reserved: true) }
            used.append(Use(place: directoryPlace, size: 4))
            physical = bits(directory, 22, 31) | (bits(directory, 13, m - 20) >> 13) << 32 | bits(linear, 0, 21)
        } else {
            let place = bits(directory, 12, 31) + (bits(linear, 12, 21) >> 12) * 4
            let entry = memory.load(place, 4)
            guard entry & 1 == 1 else { throw fault(access, user, present: false) }
            used.append(Use(place: place, size: 4))
            userPage = userPage && entry & 4 != 0
            writable = writable && entry & 2 != 0
            physical = bits(entry, 12, 31) | bits(linear, 0, 11)
        }
        guard allowed(access, user, implicit, userPage: userPage, writable: writable, noExecute: false) else {
            throw fault(access, user, present: true)
        }
        mark(access, &memory)
        return physical
    }

    /// 4.8: A in every entry that was used, D in the one that maps the page if it is written.
    private func mark(_ access: Access, _ memory: inout FlatMemory) {
        for use in used { memory.store(use.place, 4, memory.load(use.place, 4) | 0x20) }
        if access == .write, let last = used.last { memory.store(last.place, 4, memory.load(last.place, 4) | 0x40) }
    }
}

/// Guest-physical memory from 0 on, as plain bytes; what lies beyond reads as zero.
struct FlatMemory {
    var bytes: [UInt8]

    func load(_ address: UInt64, _ size: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in (0..<size).reversed() {
            let place = address &+ UInt64(index)
            value = value << 8 | (place < UInt64(bytes.count) ? UInt64(bytes[Int(place)]) : 0)
        }
        return value
    }

    mutating func store(_ address: UInt64, _ size: Int, _ value: UInt64) {
        for index in 0..<size {
            let place = address &+ UInt64(index)
            if place < UInt64(bytes.count) { bytes[Int(place)] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
        }
    }
}
