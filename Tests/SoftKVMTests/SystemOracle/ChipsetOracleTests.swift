// The 8259 pair, the I/O APIC and the 8254 under random reads, writes and line changes: the same on both hypervisors, by what a
// guest reads and by KVM_GET_IRQCHIP and KVM_GET_PIT2. Intel 8259A, 82093AA and 8254 data sheets.

import Foundation
import GuestMemory
import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

/// A machine with the chips of KVM_CREATE_IRQCHIP, and a guest that reaches a port or a register at a time.
private final class ChipsetCaller {
    let machine: VirtualMachine
    private var cpu: VirtualCPU
    private let memory: GuestMemory
    private let watchdog: Watchdog

    /// In 32-bit protected mode: out dx, al; in al, dx; mov [edi], eax; mov eax, [edi].
    private enum Code: UInt64 {
        case portOut = 0x9000, portIn = 0x9010, store = 0x9020, load = 0x9030
    }

    init(_ hypervisor: Hypervisor, pit: Bool) throws {
        machine = try System(hypervisor).makeVirtualMachine()
        try machine.createInterruptControllers()
        if pit { try machine.createPIT(speaker: true) }
        memory = try GuestMemory.ofCases(long: false)
        for (place, code) in [
            (Code.portOut, [UInt8(0xEE)]), (.portIn, [0xEC]), (.store, [0x89, 0x07]), (.load, [0x8B, 0x07]),
        ] { try memory.write(code + Layout.end, at: place.rawValue) }
        try machine.addSlot(memory, at: 0)
        cpu = try machine.makeVirtualCPU()
        try cpu.setCPUID(try OracleMachine.cpuid())
        try cpu.setSpecialRegisters(MachineState(.protected32).special)
        watchdog = Watchdog(cpu.kickHandle)
    }

    private func run(_ code: Code, _ address: UInt64, _ value: UInt32) throws -> UInt32 {
        var registers = MachineState(.protected32).general
        registers.rip = code.rawValue
        (registers.rdx, registers.rdi, registers.rax) = (address, address, UInt64(value))
        try cpu.setGeneralRegisters(registers)
        try watchdog.watch { try cpu.run() }
        if let reason = ChipsetCaller.otherReason(cpu) {
            throw UnexpectedOutcome(description: "exit \(reason) at \(String(address, radix: 16))")
        }
        try cpu.complete()
        return UInt32(truncatingIfNeeded: try cpu.generalRegisters().rax)
    }

    private static func otherReason(_ cpu: borrowing VirtualCPU) -> UInt32? {
        switch cpu.exit {
        case .portOut(let access) where access.port == 0: nil
        case let exit: exit.reason.rawValue
        }
    }

    /// What a read gives; nil for the others.
    func perform(_ step: ChipsetStep) throws -> UInt32? {
        switch step {
        case .portOut(let port, let value): _ = try run(.portOut, UInt64(port), UInt32(value))
        case .portIn(let port): return try run(.portIn, UInt64(port), 0) & 0xFF
        case .store(let offset, let value): _ = try run(.store, 0xFEC0_0000 + offset, value)
        case .load(let offset): return try run(.load, 0xFEC0_0000 + offset, 0)
        case .line(let gsi, let level): try machine.setLine(gsi, to: level)
        }
        return nil
    }

    private static func bytes<T>(_ value: T) -> [UInt8] { unsafe withUnsafeBytes(of: value) { unsafe Array($0) } }

    /// The fields of the chips, by name.
    func controllers() throws -> [(String, UInt64)] {
        var fields: [(String, UInt64)] = []
        for (chip, name) in [(InterruptController.masterPIC, "master"), (.slavePIC, "slave")] {
            let state = ChipsetCaller.bytes(try machine.interruptController(chip)).dropFirst(8)
            for (field, byte) in zip(ChipsetCaller.fieldsOfPIC, state) {
                fields.append(("\(name).\(field)", UInt64(byte)))
            }
        }
        let state = Array(ChipsetCaller.bytes(try machine.interruptController(.ioapic)).dropFirst(8))
        func number(_ offset: Int, _ count: Int) -> UInt64 {
            (0..<count).reduce(0) { $0 | UInt64(state[offset + $1]) << UInt64($1 * 8) }
        }
        fields += [("ioapic.base", number(0, 8)), ("ioapic.select", number(8, 4)), ("ioapic.id", number(12, 4))]
        fields.append(("ioapic.irr", number(16, 4)))
        for pin in 0..<24 { fields.append(("ioapic.redirection", number(24 + pin * 8, 8))) }
        return fields
    }

    private static let fieldsOfPIC = [
        "last_irr", "irr", "imr", "isr", "priority_add", "irq_base", "read_reg_select", "poll", "special_mask",
        "init_state",
        "auto_eoi", "rotate_on_auto_eoi", "special_fully_nested_mode", "init4", "elcr", "elcr_mask",
    ]

    /// The fields of the 8254; those that follow the time are left out: what is latched of a running counter, OUT in the latched
    /// status, and when the count was loaded.
    func timer() throws -> [(String, UInt64)] {
        let state = try machine.pit()
        var fields: [(String, UInt64)] = [("flags", UInt64(state.flags))]
        for (number, channel) in [state.channels.0, state.channels.1, state.channels.2].enumerated() {
            fields += [
                ("count", UInt64(channel.count)), ("count_latched", UInt64(channel.count_latched)),
                ("status_latched", UInt64(channel.status_latched)),
                // Before its first control word a counter has no mode to tell.
                ("status", channel.mode > 5 ? 0 : UInt64(channel.status & 0x7F)),
                ("read_state", UInt64(channel.read_state)), ("write_state", UInt64(channel.write_state)),
                ("write_latch", UInt64(channel.write_latch)), ("rw_mode", UInt64(channel.rw_mode)),
                ("mode", UInt64(channel.mode)), ("bcd", UInt64(channel.bcd)), ("gate", UInt64(channel.gate)),
            ].map { ("channel \(number).\($0.0)", $0.1) }
        }
        return fields
    }
}

private enum ChipsetStep: CustomStringConvertible {
    case portOut(UInt16, UInt8), portIn(UInt16), store(UInt64, UInt32), load(UInt64), line(UInt32, Bool)

    var description: String {
        switch self {
        case .portOut(let port, let value): "out \(String(port, radix: 16)), \(String(value, radix: 16))"
        case .portIn(let port): "in \(String(port, radix: 16))"
        case .store(let offset, let value): "[\(String(offset, radix: 16))] = \(String(value, radix: 16))"
        case .load(let offset): "read [\(String(offset, radix: 16))]"
        case .line(let gsi, let level): "line \(gsi) \(level ? "up" : "down")"
        }
    }
}

@Suite(.enabled(if: hypervisors.contains(.kernel), "/dev/kvm is absent"), .within(minutes: 20, long: 120))
struct ChipsetOracleTests {
    private static let sequences = ProcessInfo.processInfo.environment["MARTLET_LONG_TESTS"] == nil ? 60 : 3000
    private static let length = 80

    /// Runs sequences of steps on both; each ends at its first difference, and each kind of difference is told once.
    private func run(
        _ name: String, pit: Bool, _ step: (inout Choices) -> ChipsetStep,
        _ state: (ChipsetCaller) throws -> [(String, UInt64)], reads: (ChipsetStep) -> Bool = { _ in true }
    ) throws {
        var choices = Choices(state: 21), steps = 0
        var problems: [String: (count: Int, example: String)] = [:]
        for _ in 0..<ChipsetOracleTests.sequences {
            let software = try ChipsetCaller(.software, pit: pit), kernel = try ChipsetCaller(.kernel, pit: pit)
            var done: [ChipsetStep] = []
            for _ in 0..<ChipsetOracleTests.length {
                let next = step(&choices)
                done.append(next)
                steps += 1
                let mine = try software.perform(next), theirs = try kernel.perform(next)
                var differences: [String] = []
                if mine != theirs, reads(next) {
                    differences.append("\(next): \(mine ?? 0), not \(theirs ?? 0)")
                }
                let names = zip(try state(software), try state(kernel)).filter { $0.1 != $1.1 }
                for (here, there) in names {
                    differences.append(
                        "\(here.0) \(String(here.1, radix: 16)), not \(String(there.1, radix: 16))")
                }
                if differences.isEmpty { continue }
                let key = mine != theirs && reads(next) ? "what is read" : names.map(\.0.0).joined(separator: " ")
                let text =
                    done.suffix(12).map(\.description).joined(separator: "; ") + ": "
                    + differences.joined(separator: ", ")
                problems[key, default: (0, text)].count += 1
                break
            }
        }
        print("system oracle: \(name): \(steps) steps compared with /dev/kvm")
        #expect(steps > 0)
        for (key, problem) in problems.sorted(by: { $0.value.count > $1.value.count }) {
            Issue.record("\(name): \(problem.count) sequences: \(key)\n    first: \(problem.example)")
        }
    }

    @Test func interruptControllers() throws {
        try run("8259 pair", pit: false) { choices in
            let port = choices.element(of: [UInt16(0x20), 0x21, 0xA0, 0xA1])
            switch choices.next(8) {
            case 0: return .portIn(choices.one(in: 4) ? 0x4D0 + UInt16(choices.next(2)) : port)
            case 1: return .portOut(0x4D0 + UInt16(choices.next(2)), UInt8(choices.next(256)))
            case 2, 3, 4: return .line(UInt32(choices.next(16)), choices.one(in: 2))
            case 5:
                // An initialisation command now and then, others mostly.
                let command = UInt8(choices.next(256))
                return .portOut(port & ~1, choices.one(in: 4) ? command | 0x10 : command & ~0x10)
            default: return .portOut(port, UInt8(choices.next(256)) & (port & 1 == 0 ? ~0x10 : 0xFF))
            }
        } _: {
            try $0.controllers()
        }
    }

    @Test func redirection() throws {
        try run("I/O APIC", pit: false) { choices in
            switch choices.next(8) {
            case 0: return .load(choices.element(of: [0, 0x10, 0x10, 0x10, 0x40]))
            case 1, 2, 3: return .store(0, UInt32(choices.next(0x42)) | (choices.one(in: 8) ? 0xA5A5_A500 : 0))
            case 4, 5:
                let value = UInt32(truncatingIfNeeded: choices.next(1 << 31)) << 1 | UInt32(choices.next(2))
                // Fixed or lowest priority: an NMI or INIT would change the guest.
                return .store(choices.one(in: 12) ? 0x40 : 0x10, value & ~0x600)
            default: return .line(UInt32(choices.next(24)), choices.one(in: 2))
            }
        } _: {
            try $0.controllers()
        }
    }

    @Test func intervalTimer() throws {
        // What a running counter reads as follows the time.
        try run("8254", pit: true) { choices in
            switch choices.next(6) {
            case 0: return .portIn(0x40 + UInt16(choices.next(3)))
            case 1, 2: return .portOut(0x43, UInt8(choices.next(256)))
            case 3: return choices.one(in: 3) ? .portOut(0x61, UInt8(choices.next(4))) : .portIn(0x41)
            default: return .portOut(0x40 + UInt16(choices.next(3)), UInt8(choices.next(256)))
            }
        } _: {
            try $0.timer()
        } reads: { _ in
            false
        }
    }
}
