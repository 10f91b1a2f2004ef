// Structures as Swift sees them, against the table; the table against <linux/kvm.h> as the C compiler sees it; and by
// literal what Debian's header is too old for.

import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct StructureTests {
    @Test func theImporterSeesTheSizesOfTheTable() {
        let sizes: [(String, Int)] = StructureTests.sizes
        #expect(sizes.count == StructureLayout.all.count)
        for (name, size) in sizes {
            #expect(StructureLayout.all.first { $0.name == name }?.size == size, "\(name)")
        }
    }

    // Skipped where no C compiler is: the header can't be asked then.
    @Test(.enabled(if: CProbe.isAvailable, "no C compiler (cc) on this machine"))
    func theHeaderAgreesWithTheTable() throws {
        var probe = CProbe()
        for layout in StructureLayout.all {
            probe.print(layout.name, "sizeof(struct \(layout.name))")
            for field in layout.fields {
                probe.print("\(layout.name).\(field.name)", "__builtin_offsetof(struct \(layout.name), \(field.name))")
            }
        }
        let answers = try probe.run()
        for layout in StructureLayout.all {
            #expect(answers[layout.name] == UInt64(layout.size), "\(layout.name)")
            for field in layout.fields {
                #expect(
                    answers["\(layout.name).\(field.name)"] == UInt64(field.offset), "\(layout.name).\(field.name)")
            }
        }
    }

    @Test func theRunAreaIsReadWhereTheTableSays() {
        let offsets: [(String, Int)] = [
            ("request_interrupt_window", RunArea.Offset.requestInterruptWindow),
            ("immediate_exit", RunArea.Offset.immediateExit),
            ("exit_reason", RunArea.Offset.exitReason),
            ("ready_for_interrupt_injection", RunArea.Offset.readyForInterruptInjection),
            ("if_flag", RunArea.Offset.ifFlag),
            ("flags", RunArea.Offset.flags),
            ("cr8", RunArea.Offset.cr8),
            ("apic_base", RunArea.Offset.apicBase),
            ("io.direction", RunArea.Offset.payload),
            ("kvm_valid_regs", RunArea.Offset.validRegs),
            ("kvm_dirty_regs", RunArea.Offset.dirtyRegs),
            ("s.regs", RunArea.Offset.syncRegs),
        ]
        for (field, offset) in offsets { #expect(StructureLayout.offset("kvm_run", field) == offset, "\(field)") }
        #expect(RunArea.Offset.validRegs - RunArea.Offset.payload == RunArea.payloadSize)
    }

    @Test func exitsAreWhereTheTableSays() {
        let offsets: [(String, Int)] = [
            ("io.direction", ExitLayout.ioDirection), ("io.size", ExitLayout.ioSize), ("io.port", ExitLayout.ioPort),
            ("io.count", ExitLayout.ioCount), ("io.data_offset", ExitLayout.ioDataOffset),
            ("mmio.phys_addr", ExitLayout.mmioAddress), ("mmio.data", ExitLayout.mmioData),
            ("mmio.len", ExitLayout.mmioLength), ("mmio.is_write", ExitLayout.mmioIsWrite),
            ("hw.hardware_exit_reason", ExitLayout.hardwareExitReason),
            ("ex.exception", ExitLayout.exceptionVector), ("ex.error_code", ExitLayout.exceptionErrorCode),
            ("debug.arch", ExitLayout.debugException),
            ("hypercall.nr", ExitLayout.hypercallNumber), ("hypercall.args", ExitLayout.hypercallArguments),
            ("hypercall.ret", ExitLayout.hypercallResult), ("hypercall.longmode", ExitLayout.hypercallFlags),
            ("msr.error", ExitLayout.msrError), ("msr.reason", ExitLayout.msrReason),
            ("fail_entry.hardware_entry_failure_reason", ExitLayout.hardwareEntryFailureReason),
            ("internal.suberror", ExitLayout.internalSuberror), ("internal.ndata", ExitLayout.internalDataCount),
            ("internal.data", ExitLayout.internalData), ("eoi.vector", ExitLayout.eoiVector),
            ("tpr_access.rip", ExitLayout.tprAccessRIP), ("tpr_access.is_write", ExitLayout.tprAccessIsWrite),
        ]
        for (field, offset) in offsets { #expect(StructureLayout.offset("kvm_run", field) == offset, "\(field)") }
    }

    @Test func whatTheHeaderLacksIsPinnedByLiteral() {
        typealias Region = kvm_userspace_memory_region2
        #expect(MemoryLayout<Region>.size == 160)
        #expect(MemoryLayout<Region>.offset(of: \.slot) == 0)
        #expect(MemoryLayout<Region>.offset(of: \.flags) == 4)
        #expect(MemoryLayout<Region>.offset(of: \.guest_phys_addr) == 8)
        #expect(MemoryLayout<Region>.offset(of: \.memory_size) == 16)
        #expect(MemoryLayout<Region>.offset(of: \.userspace_addr) == 24)
        #expect(MemoryLayout<Region>.offset(of: \.guest_memfd_offset) == 32)
        #expect(MemoryLayout<Region>.offset(of: \.guest_memfd) == 40)
        #expect(MemoryLayout<Region>.offset(of: \.pad1) == 44)
        #expect(MemoryLayout<Region>.offset(of: \.pad2) == 48)
        #expect(MemoryLayout<kvm_memory_attributes>.size == 32)
        #expect(MemoryLayout<kvm_memory_attributes>.offset(of: \.address) == 0)
        #expect(MemoryLayout<kvm_memory_attributes>.offset(of: \.size) == 8)
        #expect(MemoryLayout<kvm_memory_attributes>.offset(of: \.attributes) == 16)
        #expect(MemoryLayout<kvm_memory_attributes>.offset(of: \.flags) == 24)
        #expect(MemoryLayout<kvm_create_guest_memfd>.size == 64)
        #expect(MemoryLayout<kvm_create_guest_memfd>.offset(of: \.size) == 0)
        #expect(MemoryLayout<kvm_create_guest_memfd>.offset(of: \.flags) == 8)
        #expect(MemoryLayout<kvm_create_guest_memfd>.offset(of: \.reserved) == 16)
        #expect(MemoryLayout<kvm_pre_fault_memory>.size == 64)
        #expect(MemoryLayout<kvm_pre_fault_memory>.offset(of: \.gpa) == 0)
        #expect(MemoryLayout<kvm_pre_fault_memory>.offset(of: \.size) == 8)
        #expect(MemoryLayout<kvm_pre_fault_memory>.offset(of: \.flags) == 16)
        #expect(MemoryLayout<kvm_pre_fault_memory>.offset(of: \.padding) == 24)
        #expect(MemoryLayout<kvm_memory_fault_exit>.size == 24)
        #expect(MemoryLayout<kvm_memory_fault_exit>.offset(of: \.flags) == 0)
        #expect(MemoryLayout<kvm_memory_fault_exit>.offset(of: \.gpa) == 8)
        #expect(MemoryLayout<kvm_memory_fault_exit>.offset(of: \.size) == 16)
    }

    /// Each structure of the table, as the importer sees it.
    static let sizes: [(String, Int)] = {
        var sizes: [(String, Int)] = []
        func add<T>(_ name: String, _ type: T.Type) { sizes.append((name, MemoryLayout<T>.size)) }
        unsafe add("kvm_clear_dirty_log", kvm_clear_dirty_log.self)
        add("kvm_clock_data", kvm_clock_data.self)
        add("kvm_coalesced_mmio", kvm_coalesced_mmio.self)
        add("kvm_coalesced_mmio_ring", kvm_coalesced_mmio_ring.self)
        add("kvm_coalesced_mmio_zone", kvm_coalesced_mmio_zone.self)
        add("kvm_cpuid", kvm_cpuid.self)
        add("kvm_cpuid2", kvm_cpuid2.self)
        add("kvm_cpuid_entry", kvm_cpuid_entry.self)
        add("kvm_cpuid_entry2", kvm_cpuid_entry2.self)
        add("kvm_create_device", kvm_create_device.self)
        add("kvm_debug_exit_arch", kvm_debug_exit_arch.self)
        add("kvm_debugregs", kvm_debugregs.self)
        add("kvm_device_attr", kvm_device_attr.self)
        add("kvm_dirty_gfn", kvm_dirty_gfn.self)
        unsafe add("kvm_dirty_log", kvm_dirty_log.self)
        add("kvm_dtable", kvm_dtable.self)
        add("kvm_enable_cap", kvm_enable_cap.self)
        add("kvm_enc_region", kvm_enc_region.self)
        add("kvm_fpu", kvm_fpu.self)
        add("kvm_guest_debug", kvm_guest_debug.self)
        add("kvm_guest_debug_arch", kvm_guest_debug_arch.self)
        add("kvm_hyperv_eventfd", kvm_hyperv_eventfd.self)
        add("kvm_interrupt", kvm_interrupt.self)
        add("kvm_ioapic_state", kvm_ioapic_state.self)
        add("kvm_ioeventfd", kvm_ioeventfd.self)
        add("kvm_irq_level", kvm_irq_level.self)
        add("kvm_irq_routing", kvm_irq_routing.self)
        add("kvm_irq_routing_entry", kvm_irq_routing_entry.self)
        add("kvm_irq_routing_irqchip", kvm_irq_routing_irqchip.self)
        add("kvm_irq_routing_msi", kvm_irq_routing_msi.self)
        add("kvm_irq_routing_xen_evtchn", kvm_irq_routing_xen_evtchn.self)
        add("kvm_irqchip", kvm_irqchip.self)
        add("kvm_irqfd", kvm_irqfd.self)
        add("kvm_lapic_state", kvm_lapic_state.self)
        add("kvm_memory_alias", kvm_memory_alias.self)
        add("kvm_memory_region", kvm_memory_region.self)
        add("kvm_mp_state", kvm_mp_state.self)
        add("kvm_msi", kvm_msi.self)
        add("kvm_msr_entry", kvm_msr_entry.self)
        add("kvm_msr_filter", kvm_msr_filter.self)
        unsafe add("kvm_msr_filter_range", kvm_msr_filter_range.self)
        add("kvm_msr_list", kvm_msr_list.self)
        add("kvm_msrs", kvm_msrs.self)
        add("kvm_nested_state", kvm_nested_state.self)
        add("kvm_one_reg", kvm_one_reg.self)
        add("kvm_pic_state", kvm_pic_state.self)
        add("kvm_pit_channel_state", kvm_pit_channel_state.self)
        add("kvm_pit_config", kvm_pit_config.self)
        add("kvm_pit_state", kvm_pit_state.self)
        add("kvm_pit_state2", kvm_pit_state2.self)
        add("kvm_pmu_event_filter", kvm_pmu_event_filter.self)
        add("kvm_reg_list", kvm_reg_list.self)
        add("kvm_regs", kvm_regs.self)
        add("kvm_reinject_control", kvm_reinject_control.self)
        add("kvm_run", kvm_run.self)
        add("kvm_segment", kvm_segment.self)
        add("kvm_signal_mask", kvm_signal_mask.self)
        add("kvm_sregs", kvm_sregs.self)
        add("kvm_sregs2", kvm_sregs2.self)
        add("kvm_stats_desc", kvm_stats_desc.self)
        add("kvm_stats_header", kvm_stats_header.self)
        add("kvm_sync_regs", kvm_sync_regs.self)
        add("kvm_tpr_access_ctl", kvm_tpr_access_ctl.self)
        add("kvm_translation", kvm_translation.self)
        add("kvm_userspace_memory_region", kvm_userspace_memory_region.self)
        add("kvm_vapic_addr", kvm_vapic_addr.self)
        add("kvm_vcpu_events", kvm_vcpu_events.self)
        add("kvm_x86_mce", kvm_x86_mce.self)
        add("kvm_xcr", kvm_xcr.self)
        add("kvm_xcrs", kvm_xcrs.self)
        add("kvm_xen_hvm_attr", kvm_xen_hvm_attr.self)
        add("kvm_xen_hvm_config", kvm_xen_hvm_config.self)
        add("kvm_xen_vcpu_attr", kvm_xen_vcpu_attr.self)
        add("kvm_xsave", kvm_xsave.self)
        return sizes
    }()
}
