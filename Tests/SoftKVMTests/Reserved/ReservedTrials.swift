// Each structure that a client hands over, with one that is right.

import KVMABI

extension ReservedTrial {
    static let all: [ReservedTrial] = vcpuState + machineState + memory + events + extensions

    private static func state(
        _ set: Request, _ get: Request, _ structure: String, values: Set<String> = [],
        undo: @escaping @Sendable (ReservedBench) throws -> Void = { _ in }
    ) -> ReservedTrial {
        ReservedTrial(
            request: set, parts: [("", structure, 0)], values: values, reads: get, undo: undo, handle: { $0.vcpu }
        ) { try $0.call($0.vcpu, get, zeros(StructureLayout[structure]?.size ?? 0)) }
    }

    private static func plain(
        _ request: Request, variant: String = "", _ parts: [(String, String, Int)], values: Set<String> = [],
        places: Set<String> = [], chips: ReservedBench.Chips = .all,
        _ handle: @escaping @Sendable (ReservedBench) -> Handle,
        _ base: @escaping @Sendable (ReservedBench) throws -> [UInt8]
    ) -> ReservedTrial {
        ReservedTrial(
            request: request, variant: variant, parts: parts.map { (prefix: $0.0, layout: $0.1, offset: $0.2) },
            values: values, places: places, chips: chips, handle: handle, base: base)
    }

    private static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

    private static let vcpuState: [ReservedTrial] = [
        state(.setRegs, .getRegs, "kvm_regs"),
        // An interrupt that is queued stays so when the bitmap is empty.
        state(.setSREGS, .getSREGS, "kvm_sregs") { try $0.call($0.vcpu, .setVCPUEvents, zeros(64)) },
        state(.setSREGS2, .getSREGS2, "kvm_sregs2"),
        state(.setFPU, .getFPU, "kvm_fpu", values: ["fpr", "xmm"]),
        state(.setMPState, .getMPState, "kvm_mp_state"),
        state(.setVCPUEvents, .getVCPUEvents, "kvm_vcpu_events"),
        state(.setDebugregs, .getDebugregs, "kvm_debugregs"),
        state(.setXCRS, .getXCRS, "kvm_xcrs"),
        plain(.setGuestDebug, [("", "kvm_guest_debug", 0)], { $0.vcpu }) { _ in bytes(UInt64(1)) + zeros(64) },
        plain(.interrupt, [("", "kvm_interrupt", 0)], chips: .none, { $0.vcpu }) { _ in bytes(UInt32(32)) },
        // One bank; an error that is valid and corrected.
        plain(.x86SetMCE, [("", "kvm_x86_mce", 0)], { $0.vcpu }) {
            try $0.call($0.vcpu, .x86SetupMCE, bytes(UInt64(1)))
            return bytes(UInt64(1) << 63) + zeros(56)
        },
        plain(.tprAccessReporting, [("", "kvm_tpr_access_ctl", 0)], { $0.vcpu }) { _ in zeros(40) },
        plain(.translate, [("", "kvm_translation", 0)], { $0.vcpu }) { _ in zeros(24) },
        plain(.setMSRS, [("", "kvm_msrs", 0), ("entry.", "kvm_msr_entry", 8)], values: ["nmsrs"], { $0.vcpu }) { _ in
            bytes(UInt32(1)) + zeros(4) + bytes(UInt32(0x174)) + zeros(12)
        },
        plain(.getMSRS, [("", "kvm_msrs", 0), ("entry.", "kvm_msr_entry", 8)], values: ["nmsrs"], { $0.vcpu }) { _ in
            bytes(UInt32(1)) + zeros(4) + bytes(UInt32(0x174)) + zeros(12)
        },
        plain(.setCPUID2, [("", "kvm_cpuid2", 0), ("entry.", "kvm_cpuid_entry2", 8)], values: ["nent"], { $0.vcpu }) {
            _ in bytes(UInt32(1)) + zeros(44)
        },
        plain(.setSignalMask, [("", "kvm_signal_mask", 0)], { $0.vcpu }) { _ in bytes(UInt32(8)) + zeros(8) },
    ]

    private static let machineState: [ReservedTrial] = [
        plain(.setClock, [("", "kvm_clock_data", 0)], { $0.machine }) { _ in zeros(48) },
        plain(.setPIT2, [("", "kvm_pit_state2", 0)], values: ["channels"], { $0.machine }) {
            try $0.call($0.machine, .getPIT2, zeros(112))
        },
        plain(.createPIT2, [("", "kvm_pit_config", 0)], chips: .controllers, { $0.machine }) { _ in zeros(64) },
        plain(.reinjectControl, [("", "kvm_reinject_control", 0)], { $0.machine }) { _ in zeros(32) },
        plain(.setIRQCHIP, [("", "kvm_irqchip", 0)], values: ["chip"], { $0.machine }) {
            try $0.call($0.machine, .getIRQCHIP, zeros(520))
        },
        plain(.getIRQCHIP, [("", "kvm_irqchip", 0)], values: ["chip"], { $0.machine }) { _ in zeros(520) },
        plain(
            .setGSIRouting, [("", "kvm_irq_routing", 0), ("entry.", "kvm_irq_routing_entry", 8)], values: ["nr"],
            { $0.machine }
        ) { _ in bytes(UInt32(1)) + zeros(4) + bytes(UInt32(4)) + bytes(UInt32(1)) + zeros(40) },
        plain(
            .setGSIRouting, variant: "MSI", [("", "kvm_irq_routing", 0), ("entry.", "kvm_irq_routing_entry", 8)],
            values: ["nr", "entry.gsi"], { $0.machine }
        ) { _ in
            bytes(UInt32(1)) + zeros(4) + bytes(UInt32(4)) + bytes(UInt32(2)) + zeros(8) + bytes(UInt32(0xFEE0_0000))
                + zeros(28)
        },
    ]

    private static let memory: [ReservedTrial] = [
        plain(
            .setUserMemoryRegion, [("", "kvm_userspace_memory_region", 0)], values: ["memory_size"],
            places: ["userspace_addr"], { $0.machine }
        ) { $0.region(slot: 1, flags: 0, at: 0x10_0000, pages: 2, $0.scratch.address) },
        plain(.getDirtyLog, [("", "kvm_dirty_log", 0)], places: ["dirty_bitmap"], { $0.machine }) {
            zeros(8) + bytes($0.scratch.address)
        },
        plain(.registerCoalescedMMIO, [("", "kvm_coalesced_mmio_zone", 0)], { $0.machine }) { _ in
            bytes(UInt64(0x20_0000)) + bytes(UInt32(4096)) + bytes(UInt32(0))
        },
        plain(.unregisterCoalescedMMIO, [("", "kvm_coalesced_mmio_zone", 0)], { $0.machine }) { _ in
            bytes(UInt64(0x20_0000)) + bytes(UInt32(4096)) + bytes(UInt32(0))
        },
    ]

    private static let events: [ReservedTrial] = [
        plain(.irqfd, [("", "kvm_irqfd", 0)], places: ["fd", "resamplefd"], { $0.machine }) {
            bytes($0.events[0]) + bytes(UInt32(5)) + zeros(4) + bytes($0.events[1]) + zeros(16)
        },
        plain(.ioeventfd, [("", "kvm_ioeventfd", 0)], places: ["fd"], { $0.machine }) {
            bytes(UInt64(7)) + bytes(UInt64(0x30_0000)) + bytes(UInt32(4)) + bytes($0.events[0]) + zeros(40)
        },
        plain(.irqLine, [("", "kvm_irq_level", 0)], { $0.machine }) { _ in bytes(UInt32(5)) + bytes(UInt32(0)) },
        plain(.irqLineStatus, [("", "kvm_irq_level", 0)], { $0.machine }) { _ in bytes(UInt32(5)) + bytes(UInt32(0)) },
        plain(.signalMSI, [("", "kvm_msi", 0)], { $0.machine }) { _ in
            bytes(UInt32(0xFEE0_0000)) + zeros(4) + bytes(UInt32(0x40)) + zeros(20)
        },
    ]

    private static let extensions: [ReservedTrial] = [
        plain(.enableCap, variant: "exception payload", [("", "kvm_enable_cap", 0)], values: ["cap"], { $0.machine }) {
            _ in
            bytes(Capability.exceptionPayload.rawValue) + zeros(100)
        },
        plain(.enableCap, variant: "user-space MSRs", [("", "kvm_enable_cap", 0)], values: ["cap"], { $0.machine }) {
            _ in
            bytes(Capability.x86UserSpaceMSR.rawValue) + zeros(100)
        },
        plain(.enableCap, variant: "x2APIC", [("", "kvm_enable_cap", 0)], values: ["cap"], { $0.machine }) { _ in
            bytes(Capability.x2apicAPI.rawValue) + zeros(100)
        },
        plain(.x86SetMSRFilter, [("", "kvm_msr_filter", 0)], values: ["ranges"], { $0.machine }) { _ in zeros(392) },
        plain(
            .x86SetMSRFilter, variant: "one range",
            [("", "kvm_msr_filter", 0), ("range.", "kvm_msr_filter_range", 8)],
            values: ["ranges", "range.nmsrs", "range.base"], places: ["range.bitmap"], { $0.machine }
        ) {
            zeros(8) + bytes(UInt32(1)) + bytes(UInt32(8)) + bytes(UInt32(0)) + zeros(4) + bytes($0.scratch.address)
                + zeros(360)
        },
    ]
}
