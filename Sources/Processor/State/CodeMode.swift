import X86

/// What decoded code depends on beside its bytes: the key of a block with its physical address.
struct CodeMode: RawRepresentable, Hashable {
    let rawValue: UInt32
    /// Bits 0…3: code size in bytes, 2, 4 or 8.
    var codeSize: UInt8 { UInt8(rawValue & 15) }
    static let codeSizeMask: UInt32 = 15
    /// DS, ES and SS have base 0 and cover 4 GiB, writable (32-bit code).
    static let flatData = CodeMode(rawValue: 1 << 4)
    /// Real-address or virtual-8086 mode.
    static let realOrV86 = CodeMode(rawValue: 1 << 5)
    /// SS is 32 bits wide (B set); stack operations in 16/32-bit code use ESP.
    static let wideStack = CodeMode(rawValue: 1 << 6)
    /// The FPU and vector state is not to be touched (CR0.EM, CR0.TS, CR4.OSFXSR, XCR0…): FP and SIMD go the checked way.
    static let checksFPU = CodeMode(rawValue: 1 << 7)
    /// The guest's CPUID names AMD or Hygon: a few encodings differ.
    static let amd = CodeMode(rawValue: 1 << 8)

    /// Bits 16 and 17: the rights with which memory is reached.
    var view: TLBView { TLBView(rawValue: Int(rawValue >> 16 & 3)) ?? .watched }
    /// The same under other rights.
    func viewed(by view: TLBView) -> CodeMode {
        CodeMode(rawValue: rawValue & ~(3 << 16) | UInt32(view.rawValue) << 16)
    }

    /// Features whose instructions are #UD where the guest's CPUID lacks their bit; they are those that KVM intercepts for its
    /// sake. The others are executed whatever CPUID says, as on hardware that can't refuse them. Each has a bit from 9 on,
    /// set where the guest lacks it.
    private static let removable: [Feature] = [.rdtscp, .rdpid, .rdrand, .rdseed, .invpcid, .xsaves]
    private static let removableEntries = removable.map { feature in CPUIDLeaves.all.first { $0.feature == feature } }

    /// The bits of those features that are lacking.
    static func withholding(_ isLacking: (CPUIDFeature) -> Bool) -> UInt32 {
        var bits: UInt32 = 0
        for (index, entry) in removableEntries.enumerated() {
            if let entry, isLacking(entry) { bits |= 1 << UInt32(9 + index) }
        }
        return bits
    }

    /// Whether the guest may execute a row that belongs to the feature.
    func permits(_ feature: Feature?) -> Bool {
        guard let feature, let index = CodeMode.removable.firstIndex(of: feature) else { return true }
        return rawValue >> UInt32(9 + index) & 1 == 0
    }

    /// Decodes as this mode has it.
    func decode(_ bytes: CodeBytes) throws(DecodeError) -> Instruction {
        try Decoder.decode(
            window: bytes.bits, count: bytes.count, codeSize: CodeSize(rawValue: codeSize),
            realOrV86: contains(.realOrV86), vendor: contains(.amd) ? .amd : .intel)
    }

    func contains(_ other: CodeMode) -> Bool { rawValue & other.rawValue == other.rawValue }
}
