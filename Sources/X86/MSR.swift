/// Model-specific registers: numbers by the manuals' names.
///
/// Intel SDM vol. 4, chapter 2; AMD APM vol. 2, appendix A; Linux, Documentation/virt/kvm/x86/msr.rst (those of KVM).
public struct MSR: RawRepresentable, Sendable, Hashable {
    public let rawValue: UInt32
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable public init(_ rawValue: UInt32) { self.rawValue = rawValue }

    public static let IA32_P5_MC_ADDR = MSR(0x0)
    public static let IA32_P5_MC_TYPE = MSR(0x1)
    public static let IA32_TIME_STAMP_COUNTER = MSR(0x10)
    public static let IA32_PLATFORM_ID = MSR(0x17)
    public static let IA32_APIC_BASE = MSR(0x1B)
    public static let EBL_CR_POWERON = MSR(0x2A)
    public static let MSR_SMI_COUNT = MSR(0x34)
    public static let IA32_FEATURE_CONTROL = MSR(0x3A)
    public static let IA32_TSC_ADJUST = MSR(0x3B)
    public static let IA32_SPEC_CTRL = MSR(0x48)
    public static let IA32_PRED_CMD = MSR(0x49)
    public static let IA32_BIOS_UPDT_TRIG = MSR(0x79)
    public static let IA32_BIOS_SIGN_ID = MSR(0x8B)
    public static let IA32_SMBASE = MSR(0x9E)
    public static let IA32_PMC0 = MSR(0xC1)
    public static let MSR_FSB_FREQ = MSR(0xCD)
    public static let MSR_PLATFORM_INFO = MSR(0xCE)
    public static let IA32_UMWAIT_CONTROL = MSR(0xE1)
    public static let IA32_MPERF = MSR(0xE7)
    public static let IA32_APERF = MSR(0xE8)
    public static let IA32_MTRRCAP = MSR(0xFE)
    public static let IA32_ARCH_CAPABILITIES = MSR(0x10A)
    public static let IA32_FLUSH_CMD = MSR(0x10B)
    public static let MSR_BBL_CR_CTL3 = MSR(0x11E)
    public static let IA32_TSX_CTRL = MSR(0x122)
    public static let MSR_MISC_FEATURES_ENABLES = MSR(0x140)
    public static let IA32_SYSENTER_CS = MSR(0x174)
    public static let IA32_SYSENTER_ESP = MSR(0x175)
    public static let IA32_SYSENTER_EIP = MSR(0x176)
    public static let IA32_MCG_CAP = MSR(0x179)
    public static let IA32_MCG_STATUS = MSR(0x17A)
    public static let IA32_MCG_CTL = MSR(0x17B)
    public static let IA32_PERFEVTSEL0 = MSR(0x186)
    public static let IA32_PERF_STATUS = MSR(0x198)
    public static let IA32_PERF_CTL = MSR(0x199)
    public static let IA32_CLOCK_MODULATION = MSR(0x19A)
    public static let IA32_THERM_INTERRUPT = MSR(0x19B)
    public static let IA32_THERM_STATUS = MSR(0x19C)
    public static let IA32_MISC_ENABLE = MSR(0x1A0)
    public static let IA32_ENERGY_PERF_BIAS = MSR(0x1B0)
    public static let IA32_DEBUGCTL = MSR(0x1D9)
    public static let MSR_LASTBRANCHFROMIP = MSR(0x1DB)
    public static let MSR_LASTBRANCHTOIP = MSR(0x1DC)
    public static let MSR_LASTINTFROMIP = MSR(0x1DD)
    public static let MSR_LASTINTTOIP = MSR(0x1DE)
    public static let IA32_POWER_CTL = MSR(0x1FC)
    /// Base 0; mask 0 is the next number, and so on for eight pairs.
    public static let IA32_MTRR_PHYSBASE0 = MSR(0x200)
    public static let IA32_MTRR_PHYSMASK0 = MSR(0x201)
    public static let IA32_MTRR_FIX64K_00000 = MSR(0x250)
    public static let IA32_MTRR_FIX16K_80000 = MSR(0x258)
    public static let IA32_MTRR_FIX16K_A0000 = MSR(0x259)
    /// The first of eight.
    public static let IA32_MTRR_FIX4K_C0000 = MSR(0x268)
    public static let IA32_PAT = MSR(0x277)
    public static let IA32_MTRR_DEF_TYPE = MSR(0x2FF)
    public static let IA32_PERF_CAPABILITIES = MSR(0x345)
    public static let IA32_FIXED_CTR_CTRL = MSR(0x38D)
    public static let IA32_PERF_GLOBAL_STATUS = MSR(0x38E)
    public static let IA32_PERF_GLOBAL_CTRL = MSR(0x38F)
    public static let IA32_PERF_GLOBAL_OVF_CTRL = MSR(0x390)
    /// Bank 0's control; status, address and misc follow, four numbers a bank.
    public static let IA32_MC0_CTL = MSR(0x400)
    public static let IA32_VMX_BASIC = MSR(0x480)
    public static let MSR_RAPL_POWER_UNIT = MSR(0x606)
    public static let IA32_TSC_DEADLINE = MSR(0x6E0)
    /// The first of the x2APIC's registers (800H…8FFH): the APIC offset ÷ 16.
    public static let IA32_X2APIC_FIRST = MSR(0x800)
    public static let IA32_X2APIC_LAST = MSR(0x8FF)
    public static let IA32_XSS = MSR(0xDA0)

    public static let KVM_WALL_CLOCK = MSR(0x11)
    public static let KVM_SYSTEM_TIME = MSR(0x12)
    public static let KVM_WALL_CLOCK_NEW = MSR(0x4B56_4D00)
    public static let KVM_SYSTEM_TIME_NEW = MSR(0x4B56_4D01)
    public static let KVM_ASYNC_PF_EN = MSR(0x4B56_4D02)
    public static let KVM_STEAL_TIME = MSR(0x4B56_4D03)
    public static let KVM_PV_EOI_EN = MSR(0x4B56_4D04)
    public static let KVM_POLL_CONTROL = MSR(0x4B56_4D05)
    public static let KVM_ASYNC_PF_INT = MSR(0x4B56_4D06)
    public static let KVM_ASYNC_PF_ACK = MSR(0x4B56_4D07)
    public static let KVM_MIGRATION_CONTROL = MSR(0x4B56_4D08)

    public static let IA32_EFER = MSR(0xC000_0080)
    public static let IA32_STAR = MSR(0xC000_0081)
    public static let IA32_LSTAR = MSR(0xC000_0082)
    public static let IA32_CSTAR = MSR(0xC000_0083)
    public static let IA32_FMASK = MSR(0xC000_0084)
    public static let IA32_FS_BASE = MSR(0xC000_0100)
    public static let IA32_GS_BASE = MSR(0xC000_0101)
    public static let IA32_KERNEL_GS_BASE = MSR(0xC000_0102)
    public static let IA32_TSC_AUX = MSR(0xC000_0103)
    public static let AMD64_TSC_RATIO = MSR(0xC000_0104)
    public static let K7_EVNTSEL0 = MSR(0xC001_0000)
    public static let K7_PERFCTR0 = MSR(0xC001_0004)
    public static let AMD64_SYSCFG = MSR(0xC001_0010)
    public static let K7_HWCR = MSR(0xC001_0015)
    public static let AMD64_IORRBASE0 = MSR(0xC001_0016)
    public static let K8_TOP_MEM1 = MSR(0xC001_001A)
    public static let K8_TOP_MEM2 = MSR(0xC001_001D)
    public static let AMD64_NB_CFG = MSR(0xC001_001F)
    public static let AMD64_PATCH_LOADER = MSR(0xC001_0020)
    public static let AMD64_OSVW_ID_LENGTH = MSR(0xC001_0140)
    public static let AMD64_OSVW_STATUS = MSR(0xC001_0141)
    public static let K8_INT_PENDING_MSG = MSR(0xC001_0055)
    public static let FAM10H_MMIO_CONF_BASE = MSR(0xC001_0058)
    public static let VM_CR = MSR(0xC001_0114)
    public static let VM_HSAVE_PA = MSR(0xC001_0117)
    public static let AMD64_VIRT_SPEC_CTRL = MSR(0xC001_011F)
    public static let F15H_PERF_CTL0 = MSR(0xC001_0200)
    public static let AMD64_LS_CFG = MSR(0xC001_1020)
    public static let AMD64_IC_CFG = MSR(0xC001_1021)
    public static let AMD64_DC_CFG = MSR(0xC001_1022)
    public static let AMD64_DE_CFG = MSR(0xC001_1029)
    public static let AMD64_BU_CFG2 = MSR(0xC001_102A)

    /// IA32_APIC_BASE's bits.
    public static let apicBaseBSP: UInt64 = 1 << 8
    public static let apicBaseX2APIC: UInt64 = 1 << 10
    public static let apicBaseEnable: UInt64 = 1 << 11
    /// IA32_MISC_ENABLE's bits.
    public static let miscEnableFastStrings: UInt64 = 1 << 0
    public static let miscEnableBTSUnavailable: UInt64 = 1 << 11
    public static let miscEnablePEBSUnavailable: UInt64 = 1 << 12
    public static let miscEnableMWAIT: UInt64 = 1 << 18
    /// IA32_PAT after reset.
    public static let patReset: UInt64 = 0x0007_0406_0007_0406
}
