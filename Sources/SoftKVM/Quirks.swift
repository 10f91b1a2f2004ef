// Historic behaviour that KVM_CAP_DISABLE_QUIRKS2 turns off. Documentation/virt/kvm/api.rst, section 7.30.

internal import KVMABI

/// KVM_X86_QUIRK_*, those that make a difference here. There are no caches that CR0.CD could turn off.
struct Quirks: OptionSet, Sendable {
    let rawValue: UInt64
    /// LVT LINT0 begins as ExtINT, unmasked.
    static let lint0Reenabled = Quirks(rawValue: 1 << 0)
    /// A disabled local APIC answers reads of its page with ones, where the client would.
    static let lapicMMIOHole = Quirks(rawValue: 1 << 2)
    /// An OUT to port 7EH is complete when the client sees it.
    static let out7EIncRIP = Quirks(rawValue: 1 << 3)
    /// CPUID shows MONITOR and MWAIT whatever IA32_MISC_ENABLE says.
    static let miscEnableNoMWAIT = Quirks(rawValue: 1 << 4)
    /// MONITOR and MWAIT do nothing, where CPUID does not show them, too.
    static let mwaitNeverUDFaults = Quirks(rawValue: 1 << 6)

    static let all: Quirks = [.lint0Reenabled, .lapicMMIOHole, .out7EIncRIP, .miscEnableNoMWAIT, .mwaitNeverUDFaults]
}

extension VirtualMachine {
    func hasDisabled(_ quirk: Quirks) -> Bool {
        Quirks(rawValue: enabled(.disableQuirks2)).contains(quirk)
    }
}

/// KVM_X86_DISABLE_EXITS_*.
enum DisabledExits {
    static let halt: UInt64 = 1 << 1
}
