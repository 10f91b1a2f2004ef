// The layout of every structure of the interface that x86 has, as it stands in the kernel's binary interface: name, size,
// then each field with its offset in bytes. A row that is indented further continues the one above.

extension StructureLayout {
    static let table: StaticString = """
        kvm_clear_dirty_log 24 slot 0 num_pages 4 first_page 8 dirty_bitmap 16
        kvm_clock_data 48 clock 0 flags 8 pad0 12 realtime 16 host_tsc 24 pad 32
        kvm_coalesced_mmio 24 phys_addr 0 len 8 data 16 pio 12
        kvm_coalesced_mmio_ring 8 first 0 last 4
        kvm_coalesced_mmio_zone 16 addr 0 size 8 pio 12
        kvm_cpuid 8 nent 0 padding 4
        kvm_cpuid2 8 nent 0 padding 4
        kvm_cpuid_entry 24 function 0 eax 4 ebx 8 ecx 12 edx 16 padding 20
        kvm_cpuid_entry2 40 function 0 index 4 flags 8 eax 12 ebx 16 ecx 20 edx 24 padding 28
        kvm_create_device 12 type 0 fd 4 flags 8
        kvm_debug_exit_arch 32 exception 0 pad 4 pc 8 dr6 16 dr7 24
        kvm_debugregs 128 db 0 dr6 32 dr7 40 flags 48 reserved 56
        kvm_device_attr 24 flags 0 group 4 attr 8 addr 16
        kvm_dirty_gfn 16 flags 0 slot 4 offset 8
        kvm_dirty_log 16 slot 0 padding1 4 dirty_bitmap 8
        kvm_dtable 16 base 0 limit 8 padding 10
        kvm_enable_cap 104 cap 0 flags 4 args 8 pad 40
        kvm_enc_region 16 addr 0 size 8
        kvm_fpu 416 fpr 0 fcw 128 fsw 130 ftwx 132 pad1 133 last_opcode 134 last_ip 136 last_dp 144 xmm 152 mxcsr 408
            pad2 412
        kvm_guest_debug 72 control 0 pad 4 arch 8
        kvm_guest_debug_arch 64 debugreg 0
        kvm_hyperv_eventfd 24 conn_id 0 fd 4 flags 8 padding 12
        kvm_interrupt 4 irq 0
        kvm_ioapic_state 216 base_address 0 ioregsel 8 id 12 irr 16 pad 20 redirtbl 24
        kvm_ioeventfd 64 datamatch 0 addr 8 len 16 fd 20 flags 24 pad 28
        kvm_irq_level 8 level 4 irq 0 status 0
        kvm_irq_routing 8 nr 0 flags 4
        kvm_irq_routing_entry 48 gsi 0 type 4 flags 8 pad 12 u 16 u.irqchip 16 u.msi 16
        kvm_irq_routing_irqchip 8 irqchip 0 pin 4
        kvm_irq_routing_msi 16 address_lo 0 address_hi 4 data 8 devid 12
        kvm_irq_routing_xen_evtchn 12 port 0 vcpu 4 priority 8
        kvm_irqchip 520 chip_id 0 pad 4 chip 8 chip.pic 8 chip.ioapic 8
        kvm_irqfd 32 fd 0 gsi 4 flags 8 resamplefd 12 pad 16
        kvm_lapic_state 1024 regs 0
        kvm_memory_alias 32 slot 0 flags 4 guest_phys_addr 8 memory_size 16 target_phys_addr 24
        kvm_memory_region 24 slot 0 flags 4 guest_phys_addr 8 memory_size 16
        kvm_mp_state 4 mp_state 0
        kvm_msi 32 address_lo 0 address_hi 4 data 8 flags 12 devid 16 pad 20
        kvm_msr_entry 16 index 0 reserved 4 data 8
        kvm_msr_filter 392 flags 0 ranges 8
        kvm_msr_filter_range 24 flags 0 nmsrs 4 base 8 bitmap 16
        kvm_msr_list 4 nmsrs 0
        kvm_msrs 8 nmsrs 0 pad 4
        kvm_nested_state 128 flags 0 format 2 size 4 hdr 8 data 128
        kvm_one_reg 16 id 0 addr 8
        kvm_pic_state 16 last_irr 0 irr 1 imr 2 isr 3 priority_add 4 irq_base 5 read_reg_select 6 poll 7 special_mask 8
            init_state 9 auto_eoi 10 rotate_on_auto_eoi 11 special_fully_nested_mode 12 init4 13 elcr 14 elcr_mask 15
        kvm_pit_channel_state 24 count 0 latched_count 4 count_latched 6 status_latched 7 status 8 read_state 9
            write_state 10 write_latch 11 rw_mode 12 mode 13 bcd 14 gate 15 count_load_time 16
        kvm_pit_config 64 flags 0 pad 4
        kvm_pit_state 72 channels 0
        kvm_pit_state2 112 channels 0 flags 72 reserved 76
        kvm_pmu_event_filter 32 action 0 nevents 4 fixed_counter_bitmap 8 flags 12 pad 16
        kvm_reg_list 8 n 0
        kvm_regs 144 rax 0 rbx 8 rcx 16 rdx 24 rsi 32 rdi 40 rsp 48 rbp 56 r8 64 r9 72 r10 80 r11 88 r12 96 r13 104
            r14 112 r15 120 rip 128 rflags 136
        kvm_reinject_control 32 pit_reinject 0 reserved 1
        kvm_run 2352 request_interrupt_window 0 immediate_exit 1 padding1 2 exit_reason 8
            ready_for_interrupt_injection 12 if_flag 13 flags 14 cr8 16 apic_base 24 kvm_valid_regs 288
            kvm_dirty_regs 296 s 304 hw.hardware_exit_reason 32 fail_entry.hardware_entry_failure_reason 32
            fail_entry.cpu 40 ex.exception 32 ex.error_code 36 io.direction 32 io.size 33 io.port 34 io.count 36
            io.data_offset 40 debug.arch 32 mmio.phys_addr 32 mmio.data 40 mmio.len 48 mmio.is_write 52 hypercall.nr 32
            hypercall.args 40 hypercall.ret 88 hypercall.longmode 96 tpr_access.rip 32 tpr_access.is_write 40
            internal.suberror 32 internal.ndata 36 internal.data 40 emulation_failure.flags 40
            emulation_failure.insn_size 48 emulation_failure.insn_bytes 49 system_event.type 32 system_event.ndata 36
            system_event.data 40 eoi.vector 32 hyperv.type 32 hyperv.u.synic.msr 40 hyperv.u.synic.control 48
            hyperv.u.hcall.input 40 hyperv.u.hcall.result 48 hyperv.u.hcall.params 56 msr.error 32 msr.reason 40
            msr.index 44 msr.data 48 xen.type 32 xen.u.hcall.longmode 40 xen.u.hcall.cpl 44 xen.u.hcall.input 48
            xen.u.hcall.result 56 xen.u.hcall.params 64 notify.flags 32 s.regs 304 s.regs.sregs 448 s.regs.events 760
        kvm_segment 24 base 0 limit 8 selector 12 type 14 present 15 dpl 16 db 17 s 18 l 19 g 20 avl 21 unusable 22
            padding 23
        kvm_signal_mask 4 len 0
        kvm_sregs 312 cs 0 ds 24 es 48 fs 72 gs 96 ss 120 tr 144 ldt 168 gdt 192 idt 208 cr0 224 cr2 232 cr3 240 cr4 248
            cr8 256 efer 264 apic_base 272 interrupt_bitmap 280
        kvm_sregs2 320 cs 0 ds 24 es 48 fs 72 gs 96 ss 120 tr 144 ldt 168 gdt 192 idt 208 cr0 224 cr2 232 cr3 240
            cr4 248 cr8 256 efer 264 apic_base 272 flags 280 pdptrs 288
        kvm_stats_desc 16 flags 0 exponent 4 size 6 offset 8 bucket_size 12
        kvm_stats_header 24 flags 0 name_size 4 num_desc 8 id_offset 12 desc_offset 16 data_offset 20
        kvm_sync_regs 520 regs 0 sregs 144 events 456
        kvm_tpr_access_ctl 40 enabled 0 flags 4 reserved 8
        kvm_translation 24 linear_address 0 physical_address 8 valid 16 writeable 17 usermode 18 pad 19
        kvm_userspace_memory_region 32 slot 0 flags 4 guest_phys_addr 8 memory_size 16 userspace_addr 24
        kvm_vapic_addr 8 vapic_addr 0
        kvm_vcpu_events 64 exception 0 interrupt 8 nmi 12 sipi_vector 16 flags 20 smi 24 triple_fault 28 reserved 29
            exception_has_payload 55 exception_payload 56 exception.injected 0 exception.nr 1 exception.has_error_code 2
            exception.pending 3 exception.error_code 4 interrupt.injected 8 interrupt.nr 9 interrupt.soft 10
            interrupt.shadow 11 nmi.injected 12 nmi.pending 13 nmi.masked 14 smi.smm 24 smi.pending 25
            smi.smm_inside_nmi 26 smi.latched_init 27 triple_fault.pending 28
        kvm_x86_mce 64 status 0 addr 8 misc 16 mcg_status 24 bank 32 pad1 33 pad2 40
        kvm_xcr 16 xcr 0 reserved 4 value 8
        kvm_xcrs 392 nr_xcrs 0 flags 4 xcrs 8 padding 264
        kvm_xen_hvm_attr 72 type 0 pad 2 u 8
        kvm_xen_hvm_config 56 flags 0 msr 4 blob_addr_32 8 blob_addr_64 16 blob_size_32 24 blob_size_64 25 pad2 26
        kvm_xen_vcpu_attr 72 type 0 pad 2 u 8
        kvm_xsave 4096 region 0
        """
}
