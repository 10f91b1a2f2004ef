// CPUID as the client set it (KVM_SET_CPUID2), and as the guest then reads it.
// Documentation/virt/kvm/api.rst, sections 4.20 and 4.42; out-of-range leaves: Intel SDM vol. 2, CPUID.

internal import KVMABI
internal import X86

/// The leaves of one vCPU.
struct GuestCPUID {
    /// KVM_MAX_CPUID_ENTRIES.
    static let limit = 256

    private(set) var entries: [kvm_cpuid_entry2] = []

    // What other parts look up often.
    private(set) var isAMD = false
    private(set) var isIntel = false
    private(set) var physicalAddressBits: UInt8 = 36
    private(set) var features1C: UInt32 = 0
    private(set) var features1D: UInt32 = 0
    private(set) var features7B: UInt32 = 0
    private(set) var features7C: UInt32 = 0
    private(set) var features7D: UInt32 = 0
    private(set) var extended1C: UInt32 = 0
    private(set) var extended1D: UInt32 = 0
    private(set) var extended8B: UInt32 = 0
    private(set) var extended21A: UInt32 = 0
    private(set) var paravirtual: UInt32 = 0
    /// XCR0's bits in leaf 0DH.
    private(set) var xcr0: UInt64 = 0

    init() {}

    /// - Parameter haltsAlone: HLT does not leave the guest, so that nobody outside could end it: KVM_FEATURE_PV_UNHALT is taken out.
    /// - Throws: EINVAL for a linear address width that no processor has.
    init(_ entries: [kvm_cpuid_entry2], haltsAlone: Bool = false) throws(Errno) {
        self.entries = entries
        if haltsAlone,
            let features = self.entries.firstIndex(where: { [base = paravirtualBase] in $0.function == base | 1 })
        {
            self.entries[features].eax &= ~ParavirtualFeatures.unhalt
        }
        if let widths = find(0x8000_0008, 0) {
            let linear = (widths.eax >> 8) & 0xFF
            guard linear == 0 || linear == 48 || linear == 57 else { throw .invalidArgument }
            physicalAddressBits = UInt8(truncatingIfNeeded: widths.eax)
        }
        let vendor = find(0, 0)
        isAMD = vendor?.ebx == 0x6874_7541 || vendor?.ebx == 0x6F67_7948
        isIntel = vendor?.ebx == 0x756E_6547
        features1C = find(1, 0)?.ecx ?? 0
        features1D = find(1, 0)?.edx ?? 0
        features7B = find(7, 0)?.ebx ?? 0
        features7C = find(7, 0)?.ecx ?? 0
        features7D = find(7, 0)?.edx ?? 0
        extended1C = find(0x8000_0001, 0)?.ecx ?? 0
        extended1D = find(0x8000_0001, 0)?.edx ?? 0
        extended8B = find(0x8000_0008, 0)?.ebx ?? 0
        extended21A = find(0x8000_0021, 0)?.eax ?? 0
        if features1C & 1 << 26 != 0, let leaf = find(0xD, 0) { xcr0 = UInt64(leaf.edx) << 32 | UInt64(leaf.eax) }
        paravirtual = find(paravirtualBase | 1, 0)?.eax ?? 0
    }

    /// Where KVM's leaves lie: the signature is looked for at multiples of 100H.
    private var paravirtualBase: UInt32 {
        for base in stride(from: UInt32(0x4000_0000), to: 0x4001_0000, by: 0x100) {
            guard let entry = find(base, 0) else { continue }
            if entry.ebx == 0x4B4D_564B, entry.ecx == 0x564B_4D56, entry.edx == 0x4D { return base }
        }
        return 0x4000_0000
    }

    func find(_ leaf: UInt32, _ subleaf: UInt32) -> kvm_cpuid_entry2? {
        for entry in entries where entry.function == leaf {
            if entry.flags & UInt32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || entry.index == subleaf { return entry }
        }
        return nil
    }

    /// What follows the vCPU's state.
    struct Dynamics {
        var osxsave: Bool
        var apicEnabled: Bool
        var xcr0: UInt64
        var xss: UInt64
        /// MISC_ENABLE's bit, where that counts; else MONITOR and MWAIT are as the client has set them.
        var mwait: Bool?
    }

    /// CPUID as the guest reads it.
    func read(_ leaf: UInt32, _ subleaf: UInt32, _ dynamics: Dynamics) -> CPUIDResult {
        guard let (entry, wasInRange) = lookUp(leaf, subleaf) else {
            // Topology leaves answer any level: the x2APIC id is at each.
            if leaf == 0xB || leaf == 0x1F, let first = find(leaf, 1) {
                return CPUIDResult(eax: 0, ebx: 0, ecx: subleaf & 0xFF, edx: first.edx)
            }
            return CPUIDResult()
        }
        let answer = wasInRange ? GuestCPUID.follow(entry, dynamics) : entry
        return CPUIDResult(eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx)
    }

    /// The leaves as they read with a vCPU's state: what KVM_GET_CPUID2 gives.
    func entries(_ dynamics: Dynamics) -> [kvm_cpuid_entry2] { entries.map { GuestCPUID.follow($0, dynamics) } }

    /// Whether other leaves are these to a guest: what the hypervisor has put into them meanwhile is no difference.
    func isSame(as other: GuestCPUID, _ dynamics: Dynamics) -> Bool {
        let (ours, theirs) = (entries(dynamics), other.entries(dynamics))
        return ours.count == theirs.count
            && zip(ours, theirs).allSatisfy {
                $0.function == $1.function && $0.index == $1.index && $0.flags == $1.flags && $0.eax == $1.eax
                    && $0.ebx == $1.ebx && $0.ecx == $1.ecx && $0.edx == $1.edx
            }
    }

    /// A leaf with what follows the vCPU's state.
    private static func follow(_ entry: kvm_cpuid_entry2, _ dynamics: Dynamics) -> kvm_cpuid_entry2 {
        var entry = entry
        func set(_ bit: UInt32, _ isSet: Bool, in register: inout UInt32) {
            register = register & ~(1 << bit) | (isSet ? 1 << bit : 0)
        }
        switch (entry.function, entry.index) {
        case (1, _):
            if entry.ecx & 1 << 26 != 0 { set(27, dynamics.osxsave, in: &entry.ecx) }
            set(9, dynamics.apicEnabled, in: &entry.edx)
            if let mwait = dynamics.mwait { set(3, mwait, in: &entry.ecx) }
        case (0xD, 0): entry.ebx = standardSize(dynamics.xcr0)
        case (0xD, 1) where entry.eax & 0xA != 0: entry.ebx = compactedSize(dynamics.xcr0 | dynamics.xss)
        default: break
        }
        return entry
    }

    /// The leaf, or, where the vendor does so, the highest basic one in place of what is out of range.
    private func lookUp(_ leaf: UInt32, _ subleaf: UInt32) -> (entry: kvm_cpuid_entry2, wasInRange: Bool)? {
        if let entry = find(leaf, subleaf) { return (entry, true) }
        guard let basic = find(0, 0), !isAMD else { return nil }
        let range: kvm_cpuid_entry2? =
            switch leaf {
            case 0x4000_0000...0x4FFF_FFFF: find(leaf & 0xFFFF_FF00, 0)
            case 0x8000_0000...0xBFFF_FFFF: find(0x8000_0000, 0)
            case 0xC000_0000...: find(0xC000_0000, 0)
            default: basic
            }
        if let range, leaf <= range.eax { return nil }
        return find(basic.eax, subleaf).map { ($0, false) }
    }

    static func standardSize(_ components: UInt64) -> UInt32 { components & 4 != 0 ? 832 : 576 }
    static func compactedSize(_ components: UInt64) -> UInt32 { components & 4 != 0 ? 832 : 576 }
}
