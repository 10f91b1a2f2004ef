// KVM_GET_SUPPORTED_CPUID: what the processor behind this endpoint can do, leaf by leaf.
// Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; Linux, Documentation/virt/kvm/x86/cpuid.rst.

internal import KVMABI
internal import Processor
internal import X86

/// The table of offered CPUID leaves: the host's values cut down to what the processor executes, with what it does
/// itself added.
struct SupportedCPUID: Sendable {
    let entries: [kvm_cpuid_entry2]
    /// What the endpoint's MSRs and control registers depend on.
    let isAMD: Bool
    let physicalAddressBits: UInt8
    let xcr0: UInt64

    /// The same for every endpoint of this process.
    static let shared = SupportedCPUID()

    /// A row: leaf, subleaf (`-` where it has no meaning), then for each register the host's bits that pass and the bits
    /// that are set in any case, as `pass|set`. `*` passes everything. Bits that name features are `CPUIDLeaves`' matter.
    private static let rows: StaticString = """
        1         -  *|0  0|00010800  0|0  0|0
        6         -  0|0  0|0  0|0  0|0
        7         0  0|0  0|0  0|0  0|0
        d         1  0|0  0|0  0|0  0|0
        80000001  -  *|0  0|0  0|0  0|0
        80000002  -  *|0  *|0  *|0  *|0
        80000003  -  *|0  *|0  *|0  *|0
        80000004  -  *|0  *|0  *|0  *|0
        80000005  -  *|0  *|0  *|0  *|0
        80000006  -  *|0  *|0  *|0  *|0
        80000007  -  0|0  0|0  0|0  0|0
        """

    private init() {
        let leaf0 = HostProcessor.cpuid(leaf: 0)
        isAMD = leaf0.ebx == 0x6874_7541 || leaf0.ebx == 0x6F67_7948
        let avx = HostProcessor.cpuid(leaf: 1).ecx & (1 << 28 | 1 << 26) == (1 << 28 | 1 << 26)
        xcr0 = avx ? 7 : 3
        let widths = HostProcessor.cpuid(leaf: 0x8000_0008).eax
        let bits = UInt8(truncatingIfNeeded: widths)
        physicalAddressBits = bits >= 36 ? min(bits, 48) : 40

        var entries: [kvm_cpuid_entry2] = []
        func add(_ leaf: UInt32, _ subleaf: UInt32?, _ registers: CPUIDResult) {
            var entry = kvm_cpuid_entry2()
            entry.function = leaf
            entry.index = subleaf ?? 0
            entry.flags = subleaf == nil ? 0 : UInt32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
            entry.eax = registers.eax
            entry.ebx = registers.ebx
            entry.ecx = registers.ecx
            entry.edx = registers.edx
            entries.append(entry)
        }
        /// A sub-leaf for each of the host's caches.
        func addCaches(_ leaf: UInt32) {
            for subleaf: UInt32 in 0..<8 {
                var cache = HostProcessor.cpuid(leaf: leaf, subleaf: subleaf)
                if cache.eax & 31 == 0 { break }
                // One core, one thread: the client describes the topology.
                cache.eax &= 0x3FFF
                add(leaf, subleaf, cache)
            }
        }

        var table = SupportedCPUID.parse()
        let highestBasic: UInt32 = 0xD
        add(0, nil, CPUIDResult(eax: highestBasic, ebx: leaf0.ebx, ecx: leaf0.ecx, edx: leaf0.edx))
        if !isAMD { add(2, nil, HostProcessor.cpuid(leaf: 2)) }
        add(1, nil, table.removeValue(forKey: Key(1, nil)) ?? CPUIDResult())
        if !isAMD { addCaches(CPUIDLeaves.cacheParameters) }
        add(6, nil, table[Key(6, nil)] ?? CPUIDResult())
        var leaf7 = table[Key(7, 0)] ?? CPUIDResult()
        if !isAMD { leaf7.edx |= 1 << 29 }  // IA32_ARCH_CAPABILITIES
        add(7, 0, leaf7)
        let size: UInt32 = avx ? 832 : 576
        add(0xD, 0, CPUIDResult(eax: UInt32(xcr0), ebx: size, ecx: size, edx: 0))
        var xsave = table[Key(0xD, 1)] ?? CPUIDResult()
        if xsave.eax & 0xA != 0 { xsave.ebx = size }
        add(0xD, 1, xsave)
        if avx { add(0xD, 2, CPUIDResult(eax: 256, ebx: 576, ecx: 0, edx: 0)) }

        // "KVMKVMKVM\0\0\0" in EBX, ECX, EDX.
        add(0x4000_0000, nil, CPUIDResult(eax: 0x4000_0001, ebx: 0x4B4D_564B, ecx: 0x564B_4D56, edx: 0x4D))
        add(0x4000_0001, nil, CPUIDResult(eax: ParavirtualFeatures.offered, ebx: 0, ecx: 0, edx: 0))

        let highest: UInt32 = isAMD ? 0x8000_0021 : 0x8000_0008
        add(0x8000_0000, nil, CPUIDResult(eax: highest, ebx: leaf0.ebx, ecx: leaf0.ecx, edx: leaf0.edx))
        for leaf: UInt32 in 0x8000_0001...0x8000_0007 {
            guard var registers = table[Key(leaf, nil)] else { continue }
            if leaf == 0x8000_0001, isAMD {
                // AMD repeats leaf 1's bits here.
                registers.edx |= (entries.first { $0.function == 1 }?.edx ?? 0) & 0x0183_F3FF
                registers.edx |= 1 << 22  // AMD's MMX extensions are a part of SSE.
            }
            add(leaf, nil, registers)
        }
        // AMD_SSB_NO, BTC_NO: nothing here bypasses stores or confuses branch types.
        add(
            0x8000_0008, nil,
            CPUIDResult(
                eax: UInt32(physicalAddressBits) | 48 << 8, ebx: isAMD ? 1 << 26 | 1 << 29 : 0, ecx: 0, edx: 0))
        if isAMD {
            let topologyExtensions: UInt32 = 1 << 22
            if (table[Key(CPUIDLeaves.extendedFeatures, nil)]?.ecx ?? 0) & topologyExtensions != 0 {
                addCaches(CPUIDLeaves.extendedCacheParameters)
                add(CPUIDLeaves.extendedTopology, nil, CPUIDResult())
            }
            // LFENCE serialises; SRSO_NO; TSA_SQ_NO and TSA_L1_NO.
            add(0x8000_0021, nil, CPUIDResult(eax: 1 << 2 | 1 << 29, ebx: 0, ecx: 6, edx: 0))
        }
        self.entries = entries.sorted { ($0.function, $0.index) < ($1.function, $1.index) }
    }

    private struct Key: Hashable {
        var leaf: UInt32
        var subleaf: UInt32?
        init(_ leaf: UInt32, _ subleaf: UInt32?) {
            self.leaf = leaf
            self.subleaf = subleaf
        }
    }

    private static func parse() -> [Key: CPUIDResult] {
        var table: [Key: CPUIDResult] = [:]
        for line in rows.description.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 6, let leaf = UInt32(words[0], radix: 16) else { continue }
            let subleaf = UInt32(words[1], radix: 16)
            let real = HostProcessor.cpuid(leaf: leaf, subleaf: subleaf ?? 0)
            func register(_ word: Substring, _ value: UInt32) -> UInt32 {
                let parts = word.split(separator: "|")
                let pass = parts[0] == "*" ? UInt32.max : UInt32(parts[0], radix: 16) ?? 0
                return value & pass | (UInt32(parts[1], radix: 16) ?? 0)
            }
            var registers = CPUIDResult(
                eax: register(words[2], real.eax), ebx: register(words[3], real.ebx),
                ecx: register(words[4], real.ecx), edx: register(words[5], real.edx))
            for name in CPUIDRegister.allCases {
                registers[name] |= CPUIDLeaves.offered(
                    leaf: leaf, subleaf: subleaf ?? 0, register: name
                ) { HostProcessor.cpuid(leaf: $0, subleaf: $1) }
            }
            table[Key(leaf, subleaf)] = registers
        }
        return table
    }

    func registers(_ leaf: UInt32, _ subleaf: UInt32 = 0) -> CPUIDResult {
        guard let entry = entries.first(where: { $0.function == leaf && $0.index == subleaf }) else {
            return CPUIDResult()
        }
        return CPUIDResult(eax: entry.eax, ebx: entry.ebx, ecx: entry.ecx, edx: entry.edx)
    }
}

/// CPUID 40000001H, EAX: what KVM's paravirtual interface has here.
enum ParavirtualFeatures {
    static let clocksource: UInt32 = 1 << 0
    static let nopIODelay: UInt32 = 1 << 1
    static let clocksource2: UInt32 = 1 << 3
    static let unhalt: UInt32 = 1 << 7
    static let sendIPI: UInt32 = 1 << 11
    static let schedYield: UInt32 = 1 << 13
    static let mapGPARange: UInt32 = 1 << 16
    static let clocksourceStable: UInt32 = 1 << 24

    static let offered = clocksource | nopIODelay | clocksource2 | unhalt | sendIPI | schedYield | clocksourceStable
}
