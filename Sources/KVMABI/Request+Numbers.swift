// Every request of the x86 interface, under the macro's name in Swift's spelling. What is for other architectures only,
// and what Linux has removed, is left out. A test pins each number to <linux/kvm.h>, or by literal where Debian's header
// is too old. Source: include/uapi/linux/kvm.h of Linux 6.18.

internal import CLinuxKVM

extension Request {
    // System
    public static var getAPIVersion: Request { plain(0x00) }
    public static var createVM: Request { plain(0x01) }
    public static var getMSRIndexList: Request { exchange(0x02, kvm_msr_list.self) }
    public static var checkExtension: Request { plain(0x03) }
    public static var getVCPUMmapSize: Request { plain(0x04) }
    public static var getSupportedCPUID: Request { exchange(0x05, kvm_cpuid2.self) }
    public static var getEmulatedCPUID: Request { exchange(0x09, kvm_cpuid2.self) }
    public static var getMSRFeatureIndexList: Request { exchange(0x0a, kvm_msr_list.self) }

    // Virtual machine: memory
    public static var setMemoryRegion: Request { write(0x40, kvm_memory_region.self) }
    public static var createVCPU: Request { plain(0x41) }
    public static var getDirtyLog: Request { unsafe write(0x42, kvm_dirty_log.self) }
    public static var setMemoryAlias: Request { write(0x43, kvm_memory_alias.self) }
    public static var setNrMMUPages: Request { plain(0x44) }
    public static var getNrMMUPages: Request { plain(0x45) }
    public static var setUserMemoryRegion: Request { write(0x46, kvm_userspace_memory_region.self) }
    public static var setTSSAddr: Request { plain(0x47) }
    public static var setIdentityMapAddr: Request { write(0x48, UInt64.self) }
    public static var setUserMemoryRegion2: Request { write(0x49, kvm_userspace_memory_region2.self) }
    public static var clearDirtyLog: Request { unsafe exchange(0xc0, kvm_clear_dirty_log.self) }
    public static var resetDirtyRings: Request { plain(0xc7) }
    public static var setMemoryAttributes: Request { write(0xd2, kvm_memory_attributes.self) }
    public static var createGuestMemfd: Request { exchange(0xd4, kvm_create_guest_memfd.self) }
    public static var preFaultMemory: Request { exchange(0xd5, kvm_pre_fault_memory.self) }

    // Virtual machine: interrupts, timers and devices
    public static var createIRQCHIP: Request { plain(0x60) }
    public static var irqLine: Request { write(0x61, kvm_irq_level.self) }
    public static var getIRQCHIP: Request { exchange(0x62, kvm_irqchip.self) }
    public static var setIRQCHIP: Request { read(0x63, kvm_irqchip.self) }
    public static var createPIT: Request { plain(0x64) }
    public static var getPIT: Request { exchange(0x65, kvm_pit_state.self) }
    public static var setPIT: Request { read(0x66, kvm_pit_state.self) }
    public static var irqLineStatus: Request { exchange(0x67, kvm_irq_level.self) }
    public static var registerCoalescedMMIO: Request { write(0x67, kvm_coalesced_mmio_zone.self) }
    public static var unregisterCoalescedMMIO: Request { write(0x68, kvm_coalesced_mmio_zone.self) }
    public static var setGSIRouting: Request { write(0x6a, kvm_irq_routing.self) }
    public static var reinjectControl: Request { plain(0x71) }
    public static var irqfd: Request { write(0x76, kvm_irqfd.self) }
    public static var createPIT2: Request { write(0x77, kvm_pit_config.self) }
    public static var setBootCPUID: Request { plain(0x78) }
    public static var ioeventfd: Request { write(0x79, kvm_ioeventfd.self) }
    public static var xenHVMConfig: Request { write(0x7a, kvm_xen_hvm_config.self) }
    public static var setClock: Request { write(0x7b, kvm_clock_data.self) }
    public static var getClock: Request { read(0x7c, kvm_clock_data.self) }
    public static var getPIT2: Request { read(0x9f, kvm_pit_state2.self) }
    public static var setPIT2: Request { write(0xa0, kvm_pit_state2.self) }
    public static var setTSCKHz: Request { plain(0xa2) }
    public static var getTSCKHz: Request { plain(0xa3) }
    public static var signalMSI: Request { write(0xa5, kvm_msi.self) }
    public static var setPMUEventFilter: Request { write(0xb2, kvm_pmu_event_filter.self) }
    public static var memoryEncryptOp: Request { exchange(0xba, UInt.self) }
    public static var memoryEncryptRegRegion: Request { read(0xbb, kvm_enc_region.self) }
    public static var memoryEncryptUnregRegion: Request { read(0xbc, kvm_enc_region.self) }
    public static var hypervEventfd: Request { write(0xbd, kvm_hyperv_eventfd.self) }
    public static var x86SetMSRFilter: Request { write(0xc6, kvm_msr_filter.self) }
    public static var xenHVMGetAttr: Request { exchange(0xc8, kvm_xen_hvm_attr.self) }
    public static var xenHVMSetAttr: Request { write(0xc9, kvm_xen_hvm_attr.self) }
    public static var xenHVMEvtchnSend: Request { write(0xd0, kvm_irq_routing_xen_evtchn.self) }

    // Devices and attributes (also of the system, a virtual machine and a vCPU)
    public static var createDevice: Request { exchange(0xe0, kvm_create_device.self) }
    public static var setDeviceAttr: Request { write(0xe1, kvm_device_attr.self) }
    public static var getDeviceAttr: Request { write(0xe2, kvm_device_attr.self) }
    public static var hasDeviceAttr: Request { write(0xe3, kvm_device_attr.self) }
    public static var getStatsFD: Request { plain(0xce) }
    public static var enableCap: Request { write(0xa3, kvm_enable_cap.self) }

    // vCPU
    public static var run: Request { plain(0x80) }
    public static var getRegs: Request { read(0x81, kvm_regs.self) }
    public static var setRegs: Request { write(0x82, kvm_regs.self) }
    public static var getSREGS: Request { read(0x83, kvm_sregs.self) }
    public static var setSREGS: Request { write(0x84, kvm_sregs.self) }
    public static var translate: Request { exchange(0x85, kvm_translation.self) }
    public static var interrupt: Request { write(0x86, kvm_interrupt.self) }
    public static var getMSRS: Request { exchange(0x88, kvm_msrs.self) }
    public static var setMSRS: Request { write(0x89, kvm_msrs.self) }
    public static var setCPUID: Request { write(0x8a, kvm_cpuid.self) }
    public static var setSignalMask: Request { write(0x8b, kvm_signal_mask.self) }
    public static var getFPU: Request { read(0x8c, kvm_fpu.self) }
    public static var setFPU: Request { write(0x8d, kvm_fpu.self) }
    public static var getLAPIC: Request { read(0x8e, kvm_lapic_state.self) }
    public static var setLAPIC: Request { write(0x8f, kvm_lapic_state.self) }
    public static var setCPUID2: Request { write(0x90, kvm_cpuid2.self) }
    public static var getCPUID2: Request { exchange(0x91, kvm_cpuid2.self) }
    public static var tprAccessReporting: Request { exchange(0x92, kvm_tpr_access_ctl.self) }
    public static var setVAPICAddr: Request { write(0x93, kvm_vapic_addr.self) }
    public static var getMPState: Request { read(0x98, kvm_mp_state.self) }
    public static var setMPState: Request { write(0x99, kvm_mp_state.self) }
    public static var nmi: Request { plain(0x9a) }
    public static var setGuestDebug: Request { write(0x9b, kvm_guest_debug.self) }
    public static var x86SetupMCE: Request { write(0x9c, UInt64.self) }
    public static var x86GetMCECapSupported: Request { read(0x9d, UInt64.self) }
    public static var x86SetMCE: Request { write(0x9e, kvm_x86_mce.self) }
    public static var getVCPUEvents: Request { read(0x9f, kvm_vcpu_events.self) }
    public static var setVCPUEvents: Request { write(0xa0, kvm_vcpu_events.self) }
    public static var getDebugregs: Request { read(0xa1, kvm_debugregs.self) }
    public static var setDebugregs: Request { write(0xa2, kvm_debugregs.self) }
    public static var getXSAVE: Request { read(0xa4, kvm_xsave.self) }
    public static var setXSAVE: Request { write(0xa5, kvm_xsave.self) }
    public static var getXCRS: Request { read(0xa6, kvm_xcrs.self) }
    public static var setXCRS: Request { write(0xa7, kvm_xcrs.self) }
    public static var getOneReg: Request { write(0xab, kvm_one_reg.self) }
    public static var setOneReg: Request { write(0xac, kvm_one_reg.self) }
    public static var kvmclockCtrl: Request { plain(0xad) }
    public static var getRegList: Request { exchange(0xb0, kvm_reg_list.self) }
    public static var smi: Request { plain(0xb7) }
    public static var getNestedState: Request { exchange(0xbe, kvm_nested_state.self) }
    public static var setNestedState: Request { write(0xbf, kvm_nested_state.self) }
    public static var getSupportedHVCPUID: Request { exchange(0xc1, kvm_cpuid2.self) }
    public static var xenVCPUGetAttr: Request { exchange(0xca, kvm_xen_vcpu_attr.self) }
    public static var xenVCPUSetAttr: Request { write(0xcb, kvm_xen_vcpu_attr.self) }
    public static var getSREGS2: Request { read(0xcc, kvm_sregs2.self) }
    public static var setSREGS2: Request { write(0xcd, kvm_sregs2.self) }
    public static var getXSAVE2: Request { read(0xcf, kvm_xsave.self) }
}
