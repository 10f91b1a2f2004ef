// What KVM_CHECK_EXTENSION answers. What is not in this table reads 0 and can't be enabled.
// Documentation/virt/kvm/api.rst, sections 4.4 and 6 to 8.

internal import Glibc
internal import KVMABI

enum Capabilities {
    /// Most vCPUs, and one more than the highest vCPU id.
    static let maximumVCPUs = 1024
    static let maximumVCPUID = 4096
    static let maximumRoutes: Int32 = 4096
    /// KVM_X86_DISABLE_EXITS_HLT and _PAUSE.
    static let disableExits: UInt64 = 2 | 4
    /// KVM_X2APIC_API_USE_32BIT_IDS and _DISABLE_BROADCAST_QUIRK.
    static let x2APIC: UInt64 = 3
    /// KVM_X86_QUIRK_*: LINT0_REENABLED, CD_NW_CLEARED, LAPIC_MMIO_HOLE, OUT_7E_INC_RIP, MISC_ENABLE_NO_MWAIT,
    /// MWAIT_NEVER_UD_FAULTS.
    static let quirks: UInt64 = 1 | 2 | 4 | 8 | 16 | 64
    /// KVM_HC_MAP_GPA_RANGE.
    static let exitHypercalls: UInt64 = 1 << 12
    /// KVM_GUESTDBG_*: enable, single-step, software and hardware breakpoints, injected #DB and #BP, BLOCKIRQ.
    static let guestDebug: UInt32 = 3 | 0x10000 | 0x20000 | 0x40000 | 0x80000 | 0x100000
    /// KVM_CLOCK_TSC_STABLE, _REALTIME, _HOST_TSC.
    static let clockFlags: UInt32 = 2 | 4 | 8

    /// Number and value, in the order of numbers.
    private static let table: StaticString = """
        0 1 1 1 3 1 4 1 6 1 7 1 8 1 10 32764 11 1 12 1 14 1 15 2 16 1 21 1 22 1 23 1 24 1 25 4096 26 1 30 1 31 32 32 1
        33 1 34 1 35 1 36 1 37 1 39 14 40 1 41 1 50 1 51 1 54 1 55 1 56 1 60 1 61 1 66 1024 72 1 74 7 76 1 77 1 81 1 82 1
        89 1 95 1 97 1 98 1 100 1 105 1 116 1 121 1 122 1 127 1 128 4096 129 3 136 1 143 6 153 1 159 1 162 1 164 1 168 3
        188 1 189 1 190 1 195 2031619 200 1 201 4096 208 4096 209 1 213 95 214 1 215 1 218 1 231 1 232 1
        """

    private static let values: [UInt32: Int32] = {
        var values: [UInt32: Int32] = [:]
        let words = table.description.split(whereSeparator: { $0 == " " || $0 == "\n" })
        var index = 0
        while index + 1 < words.count {
            if let number = UInt32(words[index]), let value = Int32(words[index + 1]) { values[number] = value }
            index += 2
        }
        return values
    }()

    static func value(_ capability: UInt) -> Int32 {
        guard let number = UInt32(exactly: capability) else { return 0 }
        // KVM_CAP_NR_VCPUS, what is sensible: as many as the host has processors.
        if number == 9 { return Int32(clamping: max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), maximumVCPUs))) }
        return values[number] ?? 0
    }
}
