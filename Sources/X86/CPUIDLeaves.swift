/// CPUID: feature bits by leaf, sub-leaf, register and bit, with their usual names, and what Martlet's own processor offers.
///
/// Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; Linux, arch/x86/include/asm/cpufeatures.h (names) and
/// Documentation/virt/kvm/x86/cpuid.rst (leaf 40000001H).
public enum CPUIDRegister: UInt8, Sendable, CaseIterable {
    case eax, ebx, ecx, edx
}

/// One feature bit.
public struct CPUIDFeature: Sendable, Hashable {
    public var leaf: UInt32
    public var subleaf: UInt32
    public var register: CPUIDRegister
    public var bit: UInt8
    /// As in /proc/cpuinfo.
    public var name: String
    /// The feature of the opcode table that the bit stands for.
    public var feature: Feature?
    /// The software processor implements it.
    public var offered: Bool
    /// The software processor runs it on the host's own unit, so it offers it only where the host has it.
    public var needsHost: Bool
}

/// A leaf's answer.
public struct CPUIDResult: Sendable, Hashable {
    public var eax: UInt32
    public var ebx: UInt32
    public var ecx: UInt32
    public var edx: UInt32
    public init(eax: UInt32 = 0, ebx: UInt32 = 0, ecx: UInt32 = 0, edx: UInt32 = 0) {
        self.eax = eax
        self.ebx = ebx
        self.ecx = ecx
        self.edx = edx
    }
    public subscript(_ register: CPUIDRegister) -> UInt32 {
        get {
            switch register {
            case .eax: eax
            case .ebx: ebx
            case .ecx: ecx
            case .edx: edx
            }
        }
        set {
            switch register {
            case .eax: eax = newValue
            case .ebx: ebx = newValue
            case .ecx: ecx = newValue
            case .edx: edx = newValue
            }
        }
    }
}

public enum CPUIDLeaves {
    /// Highest basic leaf and vendor string.
    public static let vendor: UInt32 = 0
    public static let features: UInt32 = 1
    public static let cacheParameters: UInt32 = 4
    public static let monitor: UInt32 = 5
    public static let power: UInt32 = 6
    public static let structuredFeatures: UInt32 = 7
    public static let performanceMonitoring: UInt32 = 0xA
    public static let topology: UInt32 = 0xB
    public static let extendedState: UInt32 = 0xD
    public static let frequency: UInt32 = 0x16
    public static let topologyV2: UInt32 = 0x1F
    /// KVM's own: signature and features.
    public static let kvmSignature: UInt32 = 0x4000_0000
    public static let kvmFeatures: UInt32 = 0x4000_0001
    public static let extended: UInt32 = 0x8000_0000
    public static let extendedFeatures: UInt32 = 0x8000_0001
    public static let brand: UInt32 = 0x8000_0002
    public static let l1: UInt32 = 0x8000_0005
    public static let l2: UInt32 = 0x8000_0006
    public static let advancedPower: UInt32 = 0x8000_0007
    public static let addressSizes: UInt32 = 0x8000_0008
    /// AMD's `cacheParameters`.
    public static let extendedCacheParameters: UInt32 = 0x8000_001D
    /// AMD's place among cores and nodes.
    public static let extendedTopology: UInt32 = 0x8000_001E

    /// Every feature bit that has a name here.
    public static let all: [CPUIDFeature] = parse()

    /// The features that a processor with these answers has, by name, in table order.
    public static func names(_ cpuid: (_ leaf: UInt32, _ subleaf: UInt32) -> CPUIDResult) -> [String] {
        all.filter { cpuid($0.leaf, $0.subleaf)[$0.register] >> UInt32($0.bit) & 1 != 0 }.map(\.name)
    }

    /// The features of the opcode table that a processor with these answers has.
    public static func rowFeatures(_ cpuid: (_ leaf: UInt32, _ subleaf: UInt32) -> CPUIDResult) -> Features {
        var features: Features = []
        for entry in all {
            guard let feature = entry.feature else { continue }
            if cpuid(entry.leaf, entry.subleaf)[entry.register] >> UInt32(entry.bit) & 1 != 0 {
                features.insert(Features(feature))
            }
        }
        return features
    }

    /// The bits of a leaf's register that the software processor offers on a host with these answers.
    public static func offered(
        leaf: UInt32, subleaf: UInt32, register: CPUIDRegister,
        host: (_ leaf: UInt32, _ subleaf: UInt32) -> CPUIDResult
    ) -> UInt32 {
        var bits: UInt32 = 0
        for entry in all
        where entry.leaf == leaf && entry.subleaf == subleaf && entry.register == register && entry.offered {
            let bit: UInt32 = 1 << UInt32(entry.bit)
            if !entry.needsHost || host(leaf, subleaf)[register] & bit != 0 { bits |= bit }
        }
        return bits
    }

    private static func parse() -> [CPUIDFeature] {
        // SAFETY: the buffer is the literal's own and is copied before the closure returns.
        let bytes = table.withUTF8Buffer { unsafe Array($0) }
        let named = Dictionary(uniqueKeysWithValues: Feature.allCases.map { (String(describing: $0), $0) })
        let registers: [String: CPUIDRegister] = ["eax": .eax, "ebx": .ebx, "ecx": .ecx, "edx": .edx]
        var entries: [CPUIDFeature] = []
        var leaf: UInt32 = 0
        var subleaf: UInt32 = 0
        var register = CPUIDRegister.eax
        for line in bytes.split(separator: 10) {
            let words = line.split(separator: 32).map { String(decoding: $0, as: UTF8.self) }
            if words.count == 3, let name = registers[words[2]] {
                leaf = UInt32(words[0], radix: 16) ?? 0
                subleaf = UInt32(words[1]) ?? 0
                register = name
                continue
            }
            for word in words {
                let parts = word.split(separator: ":")
                guard parts.count >= 2, let bit = UInt8(parts[0]) else { continue }
                let mark = parts[1].first
                let isMarked = mark == "+" || mark == "*"
                let name = String(isMarked ? parts[1].dropFirst() : parts[1])
                entries.append(
                    CPUIDFeature(
                        leaf: leaf, subleaf: subleaf, register: register, bit: bit, name: name,
                        feature: named[parts.count > 2 ? String(parts[2]) : name], offered: isMarked,
                        needsHost: mark == "*"))
            }
        }
        return entries
    }

    /// Headings are leaf (hexadecimal), sub-leaf and register; entries `bit:name`, with `:feature` where the opcode table has
    /// another name for it. `+` before a name: offered; `*`: offered where the host has it.
    private static let table: StaticString = """
        1 0 edx
        0:+fpu 1:+vme 2:+de 3:+pse 4:+tsc 5:+msr 6:+pae 7:+mce 8:+cx8 9:+apic 11:+sep 12:+mtrr 13:+pge 14:+mca 15:+cmov
        16:+pat 17:+pse36 18:pn 19:+clflush 21:dts 22:acpi 23:+mmx 24:+fxsr 25:+sse 26:+sse2 27:ss 28:ht 29:tm 31:pbe
        1 0 ecx
        0:+pni:sse3 1:*pclmulqdq 2:dtes64 3:monitor 4:ds_cpl 5:vmx 6:smx 7:est 8:tm2 9:*ssse3 10:cid 12:*fma 13:+cx16 14:xtpr
        15:pdcm 17:+pcid 18:dca 19:*sse4_1 20:*sse4_2 21:+x2apic 22:+movbe 23:*popcnt 24:+tsc_deadline_timer 25:*aes 26:*xsave
        28:*avx 29:*f16c 30:+rdrand 31:+hypervisor
        6 0 eax
        2:+arat
        7 0 ebx
        0:+fsgsbase 1:+tsc_adjust 3:*bmi1 4:hle 5:*avx2 7:+smep 8:*bmi2 9:+erms 10:+invpcid 11:rtm 12:cqm 14:mpx 15:rdt_a
        16:avx512f 17:avx512dq 18:+rdseed 19:+adx 20:+smap 21:avx512ifma 23:+clflushopt 24:clwb 25:intel_pt 28:avx512cd 29:*sha
        30:avx512bw 31:avx512vl
        7 0 ecx
        1:avx512vbmi 2:+umip 3:pku 4:ospke 5:waitpkg 6:avx512_vbmi2 7:shstk 8:gfni 9:vaes 10:vpclmulqdq 11:avx512_vnni
        12:avx512_bitalg 14:avx512_vpopcntdq 16:la57 22:+rdpid 25:cldemote 27:movdiri 28:movdir64b
        7 0 edx
        4:+fsrm 8:avx512_vp2intersect 10:md_clear 14:serialize 18:pconfig 20:ibt 26:spec_ctrl 27:intel_stibp 28:flush_l1d
        29:arch_capabilities 31:spec_ctrl_ssbd
        7 1 eax
        4:avx_vnni 5:avx512_bf16 10:fzrm 11:fsrs 12:fsrc
        D 1 eax
        0:*xsaveopt 1:*xsavec 2:*xgetbv1 3:*xsaves
        40000001 0 eax
        0:kvm_clocksource 1:kvm_nop_io_delay 3:kvm_clocksource2 4:kvm_asyncpf 5:kvm_steal_time 6:kvm_pv_eoi 7:kvm_pv_unhalt
        9:kvm_pv_tlb_flush 10:kvm_asyncpf_vmexit 11:kvm_pv_send_ipi 12:kvm_poll_control 13:kvm_pv_sched_yield 14:kvm_asyncpf_int
        15:kvm_msi_ext_dest_id 24:kvm_clocksource_stable
        80000001 0 edx
        11:+syscall 19:mp 20:+nx 22:mmxext 25:fxsr_opt 26:+pdpe1gb 27:+rdtscp 29:+lm 30:3dnowext 31:3dnow
        80000001 0 ecx
        0:+lahf_lm:lahf 1:cmp_legacy 2:svm 3:extapic 4:cr8_legacy 5:*abm:lzcnt 6:sse4a 7:misalignsse 8:+3dnowprefetch:prefetchw
        9:osvw 10:ibs 11:xop 12:skinit 13:wdt 15:lwp 16:fma4 17:tce 21:tbm 22:*topoext 23:perfctr_core 26:bpext 28:perfctr_llc
        29:mwaitx
        80000007 0 edx
        8:+constant_tsc
        80000008 0 ebx
        0:clzero 1:irperf 2:xsaveerptr 4:rdpru 9:wbnoinvd 12:amd_ibpb 14:amd_ibrs 15:amd_stibp 24:amd_ssbd 25:virt_ssbd
        """
}
