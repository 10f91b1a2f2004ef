// KVM_SET_GUEST_DEBUG: the flags that do something else than stop. Documentation/virt/kvm/api.rst, section 4.87; Intel SDM vol. 3,
// 17.2.4 (DR7.GD).

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct GuestDebugFlagTests {
    /// KVM_GUESTDBG_INJECT_DB and _INJECT_BP.
    @Test(arguments: [0x4_0000, 0x8_0000] as [UInt32], hypervisors)
    func anExceptionIsInjected(_ flag: UInt32, _ hypervisor: Hypervisor) throws {
        let vector: UInt32 = flag == 0x4_0000 ? 1 : 3
        let machine = try TestMachine(hypervisor, source: "handlers\nattempt over\nout 0x80, al\nover: hlt")
        var cpu = try machine.makeCPU()
        try cpu.run()
        try cpu.complete()
        var debugging = kvm_guest_debug()
        debugging.control = flag
        try unsafe withUnsafePointer(to: &debugging) {
            _ = unsafe try cpu.request(.setGuestDebug, UInt(bitPattern: $0))
        }
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.port == 0xE9 && out.value == vector)
    }

    enum Event: CaseIterable, Sendable { case message, nmi, queued }

    /// KVM_GUESTDBG_BLOCKIRQ: gdb's steps go on in the code that is debugged; what was pending comes when the client lets it. What
    /// the client has queued by KVM_INTERRUPT counts as on its way, and is not held up.
    @Test(arguments: Event.allCases, hypervisors)
    func aStepWithBlockedEventsEndsBehindItsInstruction(_ event: Event, _ hypervisor: Hypervisor) throws {
        for blocks in [true, false] {
            let source = "handlers\nout 0x80, al\nsti\nnop\nnop\nnop\nnop\nout 0x81, al"
            let machine = try TestMachine(hypervisor, source: source) {
                if event == .message { try $0.createInterruptControllers() }
            }
            var cpu = try machine.makeCPU()
            try cpu.run()
            try cpu.complete()
            let start = try cpu.generalRegisters().rip
            switch event {
            case .message:
                // Enabled by software.
                var page = try cpu.localAPIC()
                unsafe withUnsafeMutableBytes(of: &page) { unsafe $0[0xF1] |= 1 }
                try cpu.setLocalAPIC(page)
                #expect(try machine.machine.signalMSI(address: 0xFEE0_0000, data: 0x24) == .delivered(1))
            case .nmi: try cpu.injectNMI()
            case .queued: try cpu.interrupt(0x24)
            }
            var debugging = GuestDebugging.singleStepping
            debugging.blocksInterrupts = blocks
            try cpu.setDebugging(debugging)
            var places: [UInt64] = []
            for _ in 0..<3 {
                try cpu.run()
                switch cpu.exit {
                case .debug(let exit): places.append(exit.pc &- start)
                case .portOut: places.append(0)
                case .internalError where hypervisor == .kernel: try skip("BLOCKIRQ", "its emulator gives up")
                case let exit: throw Unexpected(exit)
                }
            }
            guard blocks, event != .queued else {
                #expect(places != [1, 2, 3])
                continue
            }
            #expect(places == [1, 2, 3])
            try cpu.setDebugging(nil)
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.port == 0xE9 && out.value == (event == .nmi ? 2 : 0x24))
        }
    }

    /// GD in the client's DR7 is the client's: an exit before the access, each time until it is taken back. The guest's own is
    /// not in force meanwhile.
    @Test(arguments: ["mov rbx, dr0", "mov dr7, rbx", "mov rbx, dr6"])
    func anAccessToDebugRegistersIsAnExit(_ access: String) throws {
        let machine = try TestMachine(.software, source: "nop\n\(access)\nout 0x80, al")
        var cpu = try machine.makeCPU()
        try cpu.update { $0.rbx = 0x400 }
        var debugging = GuestDebugging()
        debugging.dr7 = 0x400 | 1 << 13
        try cpu.setDebugging(debugging)
        for _ in 0..<2 {
            try cpu.run()
            guard case .debug(let exit) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(exit.exception == 1 && exit.pc == Place.code + 1 && exit.dr6 == 0xFFFF_2FF0 && exit.dr7 == 0x2400)
        }
        // The guest knows nothing of it, and has a GD of its own that counts again only afterwards.
        var own = try cpu.debugRegisters()
        #expect(own.dr6 == 0xFFFF_0FF0 && own.dr7 == 0x400)
        own.dr7 = 0x2400
        try cpu.setDebugRegisters(own)
        debugging.dr7 = 0x400
        try cpu.setDebugging(debugging)
        try cpu.run()
        guard case .portOut = cpu.exit else { throw Unexpected(cpu.exit) }
    }
}
