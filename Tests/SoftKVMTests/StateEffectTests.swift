// What a request does to state that it doesn't name: KVM_SET_REGS to a pending exception, INIT to the FPU, HLT exits to CPUID.

import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct StateEffectTests {
    /// An exception that was raised belongs to the registers as they were, and goes with them; one whose delivery had begun comes.
    @Test(arguments: [false, true], hypervisors)
    func registersTakeAPendingExceptionAway(_ isInjected: Bool, _ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor, source: "handlers\nattempt over\nout 0x80, al\nout 0x81, al\nover: hlt"
        ) {
            try $0.enable(.exceptionPayload)
        }
        var cpu = try machine.makeCPU()
        try cpu.run()
        try cpu.complete()
        var events = try cpu.events()
        if isInjected { events.exception.injected = 1 } else { events.exception.pending = 1 }
        events.exception.nr = 6
        try cpu.setEvents(events)
        let shown = try cpu.events().exception
        #expect(shown.injected == (isInjected ? 1 : 0) && shown.pending == (isInjected ? 0 : 1) && shown.nr == 6)
        try cpu.setGeneralRegisters(try cpu.generalRegisters())
        let left = try cpu.events().exception
        #expect(left.injected == (isInjected ? 1 : 0) && left.pending == 0)
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.port == (isInjected ? 0xE9 : 0x81))
        if isInjected { #expect(out.value == 6) }
    }

    /// Intel SDM vol. 3, table 9-1: FPU, vector state and XCR0 are as they were.
    @Test(arguments: hypervisors)
    func initLeavesTheFPUAlone(_ hypervisor: Hypervisor) throws {
        // The last 16 bytes below 4 GiB are where it begins: out 0x80, al.
        var code = [UInt8](repeating: 0xF4, count: 0x10000)
        (code[0xFFF0], code[0xFFF1]) = (0xE6, 0x80)
        let machine = try TestMachine(hypervisor, .reset, code) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        var fpu = try cpu.fpu()
        fpu.fcw = 0x27F
        fpu.mxcsr = 0x3F80
        fpu.xmm.5.3 = 0x55
        fpu.ftwx = 0xFF
        fpu.last_ip = 0x1234
        try cpu.setFPU(fpu)
        var controls = try cpu.xcrs()
        controls.xcrs.0.value = 3
        try cpu.setXCRs(controls)
        try cpu.update {
            $0.rbx = 1
            $0.rip = 0x100
        }
        let before = try cpu.xsave()
        var events = try cpu.events()
        events.flags |= 8  // KVM_VCPUEVENT_VALID_SMM
        events.smi.latched_init = 1
        try cpu.setEvents(events)
        let watchdog = Watchdog(cpu.kickHandle, patience: .seconds(60), of: .wall)
        watchdog.begin()
        try cpu.run()
        watchdog.end()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.port == 0x80)
        #expect(try cpu.generalRegisters().rbx == 0)
        #expect(try cpu.xsave() == before)
        #expect(try cpu.xcrs().xcrs.0.value == 3)
    }

    /// Nobody outside sees a HLT that does not exit, so nobody could end it: the guest isn't offered KVM_FEATURE_PV_UNHALT.
    @Test(arguments: hypervisors)
    func haltsThatDoNotExitAreNotKicked(_ hypervisor: Hypervisor) throws {
        for isAlone in [false, true] {
            let source = "mov eax, 0x40000001\ncpuid\nout 0xE9, eax"
            let machine = try TestMachine(hypervisor, source: source) {
                try $0.createInterruptControllers()
                if isAlone { try $0.enable(.disableExits(.hlt)) }
            }
            var cpu = try machine.makeCPU()
            let entries = try System(hypervisor).supportedCPUID().map { entry in
                var entry = entry
                if entry.function == 0x4000_0001 { entry.eax |= 1 << 7 }
                return entry
            }
            try cpu.setCPUID(entries)
            let features = try cpu.cpuid().first { $0.function == 0x4000_0001 }
            #expect((features?.eax ?? 0) >> 7 & 1 == (isAlone ? 0 : 1))
            try cpu.setMultiprocessorState(.runnable)
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value >> 7 & 1 == (isAlone ? 0 : 1))
        }
    }
}
