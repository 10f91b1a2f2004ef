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

    /// - Throws: EINVAL for a linear address width that no processor has.
    init(_ entries: [kvm_cpuid_entry2]) throws(Errno) {
        self.entries = entries
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
        var mwait: Bool
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
        var registers = CPUIDResult(eax: entry.eax, ebx: entry.ebx, ecx: entry.ecx, edx: entry.edx)
        guard wasInRange else { return registers }
        switch leaf {
        case 1:
            if registers.ecx & 1 << 26 != 0 {
                registers.ecx = registers.ecx & ~(1 << 27) | (dynamics.osxsave ? 1 << 27 : 0)
            }
            registers.edx = registers.edx & ~(1 << 9) | (dynamics.apicEnabled ? 1 << 9 : 0)
            registers.ecx = registers.ecx & ~(1 << 3) | (dynamics.mwait ? 1 << 3 : 0)
        case 0xD where subleaf == 0:
            registers.ebx = GuestCPUID.standardSize(dynamics.xcr0)
        case 0xD where subleaf == 1 && registers.eax & 0xA != 0:
            registers.ebx = GuestCPUID.compactedSize(dynamics.xcr0 | dynamics.xss)
        default: break
        }
        return registers
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

extension GuestCPUID: Equatable {
    static func == (a: GuestCPUID, b: GuestCPUID) -> Bool {
        a.entries.count == b.entries.count
            && zip(a.entries, b.entries).allSatisfy {
                $0.function == $1.function && $0.index == $1.index && $0.flags == $1.flags && $0.eax == $1.eax
                    && $0.ebx == $1.ebx && $0.ecx == $1.ecx && $0.edx == $1.edx
            }
    }
}
