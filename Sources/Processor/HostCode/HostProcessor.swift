internal import Glibc
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

    /// The time stamp counter, read behind the instructions before; nil where the host lets a process run no code that it has made.
    public static var timeStampCounter: UInt64? {
        guard let address = timeStampCode else { return nil }
        return UInt64(HostCode.call(address, 0, 0, 0))
    }

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

    /// The system lets programs use RDGSBASE and its kin (HWCAP2_FSGSBASE).
    static let hasFSGSBASE = auxiliary(26) & 2 != 0

    /// A value of the auxiliary vector, or 0. (The C library's function for it is not in its overlay.)
    private static func auxiliary(_ wanted: UInt64) -> UInt64 {
        let file = unsafe open("/proc/self/auxv", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return 0 }
        defer { close(file) }
        var pair: InlineArray<2, UInt64> = [0, 0]
        while unsafe read(file, &pair, 16) == 16, pair[0] != 0 {
            if pair[0] == wanted { return pair[1] }
        }
        return 0
    }

    /// "AuthenticAMD" or "HygonGenuine".
    static let isAMD = namesAMD(cpuid(leaf: 0).ebx)

    /// Whether a vendor's name begins as AMD's or Hygon's does, in EBX of leaf 0.
    static func namesAMD(_ ebx: UInt32) -> Bool { ebx == 0x6874_7541 || ebx == 0x6F67_7948 }

    private static let cpuidCode = HostCode.add(
        Assembler.code { a in
            a.push(.rbx)
            a.mov(.r8, .rdx)
            a.mov(.rax, .rdi, .long)
            a.mov(.rcx, .rsi, .long)
            a.cpuid()
            for (index, register) in [GeneralRegister.rax, .rbx, .rcx, .rdx].enumerated() {
                a.mov(.at(.r8, index * 4), register, .long)
            }
            a.pop(.rbx)
            a.ret()
        })
    private static let timeStampCode = HostCode.add(
        Assembler.code { a in
            a.lfence()
            a.rdtsc()
            a.shl(.rdx, 32)
            a.or(.rax, .rdx)
            a.ret()
        })
    private static let xgetbvCode = HostCode.add(
        Assembler.code { a in
            a.xor(.rcx, .rcx, .long)
            a.xgetbv()
            a.shl(.rdx, 32)
            a.or(.rax, .rdx)
            a.ret()
        })
}
