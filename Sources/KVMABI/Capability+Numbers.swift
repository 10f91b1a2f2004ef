// The capabilities that concern x86, under the macro's name in Swift's spelling, up to 244 (Linux 6.18). A test pins each
// to <linux/kvm.h>, or by literal where Debian's header is too old. Source: include/uapi/linux/kvm.h.

extension Capability {
    public static var irqchip: Capability { Capability(rawValue: 0) }
    public static var hlt: Capability { Capability(rawValue: 1) }
    public static var mmuShadowCacheControl: Capability { Capability(rawValue: 2) }
    public static var userMemory: Capability { Capability(rawValue: 3) }
    public static var setTSSAddr: Capability { Capability(rawValue: 4) }
    public static var vapic: Capability { Capability(rawValue: 6) }
    public static var extCPUID: Capability { Capability(rawValue: 7) }
    public static var clocksource: Capability { Capability(rawValue: 8) }
    public static var nrVcpus: Capability { Capability(rawValue: 9) }
    public static var nrMemslots: Capability { Capability(rawValue: 10) }
    public static var pit: Capability { Capability(rawValue: 11) }
    public static var nopIoDelay: Capability { Capability(rawValue: 12) }
    public static var pvMMU: Capability { Capability(rawValue: 13) }
    public static var mpState: Capability { Capability(rawValue: 14) }
    public static var coalescedMMIO: Capability { Capability(rawValue: 15) }
    public static var syncMMU: Capability { Capability(rawValue: 16) }
    public static var iommu: Capability { Capability(rawValue: 18) }
    public static var destroyMemoryRegionWorks: Capability { Capability(rawValue: 21) }
    public static var userNMI: Capability { Capability(rawValue: 22) }
    public static var setGuestDebug: Capability { Capability(rawValue: 23) }
    public static var reinjectControl: Capability { Capability(rawValue: 24) }
    public static var irqRouting: Capability { Capability(rawValue: 25) }
    public static var irqInjectStatus: Capability { Capability(rawValue: 26) }
    public static var assignDevIRQ: Capability { Capability(rawValue: 29) }
    public static var joinMemoryRegionsWorks: Capability { Capability(rawValue: 30) }
    public static var mce: Capability { Capability(rawValue: 31) }
    public static var irqfd: Capability { Capability(rawValue: 32) }
    public static var pit2: Capability { Capability(rawValue: 33) }
    public static var setBootCPUID: Capability { Capability(rawValue: 34) }
    public static var pitState2: Capability { Capability(rawValue: 35) }
    public static var ioeventfd: Capability { Capability(rawValue: 36) }
    public static var setIdentityMapAddr: Capability { Capability(rawValue: 37) }
    public static var xenHVM: Capability { Capability(rawValue: 38) }
    public static var adjustClock: Capability { Capability(rawValue: 39) }
    public static var internalErrorData: Capability { Capability(rawValue: 40) }
    public static var vcpuEvents: Capability { Capability(rawValue: 41) }
    public static var hyperv: Capability { Capability(rawValue: 44) }
    public static var hypervVAPIC: Capability { Capability(rawValue: 45) }
    public static var hypervSpin: Capability { Capability(rawValue: 46) }
    public static var pciSegment: Capability { Capability(rawValue: 47) }
    public static var intrShadow: Capability { Capability(rawValue: 49) }
    public static var debugregs: Capability { Capability(rawValue: 50) }
    public static var x86RobustSinglestep: Capability { Capability(rawValue: 51) }
    public static var enableCap: Capability { Capability(rawValue: 54) }
    public static var xsave: Capability { Capability(rawValue: 55) }
    public static var xcrs: Capability { Capability(rawValue: 56) }
    public static var asyncPf: Capability { Capability(rawValue: 59) }
    public static var tscControl: Capability { Capability(rawValue: 60) }
    public static var getTSCKHz: Capability { Capability(rawValue: 61) }
    public static var maxVcpus: Capability { Capability(rawValue: 66) }
    public static var oneReg: Capability { Capability(rawValue: 70) }
    public static var tscDeadlineTimer: Capability { Capability(rawValue: 72) }
    public static var syncRegs: Capability { Capability(rawValue: 74) }
    public static var pci23: Capability { Capability(rawValue: 75) }
    public static var kvmclockCtrl: Capability { Capability(rawValue: 76) }
    public static var signalMSI: Capability { Capability(rawValue: 77) }
    public static var readonlyMem: Capability { Capability(rawValue: 81) }
    public static var irqfdResample: Capability { Capability(rawValue: 82) }
    public static var deviceCtrl: Capability { Capability(rawValue: 89) }
    public static var extEmulCPUID: Capability { Capability(rawValue: 95) }
    public static var hypervTime: Capability { Capability(rawValue: 96) }
    public static var ioapicPolarityIgnored: Capability { Capability(rawValue: 97) }
    public static var enableCapVM: Capability { Capability(rawValue: 98) }
    public static var ioeventfdNoLength: Capability { Capability(rawValue: 100) }
    public static var vmAttributes: Capability { Capability(rawValue: 101) }
    public static var checkExtensionVM: Capability { Capability(rawValue: 105) }
    public static var disableQuirks: Capability { Capability(rawValue: 116) }
    public static var x86Smm: Capability { Capability(rawValue: 117) }
    public static var multiAddressSpace: Capability { Capability(rawValue: 118) }
    public static var guestDebugHWBPS: Capability { Capability(rawValue: 119) }
    public static var guestDebugHWWPS: Capability { Capability(rawValue: 120) }
    public static var splitIRQCHIP: Capability { Capability(rawValue: 121) }
    public static var ioeventfdAnyLength: Capability { Capability(rawValue: 122) }
    public static var hypervSynic: Capability { Capability(rawValue: 123) }
    public static var vcpuAttributes: Capability { Capability(rawValue: 127) }
    public static var maxVCPUID: Capability { Capability(rawValue: 128) }
    public static var x2apicAPI: Capability { Capability(rawValue: 129) }
    public static var msiDevid: Capability { Capability(rawValue: 131) }
    public static var immediateExit: Capability { Capability(rawValue: 136) }
    public static var x86DisableExits: Capability { Capability(rawValue: 143) }
    public static var hypervSynic2: Capability { Capability(rawValue: 148) }
    public static var hypervVpIndex: Capability { Capability(rawValue: 149) }
    public static var getMSRFeatures: Capability { Capability(rawValue: 153) }
    public static var hypervEventfd: Capability { Capability(rawValue: 154) }
    public static var hypervTlbflush: Capability { Capability(rawValue: 155) }
    public static var nestedState: Capability { Capability(rawValue: 157) }
    public static var msrPlatformInfo: Capability { Capability(rawValue: 159) }
    public static var hypervSendIpi: Capability { Capability(rawValue: 161) }
    public static var coalescedPIO: Capability { Capability(rawValue: 162) }
    public static var hypervEnlightenedVmcs: Capability { Capability(rawValue: 163) }
    public static var exceptionPayload: Capability { Capability(rawValue: 164) }
    public static var manualDirtyLogProtect: Capability { Capability(rawValue: 166) }
    public static var hypervCPUID: Capability { Capability(rawValue: 167) }
    public static var manualDirtyLogProtect2: Capability { Capability(rawValue: 168) }
    public static var pmuEventFilter: Capability { Capability(rawValue: 173) }
    public static var hypervDirectTlbflush: Capability { Capability(rawValue: 175) }
    public static var haltPoll: Capability { Capability(rawValue: 182) }
    public static var asyncPfInt: Capability { Capability(rawValue: 183) }
    public static var lastCPU: Capability { Capability(rawValue: 184) }
    public static var smallerMaxphyaddr: Capability { Capability(rawValue: 185) }
    public static var stealTime: Capability { Capability(rawValue: 187) }
    public static var x86UserSpaceMSR: Capability { Capability(rawValue: 188) }
    public static var x86MSRFilter: Capability { Capability(rawValue: 189) }
    public static var enforcePVFeatureCPUID: Capability { Capability(rawValue: 190) }
    public static var sysHyperVCPUID: Capability { Capability(rawValue: 191) }
    public static var dirtyLogRing: Capability { Capability(rawValue: 192) }
    public static var x86BusLockExit: Capability { Capability(rawValue: 193) }
    public static var setGuestDebug2: Capability { Capability(rawValue: 195) }
    public static var sgxAttribute: Capability { Capability(rawValue: 196) }
    public static var vmCopyEncContextFrom: Capability { Capability(rawValue: 197) }
    public static var ptpKvm: Capability { Capability(rawValue: 198) }
    public static var hypervEnforceCPUID: Capability { Capability(rawValue: 199) }
    public static var sregs2: Capability { Capability(rawValue: 200) }
    public static var exitHypercall: Capability { Capability(rawValue: 201) }
    public static var binaryStatsFD: Capability { Capability(rawValue: 203) }
    public static var exitOnEmulationFailure: Capability { Capability(rawValue: 204) }
    public static var vmMoveEncContextFrom: Capability { Capability(rawValue: 206) }
    public static var vmGPABits: Capability { Capability(rawValue: 207) }
    public static var xsave2: Capability { Capability(rawValue: 208) }
    public static var sysAttributes: Capability { Capability(rawValue: 209) }
    public static var pmuCapability: Capability { Capability(rawValue: 212) }
    public static var disableQuirks2: Capability { Capability(rawValue: 213) }
    public static var vmTSCControl: Capability { Capability(rawValue: 214) }
    public static var systemEventData: Capability { Capability(rawValue: 215) }
    public static var x86TripleFaultEvent: Capability { Capability(rawValue: 218) }
    public static var x86NotifyVmexit: Capability { Capability(rawValue: 219) }
    public static var vmDisableNXHugePages: Capability { Capability(rawValue: 220) }
    public static var dirtyLogRingAcqRel: Capability { Capability(rawValue: 223) }
    public static var dirtyLogRingWithBitmap: Capability { Capability(rawValue: 225) }
    public static var pmuEventMaskedEvents: Capability { Capability(rawValue: 226) }
    public static var userMemory2: Capability { Capability(rawValue: 231) }
    public static var memoryFaultInfo: Capability { Capability(rawValue: 232) }
    public static var memoryAttributes: Capability { Capability(rawValue: 233) }
    public static var guestMemfd: Capability { Capability(rawValue: 234) }
    public static var vmTypes: Capability { Capability(rawValue: 235) }
    public static var preFaultMemory: Capability { Capability(rawValue: 236) }
    public static var x86APICBusCyclesNs: Capability { Capability(rawValue: 237) }
    public static var x86GuestMode: Capability { Capability(rawValue: 238) }
    public static var guestMemfdFlags: Capability { Capability(rawValue: 244) }

    /// Every capability's number and macro name, other architectures' too, as `KVM_CHECK_EXTENSION` takes them.
    static let table: StaticString = """
        0 IRQCHIP 1 HLT 2 MMU_SHADOW_CACHE_CONTROL 3 USER_MEMORY 4 SET_TSS_ADDR 6 VAPIC 7 EXT_CPUID 8 CLOCKSOURCE
        9 NR_VCPUS 10 NR_MEMSLOTS 11 PIT 12 NOP_IO_DELAY 13 PV_MMU 14 MP_STATE 15 COALESCED_MMIO 16 SYNC_MMU
        18 IOMMU 21 DESTROY_MEMORY_REGION_WORKS 22 USER_NMI 23 SET_GUEST_DEBUG 24 REINJECT_CONTROL 25 IRQ_ROUTING
        26 IRQ_INJECT_STATUS 29 ASSIGN_DEV_IRQ 30 JOIN_MEMORY_REGIONS_WORKS 31 MCE 32 IRQFD 33 PIT2
        34 SET_BOOT_CPU_ID 35 PIT_STATE2 36 IOEVENTFD 37 SET_IDENTITY_MAP_ADDR 38 XEN_HVM 39 ADJUST_CLOCK
        40 INTERNAL_ERROR_DATA 41 VCPU_EVENTS 42 S390_PSW 43 PPC_SEGSTATE 44 HYPERV 45 HYPERV_VAPIC 46 HYPERV_SPIN
        47 PCI_SEGMENT 48 PPC_PAIRED_SINGLES 49 INTR_SHADOW 50 DEBUGREGS 51 X86_ROBUST_SINGLESTEP 52 PPC_OSI
        53 PPC_UNSET_IRQ 54 ENABLE_CAP 55 XSAVE 56 XCRS 57 PPC_GET_PVINFO 58 PPC_IRQ_LEVEL 59 ASYNC_PF
        60 TSC_CONTROL 61 GET_TSC_KHZ 62 PPC_BOOKE_SREGS 63 SPAPR_TCE 64 PPC_SMT 65 PPC_RMA 66 MAX_VCPUS
        67 PPC_HIOR 68 PPC_PAPR 69 SW_TLB 70 ONE_REG 71 S390_GMAP 72 TSC_DEADLINE_TIMER 73 S390_UCONTROL
        74 SYNC_REGS 75 PCI_2_3 76 KVMCLOCK_CTRL 77 SIGNAL_MSI 78 PPC_GET_SMMU_INFO 79 S390_COW 80 PPC_ALLOC_HTAB
        81 READONLY_MEM 82 IRQFD_RESAMPLE 83 PPC_BOOKE_WATCHDOG 84 PPC_HTAB_FD 85 S390_CSS_SUPPORT 86 PPC_EPR
        87 ARM_PSCI 88 ARM_SET_DEVICE_ADDR 89 DEVICE_CTRL 90 IRQ_MPIC 91 PPC_RTAS 92 IRQ_XICS 93 ARM_EL1_32BIT
        94 SPAPR_MULTITCE 95 EXT_EMUL_CPUID 96 HYPERV_TIME 97 IOAPIC_POLARITY_IGNORED 98 ENABLE_CAP_VM
        99 S390_IRQCHIP 100 IOEVENTFD_NO_LENGTH 101 VM_ATTRIBUTES 102 ARM_PSCI_0_2 103 PPC_FIXUP_HCALL
        104 PPC_ENABLE_HCALL 105 CHECK_EXTENSION_VM 106 S390_USER_SIGP 107 S390_VECTOR_REGISTERS 108 S390_MEM_OP
        109 S390_USER_STSI 110 S390_SKEYS 111 MIPS_FPU 112 MIPS_MSA 113 S390_INJECT_IRQ 114 S390_IRQ_STATE
        115 PPC_HWRNG 116 DISABLE_QUIRKS 117 X86_SMM 118 MULTI_ADDRESS_SPACE 119 GUEST_DEBUG_HW_BPS
        120 GUEST_DEBUG_HW_WPS 121 SPLIT_IRQCHIP 122 IOEVENTFD_ANY_LENGTH 123 HYPERV_SYNIC 124 S390_RI
        125 SPAPR_TCE_64 126 ARM_PMU_V3 127 VCPU_ATTRIBUTES 128 MAX_VCPU_ID 129 X2APIC_API 130 S390_USER_INSTR0
        131 MSI_DEVID 132 PPC_HTM 133 SPAPR_RESIZE_HPT 134 PPC_MMU_RADIX 135 PPC_MMU_HASH_V3 136 IMMEDIATE_EXIT
        137 MIPS_VZ 138 MIPS_TE 139 MIPS_64BIT 140 S390_GS 141 S390_AIS 142 SPAPR_TCE_VFIO 143 X86_DISABLE_EXITS
        144 ARM_USER_IRQ 145 S390_CMMA_MIGRATION 146 PPC_FWNMI 147 PPC_SMT_POSSIBLE 148 HYPERV_SYNIC2
        149 HYPERV_VP_INDEX 150 S390_AIS_MIGRATION 151 PPC_GET_CPU_CHAR 152 S390_BPB 153 GET_MSR_FEATURES
        154 HYPERV_EVENTFD 155 HYPERV_TLBFLUSH 156 S390_HPAGE_1M 157 NESTED_STATE 158 ARM_INJECT_SERROR_ESR
        159 MSR_PLATFORM_INFO 160 PPC_NESTED_HV 161 HYPERV_SEND_IPI 162 COALESCED_PIO 163 HYPERV_ENLIGHTENED_VMCS
        164 EXCEPTION_PAYLOAD 165 ARM_VM_IPA_SIZE 166 MANUAL_DIRTY_LOG_PROTECT 167 HYPERV_CPUID
        168 MANUAL_DIRTY_LOG_PROTECT2 169 PPC_IRQ_XIVE 170 ARM_SVE 171 ARM_PTRAUTH_ADDRESS 172 ARM_PTRAUTH_GENERIC
        173 PMU_EVENT_FILTER 174 ARM_IRQ_LINE_LAYOUT_2 175 HYPERV_DIRECT_TLBFLUSH 176 PPC_GUEST_DEBUG_SSTEP
        177 ARM_NISV_TO_USER 178 ARM_INJECT_EXT_DABT 179 S390_VCPU_RESETS 180 S390_PROTECTED 181 PPC_SECURE_GUEST
        182 HALT_POLL 183 ASYNC_PF_INT 184 LAST_CPU 185 SMALLER_MAXPHYADDR 186 S390_DIAG318 187 STEAL_TIME
        188 X86_USER_SPACE_MSR 189 X86_MSR_FILTER 190 ENFORCE_PV_FEATURE_CPUID 191 SYS_HYPERV_CPUID
        192 DIRTY_LOG_RING 193 X86_BUS_LOCK_EXIT 194 PPC_DAWR1 195 SET_GUEST_DEBUG2 196 SGX_ATTRIBUTE
        197 VM_COPY_ENC_CONTEXT_FROM 198 PTP_KVM 199 HYPERV_ENFORCE_CPUID 200 SREGS2 201 EXIT_HYPERCALL
        202 PPC_RPT_INVALIDATE 203 BINARY_STATS_FD 204 EXIT_ON_EMULATION_FAILURE 205 ARM_MTE
        206 VM_MOVE_ENC_CONTEXT_FROM 207 VM_GPA_BITS 208 XSAVE2 209 SYS_ATTRIBUTES 210 PPC_AIL_MODE_3
        211 S390_MEM_OP_EXTENSION 212 PMU_CAPABILITY 213 DISABLE_QUIRKS2 214 VM_TSC_CONTROL 215 SYSTEM_EVENT_DATA
        216 ARM_SYSTEM_SUSPEND 217 S390_PROTECTED_DUMP 218 X86_TRIPLE_FAULT_EVENT 219 X86_NOTIFY_VMEXIT
        220 VM_DISABLE_NX_HUGE_PAGES 221 S390_ZPCI_OP 222 S390_CPU_TOPOLOGY 223 DIRTY_LOG_RING_ACQ_REL
        224 S390_PROTECTED_ASYNC_DISABLE 225 DIRTY_LOG_RING_WITH_BITMAP 226 PMU_EVENT_MASKED_EVENTS
        227 COUNTER_OFFSET 228 ARM_EAGER_SPLIT_CHUNK_SIZE 229 ARM_SUPPORTED_BLOCK_SIZES
        230 ARM_SUPPORTED_REG_MASK_RANGES 231 USER_MEMORY2 232 MEMORY_FAULT_INFO 233 MEMORY_ATTRIBUTES
        234 GUEST_MEMFD 235 VM_TYPES 236 PRE_FAULT_MEMORY 237 X86_APIC_BUS_CYCLES_NS 238 X86_GUEST_MODE
        239 ARM_WRITABLE_IMP_ID_REGS 240 ARM_EL2 241 ARM_EL2_E2H0 242 RISCV_MP_STATE_RESET
        243 ARM_CACHEABLE_PFNMAP_SUPPORTED 244 GUEST_MEMFD_FLAGS
        """
}
