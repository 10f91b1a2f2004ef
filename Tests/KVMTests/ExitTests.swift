// Each exit with each of its fields, written through <linux/kvm.h>'s structure and read through the typed one.

import KVM
import KVMABI
import Synchronization
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct ExitTests {
    /// A vCPU whose runs are the steps.
    private func cpu(_ steps: ScriptedEndpoint.Step...) throws -> VirtualCPU {
        try System(endpoint: ScriptedEndpoint(steps)).makeVirtualMachine().makeVirtualCPU()
    }

    /// A step that ends with a reason and fills in the rest.
    private static func exit(
        _ reason: Int32, _ fill: @escaping @Sendable (RunPage) -> Void = { _ in }
    ) -> ScriptedEndpoint.Step {
        { run in
            run.pointee.exit_reason = UInt32(reason)
            fill(run)
            return 0
        }
    }

    @Test func portsOfEachWidthAndString() throws {
        var cpu = try cpu(
            Self.exit(KVM_EXIT_IO) { run in
                run.pointee.io.direction = UInt8(KVM_EXIT_IO_OUT)
                run.pointee.io.size = 4
                run.pointee.io.port = 0xcfc
                run.pointee.io.count = 2
                run.pointee.io.data_offset = 4096
                run.store(UInt32(0x1122_3344), at: 4096)
                run.store(UInt32(0x5566_7788), at: 4100)
            },
            Self.exit(KVM_EXIT_IO) { run in
                run.pointee.io.direction = UInt8(KVM_EXIT_IO_IN)
                run.pointee.io.size = 2
                run.pointee.io.port = 0x1f0
                run.pointee.io.count = 3
                run.pointee.io.data_offset = 4100
            },
            Self.exit(KVM_EXIT_IO) { run in
                run.pointee.io.direction = UInt8(KVM_EXIT_IO_OUT)
                run.pointee.io.size = 4
                run.pointee.io.count = 1000
                run.pointee.io.data_offset = UInt64.max - 1
            })
        try cpu.run()
        do {
            guard case .portOut(let out) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            #expect(out.port == 0xcfc)
            #expect(out.size == 4)
            #expect(out.count == 2)
            #expect(out.value == 0x1122_3344)
            #expect(out.value(at: 1) == 0x5566_7788)
            #expect(out.value(at: 2) == 0)
            #expect(out.bytes == [0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55])
        }

        try cpu.run()
        do {
            guard case .portIn(let input) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            #expect(input.port == 0x1f0)
            #expect(input.size == 2)
            #expect(input.count == 3)
            input.answer(0xabcd)
            input.answer(0x1234, at: 1)
            input.answer(0xffff, at: 3)
            var data = unsafe cpu.withRunArea { area in unsafe Array(area[4100..<4108]) }
            #expect(data == [0xcd, 0xab, 0x34, 0x12, 0xcd, 0xab, 0, 0])
            input.answer(bytes: [1, 2, 3, 4, 5, 6, 7, 8])
            data = unsafe cpu.withRunArea { area in unsafe Array(area[4100..<4108]) }
            #expect(data == [1, 2, 3, 4, 5, 6, 0, 0])
        }

        // An offset outside the area is read as nothing.
        try cpu.run()
        do {
            guard case .portOut(let bad) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            #expect(bad.bytes == [])
            #expect(bad.value(at: 7) == 0)
        }
    }

    @Test func memory() throws {
        var cpu = try cpu(
            Self.exit(KVM_EXIT_MMIO) { run in
                run.pointee.mmio.phys_addr = 0xfee0_0300
                run.pointee.mmio.data = (1, 2, 3, 4, 5, 6, 7, 8)
                run.pointee.mmio.len = 3
                run.pointee.mmio.is_write = 1
            },
            Self.exit(KVM_EXIT_MMIO) { run in
                run.pointee.mmio.phys_addr = 0xd000_0000
                run.pointee.mmio.len = 8
                run.pointee.mmio.is_write = 0
            })
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else {
                throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes)
            }
            #expect(write.address == 0xfee0_0300)
            #expect(write.size == 3)
            #expect(write.value == 0x030201)
            #expect(write.bytes == [1, 2, 3])
        }
        try cpu.run()
        do {
            guard case .mmioRead(let read) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            #expect(read.address == 0xd000_0000)
            #expect(read.size == 8)
            read.answer(0x8877_6655_4433_2211)
            let data = unsafe cpu.withRunArea { area in unsafe area.load(fromByteOffset: 40, as: UInt64.self) }
            #expect(data == 0x8877_6655_4433_2211)
        }
    }

    @Test func modelSpecificRegisters() throws {
        var cpu = try cpu(
            Self.exit(KVM_EXIT_X86_RDMSR) { run in
                run.pointee.msr.index = 0xc000_0080
                run.pointee.msr.reason = UInt32(KVM_MSR_EXIT_REASON_FILTER)
            },
            Self.exit(KVM_EXIT_X86_WRMSR) { run in
                run.pointee.msr.index = 0x10
                run.pointee.msr.data = 0x1234_5678_9abc
                run.pointee.msr.reason = UInt32(KVM_MSR_EXIT_REASON_UNKNOWN)
            })
        try cpu.run()
        do {
            guard case .rdmsr(let read) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            #expect(read.index == 0xc000_0080)
            #expect(read.cause == .filter)
            read.refuse()
            #expect(run(cpu) { $0.msr.error } == 1)
        }
        do {
            guard case .rdmsr(let again) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            again.answer(0xd01)
            #expect(run(cpu) { $0.msr.error } == 0)
            #expect(run(cpu) { $0.msr.data } == 0xd01)
        }
        try cpu.run()
        do {
            guard case .wrmsr(let write) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, cpu.exit.rawBytes) }
            #expect(write.index == 0x10)
            #expect(write.value == 0x1234_5678_9abc)
            #expect(write.cause == .unknown)
            write.refuse()
            #expect(run(cpu) { $0.msr.error } == 1)
        }
    }

    /// Reads a field as the header has it.
    private func run<T>(_ cpu: borrowing VirtualCPU, _ read: (kvm_run) -> T) -> T {
        unsafe cpu.withRunArea { area in unsafe read(area.load(as: kvm_run.self)) }
    }

    @Test func smallPayloads() throws {
        var cpu = try cpu(
            Self.exit(KVM_EXIT_HLT), Self.exit(KVM_EXIT_SHUTDOWN), Self.exit(KVM_EXIT_IRQ_WINDOW_OPEN),
            Self.exit(KVM_EXIT_EXCEPTION) { run in
                run.pointee.ex.exception = 14
                run.pointee.ex.error_code = 2
            },
            Self.exit(KVM_EXIT_DEBUG) { run in
                run.pointee.debug.arch = kvm_debug_exit_arch(exception: 1, pad: 0, pc: 0x1000, dr6: 0x4ff0, dr7: 0x400)
            },
            Self.exit(KVM_EXIT_FAIL_ENTRY) { run in
                run.pointee.fail_entry.hardware_entry_failure_reason = 0x8000_0021
                run.pointee.fail_entry.cpu = 3
            },
            Self.exit(KVM_EXIT_TPR_ACCESS) { run in
                run.pointee.tpr_access.rip = 0xffff_8000
                run.pointee.tpr_access.is_write = 1
            },
            Self.exit(KVM_EXIT_IOAPIC_EOI) { run in run.pointee.eoi.vector = 0x31 },
            Self.exit(KVM_EXIT_NOTIFY) { run in run.pointee.notify.flags = 1 },
            Self.exit(KVM_EXIT_UNKNOWN) { run in run.pointee.hw.hardware_exit_reason = 48 })
        try cpu.run()
        guard case .halt = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .shutdown = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .interruptWindowOpen = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .exception(14, 2) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        do {
            guard case .debug(let debug) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(debug.exception == 1)
            #expect(debug.pc == 0x1000)
            #expect(debug.dr6 == 0x4ff0)
            #expect(debug.dr7 == 0x400)
        }
        try cpu.run()
        guard case .failEntry(0x8000_0021, 3) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .tprAccess(0xffff_8000, true) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .ioapicEOI(0x31) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .notify(1) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .hardware(48) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
    }

    @Test func payloadsByReference() throws {
        var cpu = try cpu(
            Self.exit(KVM_EXIT_INTERNAL_ERROR) { run in
                run.pointee.internal.suberror = 1
                run.pointee.internal.ndata = 4
                run.pointee.emulation_failure.flags = 1
                run.pointee.emulation_failure.insn_size = 3
                run.pointee.emulation_failure.insn_bytes = (0x0f, 0x01, 0xca, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
            },
            Self.exit(KVM_EXIT_INTERNAL_ERROR) { run in
                run.pointee.internal.suberror = 3
                run.pointee.internal.ndata = 1_000_000
                run.pointee.internal.data.15 = 77
            },
            Self.exit(KVM_EXIT_SYSTEM_EVENT) { run in
                run.pointee.system_event.type = 2
                run.pointee.system_event.ndata = 2
                run.pointee.system_event.data.0 = 5
                run.pointee.system_event.data.1 = 6
            },
            Self.exit(KVM_EXIT_HYPERCALL) { run in
                run.pointee.hypercall.nr = 12
                run.pointee.hypercall.args = (1, 2, 3, 4, 5, 6)
                run.pointee.hypercall.longmode = 1
            },
            Self.exit(KVM_EXIT_HYPERV) { run in
                run.pointee.hyperv.type = 2
                unsafe run.pointee.hyperv.u.hcall.input = 0x5c
                unsafe run.pointee.hyperv.u.hcall.params = (7, 8)
            },
            Self.exit(KVM_EXIT_XEN) { run in
                run.pointee.xen.type = 1
                unsafe run.pointee.xen.u.hcall.longmode = 1
                unsafe run.pointee.xen.u.hcall.cpl = 3
                unsafe run.pointee.xen.u.hcall.input = 17
                unsafe run.pointee.xen.u.hcall.params = (1, 2, 3, 4, 5, 6)
            })
        try cpu.run()
        do {
            guard case .internalError(let error) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(error.suberror == 1)
            #expect(error.instruction == [0x0f, 0x01, 0xca])
            #expect(error.data.count == 4)
        }
        try cpu.run()
        do {
            guard case .internalError(let other) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(other.suberror == 3)
            #expect(other.instruction == [])
            #expect(other.data.count == 16)
            #expect(other.data.last == 77)
        }
        try cpu.run()
        do {
            guard case .systemEvent(let event) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(event.type == 2)
            #expect(event.data == [5, 6])
        }
        try cpu.run()
        do {
            guard case .hypercall(let call) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(call.number == 12)
            #expect(call.argument(5) == 6)
            #expect(call.isLongMode == true)
            call.answer(99)
            #expect(run(cpu) { $0.hypercall.ret } == 99)
        }
        try cpu.run()
        do {
            guard case .hyperV(let hyperV) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(hyperV.type == 2)
            #expect(hyperV.input == 0x5c)
            #expect(hyperV.parameter(1) == 8)
            hyperV.answer(3)
            let result = run(cpu) { unsafe $0.hyperv.u.hcall.result }
            #expect(result == 3)
        }
        try cpu.run()
        do {
            guard case .xen(let xen) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(xen.isLongMode == true)
            #expect(xen.privilegeLevel == 3)
            #expect(xen.input == 17)
            #expect(xen.parameter(5) == 6)
            xen.answer(4)
            let xenResult = run(cpu) { unsafe $0.xen.u.hcall.result }
            #expect(xenResult == 4)
        }
    }

    @Test func anUnknownReasonKeepsNumberAndPayload() throws {
        var cpu = try cpu(
            Self.exit(12345) { run in
                run.store(UInt16(0xfeed), at: 32)
                run.store(UInt8(0x5a), at: 287)
            })
        try cpu.run()
        do {
            guard case .unknown(let exit) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(exit.reason.rawValue == 12345)
            #expect(exit.raw.count == 256)
            #expect(exit.raw[0] == 0xed)
            #expect(exit.raw[255] == 0x5a)
            #expect(cpu.exit.rawBytes == exit.raw)
        }
    }

    @Test func everyReasonHasACaseOrIsUnknown() throws {
        for reason in Int32(0)...64 {
            var cpu = try cpu(Self.exit(reason))
            try cpu.run()
            #expect(cpu.exit.reason.rawValue == UInt32(reason))
            _ = cpu.exit.rawBytes
        }
    }

    @Test func errorsOfARunAreExitsOrThrown() throws {
        var cpu = try cpu(
            { _ in 4 },
            { _ in 11 }, Self.exit(KVM_EXIT_HLT),
            { run in
                run.pointee.exit_reason = 39
                run.store(UInt64(8), at: 32)
                run.store(UInt64(0x1000), at: 40)
                run.store(UInt64(4096), at: 48)
                return 14
            },
            { run in
                run.pointee.exit_reason = 0
                return 14
            })
        // EINTR
        try cpu.run()
        guard case .interrupted = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        // EAGAIN is tried again
        try cpu.run()
        guard case .halt = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        // EFAULT with a description
        try cpu.run()
        do {
            guard case .memoryFault(let fault) = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
            #expect(fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE)
            #expect(fault.gpa == 0x1000)
            #expect(fault.size == 4096)
        }
        // EFAULT without
        do {
            try cpu.run()
            Issue.record("EFAULT was not thrown")
        } catch {
            #expect(error == KVMError.failed(.run, .badAddress))
            #expect(error.errno == .badAddress)
            #expect(error.description.contains("KVM_RUN: EFAULT: slot memory"))
        }
    }

    @Test func aKickEndsOneRunAndOnlyOne() throws {
        let endpoint = ScriptedEndpoint([Self.exit(KVM_EXIT_HLT)])
        var cpu = try System(endpoint: endpoint).makeVirtualMachine().makeVirtualCPU()
        let handle = cpu.kickHandle
        handle.kick()
        handle.kick()
        #expect(endpoint.kicks.withLock { $0 } == 2)
        try cpu.run()
        guard case .interrupted = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
        try cpu.run()
        guard case .halt = cpu.exit else { throw UnexpectedExit(cpu.exit.reason, []) }
    }

    @Test func handlesCloseThemselvesAndAKickHandleMayOutliveItsCPU() throws {
        let endpoint = ScriptedEndpoint()
        let handle: KickHandle
        do {
            let machine = try System(endpoint: endpoint).makeVirtualMachine()
            #expect(endpoint.closed.withLock { $0.map(\.rawValue) } == [100])
            let cpu = try machine.makeVirtualCPU()
            handle = cpu.kickHandle
            #expect(endpoint.mapped.withLock { $0 } == 1)
        }
        #expect(endpoint.mapped.withLock { $0 } == 0)
        #expect(endpoint.closed.withLock { $0.map(\.rawValue) } == [100, 102, 101])
        handle.kick()
        #expect(endpoint.kicks.withLock { $0 } == 0)
    }

    @Test func enablingWhatIsNotOfferedNamesIt() throws {
        let machine = try System(endpoint: ScriptedEndpoint()).makeVirtualMachine()
        try machine.enable(.disableExits([.mwait, .hlt]))
        try machine.enable(.exceptionPayload)
        do {
            try machine.enable(.disableExits([.hlt, .pause]))
            Issue.record("a bit that is not offered was enabled")
        } catch {
            #expect(error == KVMError.notOffered(.x86DisableExits, missing: 4))
            #expect(error.description.contains("KVM_CAP_X86_DISABLE_EXITS is not offered with the bits 0x4"))
        }
        do {
            try machine.enable(.busLockExit)
            Issue.record("a capability that is not offered was enabled")
        } catch {
            #expect(error.description == "KVM_CAP_X86_BUS_LOCK_EXIT is not offered by this hypervisor")
        }
    }

    @Test func anErrorNamesRequestErrnoAndMeaning() throws {
        let cpu = try System(endpoint: ScriptedEndpoint()).makeVirtualMachine().makeVirtualCPU()
        do {
            _ = try cpu.generalRegisters()
            Issue.record("no error")
        } catch {
            #expect(error.description == "KVM_GET_REGS: ENOTTY: this hypervisor does not have the request")
        }
    }
}
