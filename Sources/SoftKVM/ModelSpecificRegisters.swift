// The MSRs that the hypervisor holds for a vCPU, beside the processor's own.
// Intel SDM vol. 4, chapter 2, and vol. 3, 12.11 (MTRRs); AMD APM vol. 2, appendix A; Linux, virt/kvm/x86/msr.rst.

internal import KVMABI

/// Values and their rules. What depends on more than the value is in `VirtualCPU+MSRs`.
struct ModelSpecificRegisters {
    var microcode: UInt64 = SupportedCPUID.shared.isAMD ? 0x0100_0065 : 0x1_0000_0000
    var archCapabilities: UInt64 = FeatureMSRs.value(0x10A) ?? 0
    var platformInfo: UInt64 = 0
    var miscFeatures: UInt64 = 0
    var smiCount: UInt64 = 0
    /// Kept, and nothing else: there is no power to control.
    var powerControl: UInt64 = 0
    var tscAdjust: UInt64 = 0
    /// Zero until firmware sets TscFreqSel: the TSC counts at P0's frequency.
    var hwcr: UInt64 = 0
    /// nil on other processors than AMD's.
    var deConfiguration = FeatureMSRs.value(0xC001_1029)
    var wallClock: UInt64 = 0
    var systemTime: UInt64 = 0
    /// Which pair of numbers the guest has used (KVM_SYSTEM_TIME or _NEW).
    var usesOldClock = false
    private var mtrrDefault: UInt64 = 0
    private var mtrrVariable = [UInt64](repeating: 0, count: 16)
    private var mtrrFixed = [UInt64](repeating: 0, count: 11)

    /// KVM_GET_MSR_INDEX_LIST: what a client saves and restores.
    static let saved: [UInt32] = {
        let text: StaticString = """
            10 11 12 34 3b 8b ce fe 10a 140 174 175 176 179 17a 17b 1a0 1d9 1fc 277 2ff 6e0 da0
            200 201 202 203 204 205 206 207 208 209 20a 20b 20c 20d 20e 20f 250 258 259 268 269 26a 26b 26c 26d 26e 26f
            4b564d00 4b564d01 c0000081 c0000082 c0000083 c0000084 c0000102 c0000103 c0010015
            """
        return text.description.split(whereSeparator: { $0 == " " || $0 == "\n" }).compactMap { UInt32($0, radix: 16) }
            + (SupportedCPUID.shared.isAMD ? [0xC001_1029] : [])
    }()

    /// What reads as it is while writes are ignored: registers of a machine that is not there, which kernels touch without
    /// asking.
    static func inert(_ index: UInt32) -> UInt64? {
        switch index {
        case 0xC1, 0xC2, 0x186, 0x187: 0
        // A Pentium II's second-level cache.
        case 0x11E: 0xBE70_2111
        case 0xC001_0000...0xC001_0007, 0xC001_001F: 0
        // The ramp-up count that an Athlon's kernel wants.
        case 0xC001_001B: 0x2000_0000
        case 0xC001_0117: 0
        case 0xC001_1022, 0xC001_1023, 0xC001_102A, 0xC001_102C: 0
        default: nil
        }
    }

    /// Constants that can't be written.
    static func constant(_ index: UInt32) -> UInt64? {
        switch index {
        case 0x17, 0x2A: 0
        // A Pentium 4's bus, of 100 MHz.
        case 0x2C: 1 << 24
        case 0xCD: 3
        // Eight variable ranges, fixed ranges, write-combining.
        case 0xFE: 0x508
        case 0x198: 1000 | 4 << 40
        case 0x199: 0
        // The last branch and the last interrupt.
        case 0x1DB...0x1DE: 0
        case 0x606, 0x611, 0x619, 0x639, 0x641: 0
        case 0xC001_0010, 0xC001_0055, 0xC001_0112, 0xC001_0113: 0
        default: nil
        }
    }

    // MARK: MTRRs

    static func isMTRR(_ index: UInt32) -> Bool {
        switch index {
        case 0x200...0x20F, 0x250, 0x258, 0x259, 0x268...0x26F, 0x2FF: true
        default: false
        }
    }

    private static func fixedPlace(_ index: UInt32) -> Int? {
        switch index {
        case 0x250: 0
        case 0x258, 0x259: Int(index - 0x258) + 1
        case 0x268...0x26F: Int(index - 0x268) + 3
        default: nil
        }
    }

    private static func isType(_ type: UInt64) -> Bool { type < 8 && 0x73 & 1 << type != 0 }

    func readMTRR(_ index: UInt32) -> UInt64? {
        if index == 0x2FF { return mtrrDefault }
        if 0x200...0x20F ~= index { return mtrrVariable[Int(index - 0x200)] }
        return ModelSpecificRegisters.fixedPlace(index).map { mtrrFixed[$0] }
    }

    mutating func writeMTRR(_ index: UInt32, _ value: UInt64, physicalBits: UInt8) -> Bool {
        if index == 0x2FF {
            guard value & ~0xCFF == 0, ModelSpecificRegisters.isType(value & 0xFF) else { return false }
            mtrrDefault = value
            return true
        }
        if let place = ModelSpecificRegisters.fixedPlace(index) {
            for byte in 0..<8 {
                guard ModelSpecificRegisters.isType(value >> UInt64(8 * byte) & 0xFF) else { return false }
            }
            mtrrFixed[place] = value
            return true
        }
        guard 0x200...0x20F ~= index else { return false }
        let reserved = ~(1 << UInt64(physicalBits) - 1) as UInt64
        if index & 1 == 0 {
            guard ModelSpecificRegisters.isType(value & 0xFF), value & (reserved | 0xF00) == 0 else { return false }
        } else {
            guard value & (reserved | 0x7FF) == 0 else { return false }
        }
        mtrrVariable[Int(index - 0x200)] = value
        return true
    }
}
