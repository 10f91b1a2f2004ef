// What KVM_SET_GUEST_DEBUG changes: steps, breakpoints and watchpoints leave to the client, and the guest sees none of it.
// Linux, Documentation/virt/kvm/api.rst, KVM_SET_GUEST_DEBUG; Intel SDM vol. 3, 17.2 and 17.3.1.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20, long: 120)) struct GuestDebugOracleTests {
    private enum Left: Equatable {
        case debug(exception: UInt32, pc: UInt64, dr6: UInt64)
        case end
        case other(UInt32)
    }

    private static let modes: [(CaseMode, Int)] = [(.real, 0), (.protected32, 0), (.compatibility, 0), (.long, 0)]

    /// nop; mov [bx], al or mov [rdi], al; jmp; clc
    private static let code: [UInt8] = [0x90, 0x88, 0x07, 0xEB, 0x00, 0xF8]
    private static let places: [UInt64] = [0, 1, 3, 5, 6].map { Layout.code + $0 }

    private static func left(_ cpu: borrowing VirtualCPU) -> Left {
        switch cpu.exit {
        case .debug(let exit): .debug(exception: exit.exception, pc: exit.pc, dr6: exit.dr6)
        case .portOut(let access) where access.port == 0: .end
        case let exit: .other(exit.reason.rawValue)
        }
    }

    /// Runs the code to its end; how it was left each time. `prepare` changes the state that it begins with.
    private func run(
        _ machine: OracleMachine, _ mode: CaseMode, code: [UInt8] = GuestDebugOracleTests.code,
        _ debugging: GuestDebugging, resumes: Bool = false, runs: Int = 12,
        _ prepare: (inout MachineState) -> Void = { _ in }
    ) throws -> (left: [Left], state: MachineState) {
        machine.memory.restore(from: try GuestMemory.ofCases(long: mode.isLong))
        try machine.memory.write(code + Layout.end, at: Layout.code)
        var state = MachineState(mode)
        (state.general.rdi, state.general.rbx) = (Layout.data, Layout.data)
        prepare(&state)
        try machine.cpu.setSpecialRegisters(state.special)
        try machine.cpu.setGeneralRegisters(state.general)
        try machine.cpu.setDebugRegisters(state.debug)
        // Nothing is left over from a run before.
        var events = state.events
        events.flags = 5
        try machine.cpu.setEvents(events)
        try machine.cpu.setDebugging(debugging)
        defer { try? machine.cpu.setDebugging(nil) }
        var left: [Left] = []
        for _ in 0..<runs {
            try machine.cpu.run()
            left.append(GuestDebugOracleTests.left(machine.cpu))
            guard case .debug = left.last else { break }
            if resumes {
                var registers = try machine.cpu.generalRegisters()
                registers.rflags |= 1 << 16
                try machine.cpu.setGeneralRegisters(registers)
            }
        }
        let end = try machine.state()
        // The OUT's own step is nobody's any more.
        try machine.cpu.setDebugging(nil)
        if left.last == .end { try machine.cpu.complete() }
        return (left, end)
    }

    @Test(arguments: hypervisors)
    func steps(_ hypervisor: Hypervisor) throws {
        let machine = try OracleMachine(hypervisor, comparesMSRs: false)
        for (mode, _) in GuestDebugOracleTests.modes {
            let (left, state) = try run(machine, mode, .singleStepping)
            let wanted = GuestDebugOracleTests.places.dropFirst().map {
                Left.debug(exception: 1, pc: $0, dr6: 0xFFFF_4FF0)
            }
            #expect(left == wanted + [.end], "\(mode)")
            // The guest's own registers know nothing of it.
            #expect(state.debug.dr6 == 0xFFFF_0FF0, "\(mode)")
            #expect(state.general.rflags & 0x100 == 0, "\(mode)")
        }
    }

    /// The guest steps itself as well: its own #DB does not come while the client has the steps.
    @Test(arguments: hypervisors)
    func stepsBeforeTheGuestsOwn(_ hypervisor: Hypervisor) throws {
        let machine = try OracleMachine(hypervisor, comparesMSRs: false)
        for (mode, _) in GuestDebugOracleTests.modes {
            let (left, state) = try run(machine, mode, .singleStepping) { $0.general.rflags |= 0x100 }
            #expect(left.count == 5, "\(mode): \(left)")
            #expect(left.last == .end, "\(mode)")
            #expect(state.debug.dr6 == 0xFFFF_0FF0, "\(mode)")
        }
    }

    @Test(arguments: hypervisors)
    func breakpoints(_ hypervisor: Hypervisor) throws {
        let isKernel = hypervisor == .kernel
        if isKernel {
            print("/dev/kvm deviates: RF holds no breakpoint of the client's back (vol. 3, 17.3.1.1)")
            print("/dev/kvm deviates: the guest's own breakpoints stay in force beside the client's (api.rst)")
        }
        let machine = try OracleMachine(hypervisor, comparesMSRs: false)
        for (mode, _) in GuestDebugOracleTests.modes {
            for (number, place) in GuestDebugOracleTests.places.enumerated() {
                for index in 0..<4 {
                    var debugging = GuestDebugging()
                    var addresses = [UInt64](repeating: 0xF000, count: 4)
                    addresses[index] = place
                    debugging.addresses = (addresses[0], addresses[1], addresses[2], addresses[3])
                    debugging.dr7 = 0x400 | 2 << UInt64(index * 2)
                    let (left, state) = try run(machine, mode, debugging, resumes: true, runs: isKernel ? 1 : 12) {
                        // The guest's own breakpoints are not in force meanwhile.
                        $0.debug.db.0 = Layout.code + 3
                        $0.debug.dr7 = isKernel ? 0x400 : 0x402
                    }
                    let hit = Left.debug(exception: 1, pc: place, dr6: 0xFFFF_0FF0 | 1 << UInt64(index))
                    #expect(left == (isKernel ? [hit] : [hit, .end]), "\(mode), \(number)")
                    #expect(state.debug.dr6 == 0xFFFF_0FF0 && state.debug.dr7 == (isKernel ? 0x400 : 0x402), "\(mode)")
                }
            }
        }
    }

    @Test(arguments: hypervisors)
    func watchpoints(_ hypervisor: Hypervisor) throws {
        if hypervisor == .kernel {
            return print("/dev/kvm deviates: its emulator meets no breakpoints on data and ports (vol. 3, 17.2.4)")
        }
        let machine = try OracleMachine(hypervisor, comparesMSRs: false)
        for (mode, _) in GuestDebugOracleTests.modes {
            for condition in [UInt64(1), 3] {
                var debugging = GuestDebugging()
                debugging.addresses.2 = Layout.data
                debugging.dr7 = 0x420 | condition << 24
                let (left, state) = try run(machine, mode, debugging)
                #expect(left == [.debug(exception: 1, pc: Layout.code + 3, dr6: 0xFFFF_0FF4), .end], "\(mode)")
                #expect(state.debug.dr6 == 0xFFFF_0FF0, "\(mode)")
            }
        }
    }

    /// INT3 leaves before it is executed; without the client's wish it is the guest's.
    @Test(arguments: hypervisors)
    func softwareBreakpoints(_ hypervisor: Hypervisor) throws {
        if hypervisor == .kernel {
            return print("/dev/kvm: skipped: its emulator gives up on INT3")
        }
        let machine = try OracleMachine(hypervisor, comparesMSRs: false)
        for (mode, _) in GuestDebugOracleTests.modes {
            var debugging = GuestDebugging()
            debugging.softwareBreakpoints = true
            let (left, state) = try run(machine, mode, code: [0x90, 0xCC], debugging)
            #expect(left.allSatisfy { if case .debug(3, Layout.code + 1, _) = $0 { true } else { false } }, "\(mode)")
            #expect(state.general.rip == Layout.code + 1)
            debugging.softwareBreakpoints = false
            let own = try run(machine, mode, code: [0x90, 0xCC], debugging)
            #expect(own.left == [.end], "\(mode)")
        }
    }
}
