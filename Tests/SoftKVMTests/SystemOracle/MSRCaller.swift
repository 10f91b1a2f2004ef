// RDMSR and WRMSR by a guest, one at a time, and what comes of them.

import GuestMemory
import KVM
import KVMABI
import TestSupport

/// A vCPU of one hypervisor that executes `wrmsr` or `rdmsr`, and tells what the guest has seen.
final class MSRCaller {
    /// What a read or a write gave: #GP, or (reads) a value.
    enum Outcome: Hashable, CustomStringConvertible {
        case fault
        case value(UInt64)
        /// The guest was left another way, as where the client's filter says so.
        case other(String)

        var description: String {
            switch self {
            case .fault: "#GP"
            case .value(let value): String(value, radix: 16)
            case .other(let text): text
            }
        }
    }

    let hypervisor: Hypervisor
    let machine: VirtualMachine
    var cpu: VirtualCPU
    private let watchdog: Watchdog
    private static let both = Layout.target + 0x10
    private let memory: GuestMemory
    private let baseline: GuestMemory

    init(_ hypervisor: Hypervisor, chipset: Bool = false, cpuid: [kvm_cpuid_entry2]? = nil) throws {
        self.hypervisor = hypervisor
        machine = try System(hypervisor).makeVirtualMachine()
        if chipset { try machine.createInterruptControllers() }
        baseline = try GuestMemory.ofCases(long: true)
        memory = try GuestMemory(size: Layout.size)
        try machine.addSlot(memory, at: 0)
        cpu = try machine.makeVirtualCPU()
        watchdog = Watchdog(cpu.kickHandle)
        try cpu.setCPUID(try cpuid ?? OracleMachine.cpuid())
        // At `code` wrmsr, at `target` rdmsr, at `both` wrmsr and rdmsr, each with the OUT that ends a run.
        try baseline.write([0x0F, 0x30] + Layout.end, at: Layout.code)
        try baseline.write([0x0F, 0x32] + Layout.end, at: Layout.target)
        try baseline.write([0x0F, 0x30, 0x0F, 0x32] + Layout.end, at: MSRCaller.both)
    }

    private func run(at address: UInt64, _ index: UInt32, _ value: UInt64, cpl: Int) throws -> Outcome {
        // KVM's clocks are written where their MSRs say.
        memory.restore(from: baseline)
        var state = MachineState(.long, cpl: cpl)
        state.general.rip = address
        state.general.rcx = 0xFFFF_FFFF_0000_0000 | UInt64(index)
        state.general.rax = value & 0xFFFF_FFFF
        state.general.rdx = value >> 32
        state.special.apic_base = try cpu.specialRegisters().apic_base
        try cpu.setSpecialRegisters(state.special)
        try cpu.setGeneralRegisters(state.general)
        try watchdog.watch { try cpu.run() }
        if let reason = MSRCaller.otherReason(cpu) { return .other("exit \(reason)") }
        try cpu.complete()
        let registers = try cpu.generalRegisters()
        let place = registers.rip &- Layout.handlers
        if place < 0x1000 { return place / 16 == 13 ? .fault : .other("vector \(place / 16)") }
        return .value(registers.rdx << 32 | registers.rax & 0xFFFF_FFFF)
    }

    private static func otherReason(_ cpu: borrowing VirtualCPU) -> UInt32? {
        switch cpu.exit {
        case .portOut: nil
        case let exit: exit.reason.rawValue
        }
    }

    func read(_ index: UInt32, cpl: Int = 0) throws -> Outcome { try run(at: Layout.target, index, 0, cpl: cpl) }

    /// Whether the write was taken.
    func write(_ index: UInt32, _ value: UInt64, cpl: Int = 0) throws -> Bool {
        switch try run(at: Layout.code, index, value, cpl: cpl) {
        case .value: true
        case .fault: false
        case .other(let text): throw UnexpectedOutcome(description: text)
        }
    }

    /// What the guest reads back after its write of `value`, or #GP.
    func writtenAndRead(_ index: UInt32, _ value: UInt64) throws -> Outcome {
        try run(at: MSRCaller.both, index, value, cpl: 0)
    }

    /// What the MSR holds after the guest's write of `value`, or #GP; as the client reads it.
    func written(_ index: UInt32, _ value: UInt64) throws -> Outcome {
        guard try write(index, value) else { return .fault }
        return .value(try cpu.msr(index))
    }

    /// The client's: what the MSR holds after KVM_SET_MSRS of `value`, or `.fault` where it is refused.
    func set(_ index: UInt32, _ value: UInt64) throws -> Outcome {
        let count = try cpu.setMSRs([kvm_msr_entry(index: index, reserved: 0, data: value)])
        return count == 0 ? .fault : .value(try cpu.msr(index))
    }
}

/// A write that ended neither way.
struct UnexpectedOutcome: Error, CustomStringConvertible { let description: String }
