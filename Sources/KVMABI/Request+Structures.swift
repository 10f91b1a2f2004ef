// Which structure each request's argument points to, by the names of <linux/kvm.h>. What is not here takes a value or nothing.

extension Request {
    /// The structure that the argument points to; nil for a value.
    public var structure: StructureLayout? {
        Request.structures[name].flatMap { StructureLayout[$0] }
    }

    /// Whether the argument is an address, of a structure or of a plain number.
    public var takesAddress: Bool { size > 0 }

    private static let structures: [String: String] = {
        let words = structureTable.description.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init)
        var structures: [String: String] = [:]
        for index in stride(from: 0, to: words.count - 1, by: 2) {
            structures["KVM_\(words[index])"] = "kvm_\(words[index + 1])"
        }
        return structures
    }()

    private static let structureTable: StaticString = """
        GET_MSR_INDEX_LIST msr_list GET_MSR_FEATURE_INDEX_LIST msr_list GET_SUPPORTED_CPUID cpuid2
        GET_EMULATED_CPUID cpuid2 SET_MEMORY_REGION memory_region GET_DIRTY_LOG dirty_log SET_MEMORY_ALIAS memory_alias
        SET_USER_MEMORY_REGION userspace_memory_region CLEAR_DIRTY_LOG clear_dirty_log IRQ_LINE irq_level
        IRQ_LINE_STATUS irq_level GET_IRQCHIP irqchip SET_IRQCHIP irqchip GET_PIT pit_state SET_PIT pit_state
        REGISTER_COALESCED_MMIO coalesced_mmio_zone UNREGISTER_COALESCED_MMIO coalesced_mmio_zone
        SET_GSI_ROUTING irq_routing IRQFD irqfd CREATE_PIT2 pit_config IOEVENTFD ioeventfd XEN_HVM_CONFIG xen_hvm_config
        SET_CLOCK clock_data GET_CLOCK clock_data GET_PIT2 pit_state2 SET_PIT2 pit_state2 SIGNAL_MSI msi
        SET_PMU_EVENT_FILTER pmu_event_filter MEMORY_ENCRYPT_REG_REGION enc_region
        MEMORY_ENCRYPT_UNREG_REGION enc_region HYPERV_EVENTFD hyperv_eventfd X86_SET_MSR_FILTER msr_filter
        CREATE_DEVICE create_device SET_DEVICE_ATTR device_attr GET_DEVICE_ATTR device_attr HAS_DEVICE_ATTR device_attr
        GET_REGS regs SET_REGS regs GET_SREGS sregs SET_SREGS sregs GET_SREGS2 sregs2 SET_SREGS2 sregs2
        TRANSLATE translation INTERRUPT interrupt GET_MSRS msrs SET_MSRS msrs SET_CPUID cpuid SET_CPUID2 cpuid2
        GET_CPUID2 cpuid2 SET_SIGNAL_MASK signal_mask GET_FPU fpu SET_FPU fpu GET_LAPIC lapic_state
        SET_LAPIC lapic_state TPR_ACCESS_REPORTING tpr_access_ctl SET_VAPIC_ADDR vapic_addr X86_SET_MCE x86_mce
        GET_MP_STATE mp_state SET_MP_STATE mp_state SET_GUEST_DEBUG guest_debug GET_VCPU_EVENTS vcpu_events
        SET_VCPU_EVENTS vcpu_events GET_DEBUGREGS debugregs SET_DEBUGREGS debugregs GET_XSAVE xsave GET_XSAVE2 xsave
        SET_XSAVE xsave GET_XCRS xcrs SET_XCRS xcrs ENABLE_CAP enable_cap GET_ONE_REG one_reg SET_ONE_REG one_reg
        GET_REG_LIST reg_list GET_NESTED_STATE nested_state SET_NESTED_STATE nested_state
        REINJECT_CONTROL reinject_control XEN_HVM_GET_ATTR xen_hvm_attr XEN_HVM_SET_ATTR xen_hvm_attr
        XEN_VCPU_GET_ATTR xen_vcpu_attr XEN_VCPU_SET_ATTR xen_vcpu_attr
        """
}
