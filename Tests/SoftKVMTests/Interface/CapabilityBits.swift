// What each bit changes of a capability whose value is a mask, beside the one that `CapabilityEffect` shows; and where that is
// shown, for bits that have tests of their own.

import KVM
import KVMABI
import Testing

struct CapabilityBit: Sendable, CustomTestStringConvertible {
    let capability: Capability
    let effect: CapabilityEffect
    var testDescription: String { "\(capability.name), \(String(effect.argument, radix: 16))" }

    private init(_ capability: Capability, _ effect: CapabilityEffect) {
        self.capability = capability
        self.effect = effect
    }

    static let all: [CapabilityBit] = quirks + accesses + others

    private static let others: [CapabilityBit] =
        [
            .init(
                .manualDirtyLogProtect2,
                .init(argument: 3, without: "0", with: "ff") { hypervisor, enable in
                    let machine = try TestMachine(hypervisor, source: "hlt") { try enable.on($0) }
                    try machine.machine.setFlags(.logDirtyPages, of: machine.high)
                    return String(try machine.machine.dirtyLog(of: machine.high)[0] & 0xFF, radix: 16)
                }),
            // As the model-specific register of an x2APIC shows it: the whole id.
            .init(
                .x2apicAPI,
                .init(argument: 1, without: "1000000", with: "1") { hypervisor, enable in
                    let machine = try TestMachine(hypervisor, .long, [0xF4]) {
                        try $0.createInterruptControllers()
                        try enable.on($0)
                    }
                    let cpu = try machine.makeCPU(id: 1)
                    try cpu.update { $0.special.apic_base = 0xFEE0_0C00 }
                    return try CapabilityEffect.register(0x20, of: cpu)
                }),
            .init(
                .x2apicAPI,
                .init(argument: 2, without: "1", with: "0") { hypervisor, enable in
                    let machine = try TestMachine(hypervisor, .long, [0xF4]) {
                        try $0.createInterruptControllers()
                        try enable.on($0)
                    }
                    let cpu = try machine.makeCPU()
                    try cpu.update { $0.special.apic_base = 0xFEE0_0D00 }
                    // Enabled by software.
                    var page = try cpu.localAPIC()
                    unsafe withUnsafeMutableBytes(of: &page) { unsafe $0[0xF1] |= 1 }
                    try cpu.setLocalAPIC(page)
                    // FFH is everyone to an xAPIC, and to an x2APIC as long as the quirk lasts.
                    return try machine.machine.signalMSI(address: 0xFEEF_F000, data: 0x40) == .delivered(1) ? "1" : "0"
                }),
        ]

    // MARK: Quirks

    private static let quirks: [CapabilityBit] = [
        // A page of no device's where the local APIC is disabled.
        .init(
            .disableQuirks2,
            .init(argument: 4, without: "ffffffff", with: "client") { hypervisor, enable in
                let machine = try TestMachine(hypervisor, source: "mov ebx, 0xFEE00030\nmov eax, [rbx]\nout 0xE9, eax")
                {
                    try $0.createInterruptControllers()
                    try enable.on($0)
                }
                var cpu = try machine.makeCPU()
                try cpu.update { $0.special.apic_base = 0xFEE0_0100 }
                try cpu.run()
                switch cpu.exit {
                case .portOut(let out): return String(out.value, radix: 16)
                case .mmioRead: return "client"
                case let exit: throw Unexpected(exit)
                }
            }),
        // Where RIP is at the exit, and that the OUT is not done twice.
        .init(
            .disableQuirks2,
            .init(
                argument: 8, without: "2 7e 7f", with: "0 7e 7f", kernels: "its emulator leaves RIP where it was"
            ) { hypervisor, enable in
                let machine = try TestMachine(hypervisor, source: "out 0x7E, al\nout 0x7F, al") { try enable.on($0) }
                var cpu = try machine.makeCPU()
                var ports: [String] = []
                var place: UInt64 = 0
                for index in 0..<2 {
                    try cpu.run()
                    guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
                    ports.append(String(out.port, radix: 16))
                    if index == 0 { place = try cpu.generalRegisters().rip - Place.code }
                }
                return "\(place) \(ports[0]) \(ports[1])"
            }),
        // IA32_MISC_ENABLE.MONITOR is clear, CPUID has the bit.
        .init(
            .disableQuirks2,
            .init(argument: 16, without: "8", with: "0") { hypervisor, enable in
                let source = """
                    mov ecx, 0x1A0
                    rdmsr
                    bts eax, 18
                    wrmsr
                    btr eax, 18
                    wrmsr
                    mov eax, 1
                    cpuid
                    mov eax, ecx
                    and eax, 8
                    out 0xE9, eax
                    """
                return try hex(hypervisor, source, monitor: true, enable)
            }),
        .init(
            .disableQuirks2,
            .init(
                argument: 64, without: "600d", with: "6", kernels: "its emulator has neither MONITOR nor MWAIT"
            ) { hypervisor, enable in
                let source = """
                    handlers
                    attempt over
                    mov eax, 0x8000
                    ; More than 0 is #GP on a processor; nothing is looked at.
                    mov ecx, 1
                    xor edx, edx
                    monitor
                    xor eax, eax
                    mwait
                    mov eax, 0x600D
                    out 0xE9, eax
                    over: hlt
                    """
                return try hex(hypervisor, source, monitor: false, enable)
            }),
    ]

    /// What the guest writes to port E9H first. `monitor`: CPUID's bit for MONITOR.
    private static func hex(
        _ hypervisor: Hypervisor, _ source: String, monitor: Bool, _ enable: CapabilityEffect.Enabling
    ) throws -> String {
        let machine = try TestMachine(hypervisor, source: source) { try enable.on($0) }
        var cpu = try machine.makeCPU()
        try cpu.setCPUID(
            try System(hypervisor).supportedCPUID().map { entry in
                var entry = entry
                if entry.function == 1 { entry.ecx = entry.ecx & ~8 | (monitor ? 8 : 0) }
                return entry
            })
        try cpu.run()
        switch cpu.exit {
        case .portOut(let out): return String(out.value, radix: 16)
        case .internalError where hypervisor == .kernel: return "600d"
        case let exit: throw Unexpected(exit)
        }
    }

    // MARK: Exits for MSRs

    /// KVM_MSR_EXIT_REASON_INVAL, _UNKNOWN, _FILTER: a bad value, no such register, a denied one.
    private static let bad: [(bit: UInt64, source: String)] = [
        (1, "mov ecx, 0xC0000080\nmov eax, -1\nmov edx, -1\nwrmsr"), (2, "mov ecx, 0x4000FFF0\nrdmsr"),
        (4, "mov ecx, 0x176\nrdmsr"),
    ]

    private static let accesses: [CapabilityBit] = bad.map { bit, source in
        .init(
            .x86UserSpaceMSR,
            .init(argument: bit, without: "fault 13", with: "exit") { hypervisor, enable in
                let machine = try TestMachine(hypervisor, source: "handlers\nattempt over\n\(source)\nover: hlt") {
                    try enable.on($0)
                    if bit == 4 { try $0.setMSRFilter(MSRFilter([.init(base: 0x176, allowed: [false])])) }
                }
                var cpu = try machine.makeCPU()
                try cpu.run()
                switch cpu.exit {
                case .portOut(let out): return "fault \(out.value)"
                case .rdmsr(let read): return UInt64(read.cause.rawValue) == bit ? "exit" : "another exit"
                case .wrmsr(let write): return UInt64(write.cause.rawValue) == bit ? "exit" : "another exit"
                case let exit: throw Unexpected(exit)
                }
            })
    }

    // MARK: Bits that are shown elsewhere

    /// By capability and bit.
    static let elsewhere: [Capability: [UInt64: String]] = [
        .syncRegs: [
            1: "OptInTests/registersAreSynchronisedInTheRunArea", 2: "OptInTests/registersAreSynchronisedInTheRunArea",
            4: "OptInTests/registersAreSynchronisedInTheRunArea",
        ],
        .exitHypercall: [1 << 12: "ExitWalkTests/anExitComesToWhoAskedForIt"],
        .adjustClock: [2: "EndpointDeviceTests/clock", 4: "EndpointDeviceTests/clock", 8: "EndpointDeviceTests/clock"],
        .setGuestDebug2: [
            1: "GuestDebugOracleTests/steps", 2: "GuestDebugOracleTests/steps",
            0x1_0000: "GuestDebugOracleTests/softwareBreakpoints", 0x2_0000: "GuestDebugOracleTests/breakpoints",
            0x4_0000: "GuestDebugFlagTests/anExceptionIsInjected",
            0x8_0000: "GuestDebugFlagTests/anExceptionIsInjected",
            0x10_0000: "GuestDebugFlagTests/aStepWithBlockedEventsEndsBehindItsInstruction",
        ],
    ]

    /// The capabilities whose value is a mask.
    static let masks: Set<Capability> = [
        .disableQuirks2, .x86DisableExits, .x2apicAPI, .x86UserSpaceMSR, .syncRegs, .manualDirtyLogProtect2,
        .exitHypercall,
        .adjustClock, .setGuestDebug2,
    ]
}
