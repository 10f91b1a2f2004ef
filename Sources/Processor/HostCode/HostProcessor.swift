public import X86

/// The processor that we run on, by its own CPUID. Intel SDM vol. 2, CPUID and XGETBV.
public enum HostProcessor {
    /// What CPUID answers here.
    public static func cpuid(leaf: UInt32, subleaf: UInt32 = 0) -> CPUIDResult {
        var result = CPUIDResult()
        guard let address = cpuidCode else { return result }
        // SAFETY: the code stores four 32-bit words at its third argument.
        unsafe withUnsafeMutablePointer(to: &result) { place in
            _ = HostCode.call(address, UInt(leaf), UInt(subleaf), UInt(bitPattern: place))
        }
        return result
    }

    /// XCR0, or 1 where the host's system does not use XSAVE.
    public static let extendedControl: UInt64 = {
        guard cpuid(leaf: 1).ecx >> 27 & 1 != 0, let address = xgetbvCode else { return 1 }
        return UInt64(HostCode.call(address, 0, 0, 0))
    }()

    /// The features of the opcode table that this host has and its system lets a process use.
    public static let features: Features = {
        var features = CPUIDLeaves.rowFeatures { leaf, subleaf in
            let highest = cpuid(leaf: leaf & 0x8000_0000).eax
            return leaf <= highest ? cpuid(leaf: leaf, subleaf: subleaf) : CPUIDResult()
        }
        if extendedControl & 6 != 6 {
            for feature in [Feature.avx, .avx2, .fma, .f16c, .vaes, .vpclmulqdq] { features.remove(Features(feature)) }
        }
        return features
    }()

    /// Those that guests are offered: what the processor does itself, and what this host has for what it leaves to it.
    public static let offered: Features = {
        var offered: Features = []
        for entry in CPUIDLeaves.all where entry.offered {
            guard let feature = entry.feature, !entry.needsHost || features.contains(feature) else { continue }
            offered.insert(Features(feature))
        }
        return offered
    }()

    /// "AuthenticAMD" or "HygonGenuine".
    static let isAMD = namesAMD(cpuid(leaf: 0).ebx)

    /// Whether a vendor's name begins as AMD's or Hygon's does, in EBX of leaf 0.
    static func namesAMD(_ ebx: UInt32) -> Bool { ebx == 0x6874_7541 || ebx == 0x6F67_7948 }

    private static let cpuidCode = HostCode.add([
        0x53,  // push rbx
        0x49, 0x89, 0xD0,  // mov r8, rdx
        0x89, 0xF8,  // mov eax, edi
        0x89, 0xF1,  // mov ecx, esi
        0x0F, 0xA2,  // cpuid
        0x41, 0x89, 0x00,  // mov [r8], eax
        0x41, 0x89, 0x58, 0x04,  // mov [r8 + 4], ebx
        0x41, 0x89, 0x48, 0x08,  // mov [r8 + 8], ecx
        0x41, 0x89, 0x50, 0x0C,  // mov [r8 + 12], edx
        0x5B,  // pop rbx
        0xC3,  // ret
    ])
    private static let xgetbvCode = HostCode.add([
        0x31, 0xC9,  // xor ecx, ecx
        0x0F, 0x01, 0xD0,  // xgetbv
        0x48, 0xC1, 0xE2, 0x20,  // shl rdx, 32
        0x48, 0x09, 0xD0,  // or rax, rdx
        0xC3,  // ret
    ])
}
