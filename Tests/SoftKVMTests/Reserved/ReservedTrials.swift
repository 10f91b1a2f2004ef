// Each structure that a client hands over, with one that is right.

import KVMABI

extension ReservedTrial {
    static let all: [ReservedTrial] = vcpuState + machineState + chips + memory + events + extensions

    private static func layout(_ name: String) -> StructureLayout {
        guard let layout = StructureLayout[name] else { preconditionFailure("there is no structure \(name)") }
        return layout
    }

    private static func state(
        _ set: Request, _ get: Request, _ structure: String, values: Set<String> = [],
        undo: @escaping @Sendable (ReservedBench) throws -> Void = { _ in }
    ) -> ReservedTrial {
        state(set, get, layout(structure), values: values, undo: undo, { $0.vcpu })
    }

    /// What is read, changed by a bit and set. `request` is what the request that reads is given.
    private static func state(
        _ set: Request, _ get: Request, variant: String = "", _ structure: StructureLayout, values: Set<String> = [],
        at offset: Int = 0, request: [UInt8]? = nil,
        undo: @escaping @Sendable (ReservedBench) throws -> Void = { _ in },
        _ handle: @escaping @Sendable (ReservedBench) -> Handle
    ) -> ReservedTrial {
        ReservedTrial(
            request: set, variant: variant, parts: [("", structure, offset)], values: values, reads: get, undo: undo,
            handle: handle
        ) { try $0.call(handle($0), get, request ?? zeros(structure.size)) }
    }

    private static func plain(
        _ request: Request, variant: String = "", _ parts: [(String, String, Int)], values: Set<String> = [],
        places: Set<String> = [], chips: ReservedBench.Chips = .all,
        _ handle: @escaping @Sendable (ReservedBench) -> Handle,
        _ base: @escaping @Sendable (ReservedBench) throws -> [UInt8]
    ) -> ReservedTrial {
        ReservedTrial(
            request: request, variant: variant, parts: parts.map { (prefix: $0.0, layout: layout($0.1), offset: $0.2) },
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

    private static let chips: [ReservedTrial] = [
        state(.setLAPIC, .getLAPIC, localAPIC, values: ["initial_count", "current_count"], { $0.vcpu }),
        state(
            .setIRQCHIP, .getIRQCHIP, variant: "8259", layout("kvm_pic_state"), at: 8, request: zeros(520),
            { $0.machine }),
        state(
            .setIRQCHIP, .getIRQCHIP, variant: "I/O APIC", ioapic, at: 8, request: bytes(UInt32(2)) + zeros(516),
            { $0.machine }),
        state(
            .setPIT2, .getPIT2, pit,
            values: ["channels[0].count_load_time", "channels[1].count_load_time", "channels[2].count_load_time"],
            { $0.machine }),
        // State that is there, whatever it is, rather than the initial one.
        ReservedTrial(
            request: .setXSAVE, parts: [("", xsave, 0)], reads: .getXSAVE, handle: { $0.vcpu }
        ) {
            var area = try $0.call($0.vcpu, .getXSAVE, zeros(4096))
            for register in 0..<16 {
                area[160 + register * 16] = 1
                area[576 + register * 16] = 1
            }
            area[512] = 7
            try $0.call($0.vcpu, .setXSAVE, area)
            return try $0.call($0.vcpu, .getXSAVE, area)
        },
    ]

    private static let pit = StructureLayout(
        name: "kvm_pit_state2", size: 112,
        fields: (0..<3).flatMap { channel in
            layout("kvm_pit_channel_state").fields.map {
                .init(name: "channels[\(channel)].\($0.name)", offset: channel * 24 + $0.offset)
            }
        } + [.init(name: "flags", offset: 72), .init(name: "reserved", offset: 76)])

    /// The I/O APIC with its first and its last redirection entry.
    private static let ioapic = StructureLayout(
        name: "kvm_ioapic_state", size: 216,
        fields: layout("kvm_ioapic_state").fields.filter { $0.name != "redirtbl" } + [
            .init(name: "redirtbl[0]", offset: 24), .init(name: "redirtbl[1…22]", offset: 32),
            .init(name: "redirtbl[23]", offset: 208),
        ])

    /// The registers of the page, and what is between them. Intel SDM vol. 3, table 12-1.
    private static let localAPIC: StructureLayout = {
        let registers: [(String, Int)] = [
            ("id", 0x20), ("version", 0x30), ("tpr", 0x80), ("apr", 0x90), ("ppr", 0xA0), ("eoi", 0xB0),
            ("remote_read", 0xC0), ("ldr", 0xD0), ("dfr", 0xE0), ("svr", 0xF0), ("isr[0]", 0x100), ("isr[1…7]", 0x110),
            ("tmr[0]", 0x180), ("tmr[1…7]", 0x190), ("irr[0]", 0x200), ("irr[1…7]", 0x210), ("esr", 0x280),
            ("lvt_cmci", 0x2F0), ("icr", 0x300), ("icr2", 0x310), ("lvt_timer", 0x320), ("lvt_thermal", 0x330),
            ("lvt_performance", 0x340), ("lvt_lint0", 0x350), ("lvt_lint1", 0x360), ("lvt_error", 0x370),
            ("initial_count", 0x380), ("current_count", 0x390), ("divide", 0x3E0),
        ]
        let fields = registers.flatMap { name, offset -> [StructureLayout.Field] in
            let isBank = name.hasSuffix("…7]")
            return isBank
                ? [.init(name: name, offset: offset)]
                : [.init(name: name, offset: offset), .init(name: "\(name).reserved", offset: offset + 4)]
        }
        return StructureLayout(
            name: "kvm_lapic_state", size: 1024, fields: [.init(name: "before_id", offset: 0)] + fields)
    }()

    /// An XSAVE area with x87, SSE and AVX state, in the standard format. Intel SDM vol. 1, 13.4.
    private static let xsave: StructureLayout = {
        let fields: [(String, Int)] = [
            ("fcw", 0), ("fsw", 2), ("ftw", 4), ("abridged", 5), ("fop", 6), ("fip", 8), ("fdp", 16), ("mxcsr", 24),
            ("mxcsr_mask", 28), ("st", 32), ("xmm", 160), ("available", 416), ("xstate_bv", 512), ("xcomp_bv", 520),
            ("reserved", 528), ("ymmh", 576), ("beyond", 832),
        ]
        return StructureLayout(
            name: "kvm_xsave", size: 4096, fields: fields.map { .init(name: $0.0, offset: $0.1) })
    }()

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
