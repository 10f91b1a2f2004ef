// What a capability that can be enabled changes, as a client or its guest sees it.

import KVM
import KVMABI

/// What is seen of a capability without it and with it.
struct CapabilityEffect: Sendable {
    /// The first argument of KVM_ENABLE_CAP.
    let argument: UInt64
    let without: String
    let with: String
    /// Why a kernel may show no effect.
    var kernels: String?
    /// Looks, after `enable` was done where it belongs; it does nothing where the capability is to stay off.
    let seen: @Sendable (Hypervisor, _ enable: Enabling) throws -> String

    /// Turns the capability on, or leaves it.
    struct Enabling: Sendable {
        let setting: CapabilitySetting?
        func on(_ machine: borrowing VirtualMachine) throws { if let setting { try machine.enable(setting) } }
        func on(_ cpu: borrowing VirtualCPU) throws { if let setting { try cpu.enable(setting) } }
    }

    static let all: [Capability: CapabilityEffect] = [
        .exceptionPayload: .init(argument: 1, without: "0", with: "10", seen: eventFlags),
        .x86TripleFaultEvent: .init(argument: 1, without: "0", with: "20", seen: eventFlags),
        .maxVCPUID: .init(argument: 2, without: "made", with: "refused") { hypervisor, enable in
            let machine = try System(hypervisor).makeVirtualMachine()
            try enable.on(machine)
            do throws(KVMError) { _ = try machine.makeVirtualCPU(id: 2).id } catch { return "refused" }
            return "made"
        },
        .splitIRQCHIP: .init(argument: 24, without: "no local APIC", with: "local APIC") { hypervisor, enable in
            let machine = try System(hypervisor).makeVirtualMachine()
            try enable.on(machine)
            let cpu = try machine.makeVirtualCPU()
            do throws(KVMError) { _ = try cpu.localAPIC() } catch { return "no local APIC" }
            return "local APIC"
        },
        .x2apicAPI: .init(argument: 3, without: "1000000", with: "1") { hypervisor, enable in
            let machine = try TestMachine(hypervisor, .long, [0xf4]) {
                try $0.createInterruptControllers()
                try enable.on($0)
            }
            let cpu = try machine.makeCPU(id: 1)
            try cpu.update { $0.special.apic_base = 0xfee0_0c00 }
            // The id, as the page of an x2APIC has it.
            return try register(0x20, of: cpu)
        },
        .disableQuirks: .init(argument: 1, without: "700", with: "10000", seen: lineAfterReset),
        .disableQuirks2: .init(argument: 1, without: "700", with: "10000", seen: lineAfterReset),
        .manualDirtyLogProtect2: .init(argument: 1, without: "2 0", with: "2 2") { hypervisor, enable in
            let machine = try TestMachine(hypervisor, source: "mov byte [0x101000], 1\nout 0x80, al") {
                try enable.on($0)
            }
            try machine.machine.setFlags(.logDirtyPages, of: machine.high)
            var cpu = try machine.makeCPU()
            try cpu.run()
            let first = try machine.machine.dirtyLog(of: machine.high)[0]
            return "\(first) \(try machine.machine.dirtyLog(of: machine.high)[0])"
        },
        // This one is on until it is taken away.
        .msrPlatformInfo: .init(argument: 0, without: "read", with: "fault 13") { hypervisor, enable in
            let machine = try TestMachine(hypervisor, source: reading(0xce)) { try enable.on($0) }
            var cpu = try machine.makeCPU()
            return try outcome(&cpu)
        },
        .enforcePVFeatureCPUID: .init(argument: 1, without: "read", with: "fault 13") { hypervisor, enable in
            let machine = try TestMachine(hypervisor, source: reading(0x4b56_4d00))
            var cpu = try machine.makeCPU()
            try cpu.setCPUID(try cpu.cpuid().filter { $0.function != 0x4000_0001 })
            try enable.on(cpu)
            return try outcome(&cpu)
        },
        .exitOnEmulationFailure: .init(
            argument: 1, without: "KVM_EXIT_SHUTDOWN", with: "KVM_EXIT_INTERNAL_ERROR",
            kernels: "its emulator has no code of level 3"
        ) { hypervisor, enable in
            // Level 3 where there is no memory: #UD, which has no gate.
            let machine = try TestMachine(hypervisor, source: "hlt") { try enable.on($0) }
            var cpu = try machine.makeCPU(at: 0x20_0000)
            try cpu.update {
                $0.cs.selector |= 3
                $0.cs.dpl = 3
                $0.ss.selector |= 3
                $0.ss.dpl = 3
            }
            try cpu.run()
            return cpu.exit.reason.name
        },
        .x86DisableExits: .init(
            argument: 2, without: "halt", with: "no halt",
            kernels: "its emulator looks neither at this nor at the shadow of STI"
        ) { hypervisor, enable in
            let machine = try TestMachine(hypervisor, source: "handlers\nout 0x80, al\nsti\nhlt\ncli\nout 0x81, al") {
                try enable.on($0)
            }
            var cpu = try machine.makeCPU()
            try cpu.run()
            // It wakes the guest from HLT, behind whose STI it waits.
            try cpu.interrupt(0x24)
            try cpu.run()
            return cpu.exit.reason == .hlt ? "halt" : "no halt"
        },
    ]

    // MARK: Looking

    @Sendable private static func eventFlags(_ hypervisor: Hypervisor, _ enable: Enabling) throws -> String {
        let machine = try System(hypervisor).makeVirtualMachine()
        try enable.on(machine)
        return String(try machine.makeVirtualCPU().events().flags & 0x30, radix: 16)
    }

    /// LVT LINT0: KVM_X86_QUIRK_LINT0_REENABLED.
    @Sendable private static func lineAfterReset(_ hypervisor: Hypervisor, _ enable: Enabling) throws -> String {
        let machine = try TestMachine(hypervisor, .long, [0xf4]) {
            try enable.on($0)
            try $0.createInterruptControllers()
        }
        return try register(0x350, of: machine.makeCPU())
    }

    static func register(_ offset: Int, of cpu: borrowing VirtualCPU) throws -> String {
        var page = try cpu.localAPIC()
        return unsafe withUnsafeBytes(of: &page) {
            String(unsafe $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self), radix: 16)
        }
    }

    private static func reading(_ msr: UInt32) -> String {
        "handlers\nattempt over\nmov ecx, \(msr)\nrdmsr\nout 0x80, al\nover: hlt"
    }

    private static func outcome(_ cpu: inout VirtualCPU) throws -> String {
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        return out.port == 0x80 ? "read" : "fault \(out.value)"
    }
}
