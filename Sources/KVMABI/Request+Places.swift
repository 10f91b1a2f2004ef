// On which handles each request is served, and which capability says that it is. Documentation/virt/kvm/api.rst, section 4.

extension Request {
    /// One kind of handle that a request is served on.
    public struct Place: Sendable {
        public let request: Request
        public let handle: HandleKind
        public let basis: Basis
    }

    /// How a client knows that a request is served.
    public enum Basis: Hashable, Sendable {
        /// It always is.
        case base
        /// KVM_CHECK_EXTENSION of this reads other than 0.
        case capability(Capability)
        /// It no longer is: Linux has removed it.
        case removed
    }

    /// Every place of every request, in the order of `Request.all`. A row each: name, handle, and the capability's name,
    /// `base`, or `removed`.
    public static let places: [Place] = {
        let words = placeTable.description.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init)
        let capabilities = Dictionary(uniqueKeysWithValues: Capability.all.map { ($0.name, $0) })
        var places: [String: [Place]] = [:]
        let requests = Dictionary(uniqueKeysWithValues: all.map { ($0.name.description, $0.request) })
        for index in stride(from: 0, to: words.count - 2, by: 3) {
            let name = "KVM_\(words[index])"
            guard let request = requests[name], let handle = HandleKind(rawValue: words[index + 1]) else { continue }
            let basis: Basis? =
                switch words[index + 2] {
                case "base": .base
                case "removed": .removed
                case let capability: capabilities["KVM_CAP_\(capability)"].map(Basis.capability)
                }
            if let basis { places[name, default: []].append(Place(request: request, handle: handle, basis: basis)) }
        }
        return all.flatMap { places[$0.name.description] ?? [] }
    }()

    /// How many rows the table has, whether they are understood or not.
    static var placeTableCount: Int {
        placeTable.description.split(whereSeparator: { $0 == " " || $0 == "\n" }).count / 3
    }

    private static let placeTable: StaticString = """
        GET_API_VERSION system base  CREATE_VM system base  GET_MSR_INDEX_LIST system base
        CHECK_EXTENSION system base  CHECK_EXTENSION VM CHECK_EXTENSION_VM  GET_VCPU_MMAP_SIZE system base
        GET_SUPPORTED_CPUID system EXT_CPUID  GET_EMULATED_CPUID system EXT_EMUL_CPUID
        GET_MSR_FEATURE_INDEX_LIST system GET_MSR_FEATURES

        SET_MEMORY_REGION VM removed  CREATE_VCPU VM base  GET_DIRTY_LOG VM base  SET_MEMORY_ALIAS VM removed
        SET_NR_MMU_PAGES VM MMU_SHADOW_CACHE_CONTROL  GET_NR_MMU_PAGES VM removed
        SET_USER_MEMORY_REGION VM USER_MEMORY  SET_TSS_ADDR VM SET_TSS_ADDR
        SET_IDENTITY_MAP_ADDR VM SET_IDENTITY_MAP_ADDR  SET_USER_MEMORY_REGION2 VM USER_MEMORY2
        CLEAR_DIRTY_LOG VM MANUAL_DIRTY_LOG_PROTECT2  RESET_DIRTY_RINGS VM DIRTY_LOG_RING
        SET_MEMORY_ATTRIBUTES VM MEMORY_ATTRIBUTES  CREATE_GUEST_MEMFD VM GUEST_MEMFD
        PRE_FAULT_MEMORY vCPU PRE_FAULT_MEMORY

        CREATE_IRQCHIP VM IRQCHIP  IRQ_LINE VM IRQCHIP  GET_IRQCHIP VM IRQCHIP  SET_IRQCHIP VM IRQCHIP
        CREATE_PIT VM PIT  GET_PIT VM PIT  SET_PIT VM PIT  IRQ_LINE_STATUS VM IRQ_INJECT_STATUS
        REGISTER_COALESCED_MMIO VM COALESCED_MMIO  UNREGISTER_COALESCED_MMIO VM COALESCED_MMIO
        SET_GSI_ROUTING VM IRQ_ROUTING  REINJECT_CONTROL VM REINJECT_CONTROL  IRQFD VM IRQFD  CREATE_PIT2 VM PIT2
        SET_BOOT_CPU_ID VM SET_BOOT_CPU_ID  IOEVENTFD VM IOEVENTFD  XEN_HVM_CONFIG VM XEN_HVM
        SET_CLOCK VM ADJUST_CLOCK  GET_CLOCK VM ADJUST_CLOCK  GET_PIT2 VM PIT_STATE2  SET_PIT2 VM PIT_STATE2
        SET_TSC_KHZ VM VM_TSC_CONTROL  SET_TSC_KHZ vCPU TSC_CONTROL  GET_TSC_KHZ VM VM_TSC_CONTROL
        GET_TSC_KHZ vCPU GET_TSC_KHZ  SIGNAL_MSI VM SIGNAL_MSI  SET_PMU_EVENT_FILTER VM PMU_EVENT_FILTER
        MEMORY_ENCRYPT_OP VM VM_TYPES  MEMORY_ENCRYPT_OP vCPU VM_TYPES  MEMORY_ENCRYPT_REG_REGION VM VM_TYPES
        MEMORY_ENCRYPT_UNREG_REGION VM VM_TYPES  HYPERV_EVENTFD VM HYPERV_EVENTFD
        X86_SET_MSR_FILTER VM X86_MSR_FILTER  XEN_HVM_GET_ATTR VM XEN_HVM  XEN_HVM_SET_ATTR VM XEN_HVM
        XEN_HVM_EVTCHN_SEND VM XEN_HVM

        CREATE_DEVICE VM DEVICE_CTRL  SET_DEVICE_ATTR VM VM_ATTRIBUTES  SET_DEVICE_ATTR vCPU VCPU_ATTRIBUTES
        GET_DEVICE_ATTR system SYS_ATTRIBUTES  GET_DEVICE_ATTR VM VM_ATTRIBUTES  GET_DEVICE_ATTR vCPU VCPU_ATTRIBUTES
        HAS_DEVICE_ATTR system SYS_ATTRIBUTES  HAS_DEVICE_ATTR VM VM_ATTRIBUTES  HAS_DEVICE_ATTR vCPU VCPU_ATTRIBUTES
        GET_STATS_FD VM BINARY_STATS_FD  GET_STATS_FD vCPU BINARY_STATS_FD
        ENABLE_CAP VM ENABLE_CAP_VM  ENABLE_CAP vCPU ENABLE_CAP

        RUN vCPU base  GET_REGS vCPU base  SET_REGS vCPU base  GET_SREGS vCPU base  SET_SREGS vCPU base
        TRANSLATE vCPU base  INTERRUPT vCPU base  GET_MSRS system GET_MSR_FEATURES  GET_MSRS vCPU base
        SET_MSRS vCPU base  SET_CPUID vCPU base  SET_SIGNAL_MASK vCPU base  GET_FPU vCPU base  SET_FPU vCPU base
        GET_LAPIC vCPU IRQCHIP  SET_LAPIC vCPU IRQCHIP  SET_CPUID2 vCPU EXT_CPUID  GET_CPUID2 vCPU EXT_CPUID
        TPR_ACCESS_REPORTING vCPU VAPIC  SET_VAPIC_ADDR vCPU VAPIC  GET_MP_STATE vCPU MP_STATE
        SET_MP_STATE vCPU MP_STATE  NMI vCPU USER_NMI  SET_GUEST_DEBUG vCPU SET_GUEST_DEBUG  X86_SETUP_MCE vCPU MCE
        X86_GET_MCE_CAP_SUPPORTED system MCE  X86_SET_MCE vCPU MCE  GET_VCPU_EVENTS vCPU VCPU_EVENTS
        SET_VCPU_EVENTS vCPU VCPU_EVENTS  GET_DEBUGREGS vCPU DEBUGREGS  SET_DEBUGREGS vCPU DEBUGREGS
        GET_XSAVE vCPU XSAVE  SET_XSAVE vCPU XSAVE  GET_XCRS vCPU XCRS  SET_XCRS vCPU XCRS  GET_ONE_REG vCPU ONE_REG
        SET_ONE_REG vCPU ONE_REG  KVMCLOCK_CTRL vCPU KVMCLOCK_CTRL  GET_REG_LIST vCPU ONE_REG  SMI vCPU X86_SMM
        GET_NESTED_STATE vCPU NESTED_STATE  SET_NESTED_STATE vCPU NESTED_STATE
        GET_SUPPORTED_HV_CPUID system SYS_HYPERV_CPUID  GET_SUPPORTED_HV_CPUID vCPU HYPERV_CPUID
        XEN_VCPU_GET_ATTR vCPU XEN_HVM  XEN_VCPU_SET_ATTR vCPU XEN_HVM  GET_SREGS2 vCPU SREGS2
        SET_SREGS2 vCPU SREGS2  GET_XSAVE2 vCPU XSAVE2
        """
}
