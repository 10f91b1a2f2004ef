// A hypervisor with one vCPU, which a case is put into and run on until it leaves the guest.

import GuestMemory
import KVM
import KVMABI
import TestSupport

/// Why a case left its guest.
enum CaseExit: Equatable, CustomStringConvertible {
    case out(port: UInt16, size: Int, count: Int, value: UInt32)
    case shutdown
    /// The kernel's emulator can't do the instruction.
    case gaveUp([UInt8])
    case other(reason: UInt32, bytes: [UInt8])

    /// The OUT that cases and handlers end with.
    static let end = CaseExit.out(port: 0, size: 1, count: 1, value: 0)

    var description: String {
        switch self {
        case .out(let port, let size, let count, let value): "out(\(port), \(size), \(count), \(value))"
        case .shutdown: "shutdown"
        case .gaveUp(let bytes): "gave up on \(bytes.map { String($0, radix: 16) }.joined(separator: " "))"
        case .other(let reason, let bytes): "exit \(reason) \(bytes)"
        }
    }
}

final class OracleMachine {
    let memory: GuestMemory
    let machine: VirtualMachine
    var cpu: VirtualCPU
    private var slot: MemorySlot
    private let comparesMSRs: Bool
    private let watchdog: Watchdog

    init(_ hypervisor: Hypervisor, comparesMSRs: Bool, cpuid: [kvm_cpuid_entry2]? = nil) throws {
        let system = try System(hypervisor)
        machine = try system.makeVirtualMachine()
        // What can't be emulated is to be told, and not #UD, outside of level 0 as well.
        if try machine.check(.exitOnEmulationFailure) > 0 { try machine.enable(.exitOnEmulationFailure) }
        memory = try GuestMemory(size: Layout.size)
        slot = try machine.addSlot(memory, at: 0)
        cpu = try machine.makeVirtualCPU()
        self.comparesMSRs = comparesMSRs
        watchdog = Watchdog(cpu.kickHandle)
        try cpu.setCPUID(try cpuid ?? OracleMachine.cpuid())
    }

    /// What both hypervisors can offer, so that neither's own choice makes a difference: the software hypervisor's CPUID.
    static func cpuid() throws -> [kvm_cpuid_entry2] { try System(.software).supportedCPUID() }

    /// The vendor that it names.
    static let isAMD = (try? cpuid())?.first { $0.function == 0 }?.ecx == 0x444D_4163

    /// Makes the hypervisor forget what it derived from the guest's page tables, which clients change unannounced.
    func forgetTranslations() throws {
        try machine.remove(slot)
        slot = try machine.addSlot(memory, at: 0)
    }

    /// Puts the state in, runs, and says why the guest was left. Registers are exact afterwards.
    func run(_ state: MachineState) throws -> CaseExit {
        try cpu.setSpecialRegisters(state.special)
        try cpu.setGeneralRegisters(state.general)
        try cpu.setDebugRegisters(state.debug)
        var events = state.events
        // VALID_NMI_PENDING and VALID_SHADOW.
        events.flags = 5
        try cpu.setEvents(events)
        if comparesMSRs {
            try cpu.setMSRs(
                CallMSR.allCases.map { kvm_msr_entry(index: $0.index, reserved: 0, data: state.msrs[$0.rawValue]) })
        }
        // Without the in-kernel APIC, CR8 goes in through the run area.
        cpu.cr8 = state.special.cr8
        try watchdog.watch { try cpu.run() }
        let exit = OracleMachine.exit(of: cpu)
        if case .out = exit { try cpu.complete() }
        return exit
    }

    private static func exit(of cpu: borrowing VirtualCPU) -> CaseExit {
        switch cpu.exit {
        case .portOut(let access):
            .out(port: access.port, size: access.size, count: access.count, value: access.value)
        case .shutdown: .shutdown
        case .internalError(let error) where error.suberror == 1: .gaveUp(error.instruction)
        case let exit: .other(reason: exit.reason.rawValue, bytes: exit.rawBytes)
        }
    }

    /// The state as it is now.
    func state() throws -> MachineState {
        var state = MachineState.reset
        state.general = try cpu.generalRegisters()
        state.special = try cpu.specialRegisters()
        state.debug = try cpu.debugRegisters()
        state.events = try cpu.events()
        if comparesMSRs {
            let values = try cpu.msrs(CallMSR.allCases.map(\.index))
            for (place, value) in values.enumerated() { state.msrs[place] = value.data }
        }
        return state
    }
}
