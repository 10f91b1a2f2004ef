// Exits, and ways around exits, that a client asks for: MSR accesses, task priority, hypercalls, the end of interrupts,
// coalesced writes, eventfds, dirty rings, synchronised registers.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct OptInTests {
    @Test(arguments: hypervisors)
    func filteredMSRsAreExits(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov ecx, 0x176
                mov eax, 0x11223344
                mov edx, 0x55667788
                wrmsr
                rdmsr
                out 0xe9, eax
                mov eax, edx
                out 0xe9, eax
                mov ecx, 0x175
                mov eax, 7
                xor edx, edx
                wrmsr
                rdmsr
                out 0xe9, eax
                hlt
                """)
        try machine.machine.enable(.userSpaceMSR(.filter))
        try machine.machine.setMSRFilter(MSRFilter([.init(base: 0x174, allowed: [true, true, false])]))
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .wrmsr(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.index == 0x176)
            #expect(write.value == 0x5566_7788_1122_3344)
            #expect(write.cause == .filter)
            write.accept()
        }
        try cpu.run()
        do {
            guard case .rdmsr(let read) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(read.index == 0x176)
            #expect(read.cause == .filter)
            read.answer(0x1_0000_0002)
        }
        for value: UInt32 in [2, 1, 7] {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value == value)
        }
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
    }

    // Each range has bits and operations of its own, and ends where it ends.
    @Test(arguments: hypervisors)
    func eachRangeOfAFilterIsForItself(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov ecx, 0x174
                rdmsr
                inc ecx
                rdmsr
                inc ecx
                rdmsr
                xor eax, eax
                xor edx, edx
                wrmsr
                dec ecx
                wrmsr
                dec ecx
                wrmsr
                hlt
                """)
        try machine.machine.enable(.userSpaceMSR(.filter))
        try machine.machine.setMSRFilter(
            MSRFilter([
                .init(base: 0x174, allowed: [true, false], writes: false),
                .init(base: 0x174, allowed: [false, true], reads: false),
            ]))
        var cpu = try machine.makeCPU()
        var accesses: [String] = []
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .rdmsr(let read):
                accesses.append("read \(String(read.index, radix: 16))")
                read.answer(0)
            case .wrmsr(let write):
                accesses.append("write \(String(write.index, radix: 16))")
                write.accept()
            case .halt: break run
            default: throw Unexpected(cpu.exit)
            }
        }
        #expect(accesses == ["read 175", "write 174"])
    }

    @Test(arguments: hypervisors)
    func aRefusedOrUnknownMSRIsAGeneralProtectionFault(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                handlers
                attempt after
                mov ecx, 0x4000fff0
                rdmsr
                after: attempt end
                wrmsr
                end: hlt
                """)
        try machine.machine.enable(.userSpaceMSR(.unknown))
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .rdmsr(let read) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(read.index == 0x4000_fff0)
            #expect(read.cause == .unknown)
            read.refuse()
        }
        try cpu.run()
        do {
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value == 13)
        }
        // Error code and RIP.
        try cpu.run()
        try cpu.run()
        try cpu.run()
        do {
            guard case .wrmsr(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.index == 0x4000_fff0)
            write.refuse()
        }
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.value == 13)
    }

    // Without the in-kernel local APIC, lowering CR8 is an exit.
    @Test(arguments: hypervisors)
    func theTaskPriorityIsTheClientsWithoutALocalAPIC(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov eax, 5
                mov cr8, rax
                mov eax, 2
                mov cr8, rax
                mov rax, cr8
                out 0xe9, eax
                hlt
                """)
        var cpu = try machine.makeCPU()
        var priorities: [UInt64] = []
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .setTPR: priorities.append(cpu.cr8)
            case .portOut(let out):
                #expect(out.value == 2)
                break run
            case .internalError(let error) where hypervisor == .kernel:
                try skip("CR8", EmulatorGaveUp(instruction: error.instruction).reason)
            case let exit: throw Unexpected(exit)
            }
        }
        if hypervisor == .kernel, priorities.isEmpty { try skip("CR8", "its emulator changes CR8 without an exit") }
        #expect(priorities == [2])
        #expect(cpu.cr8 == 2)
    }

    @Test(arguments: hypervisors)
    func writesAreCoalesced(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov ebx, 0xd0000000
                mov dword [rbx], 1
                mov word [rbx + 0x10], 2
                mov al, 3
                out 0x70, al
                mov byte [rbx + 0x1000], 4
                hlt
                """)
        try machine.machine.coalesce(.memory(0xd000_0000), size: 0x100)
        try machine.machine.coalesce(.port(0x70), size: 1)
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.address == 0xd000_1000)
        }
        let writes = cpu.coalescedWrites()
        #expect(writes.map(\.phys_addr) == [0xd000_0000, 0xd000_0010, 0x70])
        #expect(writes.map(\.len) == [4, 2, 1])
        #expect(writes.map(\.data.0) == [1, 2, 3])
        #expect(writes.map(\.pio) == [0, 0, 1])
        #expect(cpu.coalescedWrites().isEmpty)
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        try machine.machine.stopCoalescing(.memory(0xd000_0000), size: 0x100)
    }

    @Test(arguments: hypervisors)
    func writesSignalEventDescriptors(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov ax, 7
                out 0x80, ax
                mov ax, 8
                out 0x80, ax
                mov ebx, 0xd0000000
                mov dword [rbx], 5
                mov word [rbx], 6
                hlt
                """)
        let matched = try EventDescriptor()
        let any = try EventDescriptor()
        try machine.machine.attach(matched, to: .port(0x80), length: 2, match: 7)
        try machine.machine.attach(any, to: .memory(0xd000_0000), length: 4)
        #expect(throws: KVMError.failed(.ioeventfd, .fileExists)) {
            try machine.machine.attach(matched, to: .port(0x80), length: 2, match: 7)
        }
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value == 8)
        }
        #expect(matched.drain() == 1)
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.size == 2)
        }
        #expect(any.drain() == 1)
        try machine.machine.detach(matched, from: .port(0x80), length: 2, match: 7)
        #expect(throws: KVMError.failed(.ioeventfd, .noSuchFile)) {
            try machine.machine.detach(matched, from: .port(0x80), length: 2, match: 7)
        }
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
    }

    @Test(arguments: hypervisors)
    func registersAreSynchronisedInTheRunArea(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov eax, 0x1234
                hlt
                out 0xe9, eax
                hlt
                out 0xe9, eax
                """)
        var cpu = try machine.makeCPU()
        cpu.synced = [.general, .special]
        try cpu.run()
        do { guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) } }
        var registers = cpu.syncedRegisters
        #expect(registers.rax == 0x1234)
        #expect(cpu.syncedSpecialRegisters.cr3 == Place.pageTables)
        registers.rax = 0x5678
        cpu.syncedRegisters = registers
        try expect(&cpu, 0x5678)
        // What went in goes in once.
        try cpu.run()
        do { guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) } }
        try cpu.update { $0.rax = 0x9abc }
        try expect(&cpu, 0x9abc)
    }

    /// An interrupt can be injected where IF is set and no shadow holds it back.
    @Test(arguments: hypervisors)
    func whetherAnInterruptCanBeInjected(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        var cpu = try machine.makeCPU()
        let kick = cpu.kickHandle
        for (flags, shadow, isReady) in [
            (UInt64(0x202), UInt8(0), true), (0x202, 1, false), (0x202, 2, false), (2, 0, false), (0x202, 0, true),
        ] {
            try cpu.update { $0.rflags = flags }
            var events = try cpu.events()
            events.flags = UInt32(KVM_VCPUEVENT_VALID_SHADOW)
            events.interrupt.shadow = shadow
            try cpu.setEvents(events)
            kick.kick()
            try cpu.run()
            guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(cpu.isReadyForInterrupt == isReady, "flags \(flags), shadow \(shadow)")
        }
    }

    /// KVM_HC_MAP_GPA_RANGE: arguments and the answer have 32 bits outside of 64-bit mode.
    @Test(arguments: [(EntryMode.protected, UInt64(0xFFFF_FFF2)), (.long, 0xFFFF_FFFF_FFFF_FFF2)])
    func aHypercallIsAnsweredInTheModesWidth(_ mode: EntryMode, _ wanted: UInt64) throws {
        let machine = try TestMachine(
            .software, mode,
            source: """
                mov eax, 12
                mov ebx, 0x1000
                mov ecx, 1
                xor edx, edx
                vmcall
                hlt
                """)
        try machine.machine.enable(.exitHypercall(1 << 12))
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .hypercall(let call) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(call.number == 12 && call.isLongMode == (mode == .long))
            #expect((0..<3).map { call.argument($0) } == [0x1000, 1, 0])
            call.answer(0xFFFF_FFFF_FFFF_FFF2)
        }
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(try cpu.generalRegisters().rax == wanted)
    }

    /// A guest that enables its local APIC, routes pin 4 of the I/O APIC (its entries 0x18 and 0x19) to vector 0x24, and halts until it comes.
    private static let interrupted = """
        handlers
        mov word [0x6d000 + 0x24 * 16], handler
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
        mov r12d, 0xfee00000
        mov r13d, 0xfec00000
        mov dword [r12 + 0xf0], 0x1ff
        mov dword [r13], 0x18
        mov dword [r13 + 0x10], 0x24
        mov dword [r13], 0x19
        mov dword [r13 + 0x10], 0
        mov eax, 1
        out 0xe9, eax
        again: sti
        hlt
        cli
        mov eax, 2
        out 0xe9, eax
        jmp again
        handler: push rax
        mov dword [r12 + 0xb0], 0
        mov eax, 0x24
        out 0xe9, eax
        pop rax
        iretq
        """

    private func expect(_ cpu: inout VirtualCPU, _ values: UInt32...) throws {
        for value in values {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.value == value)
        }
    }

    @Test(arguments: hypervisors)
    func linesMessagesAndEventDescriptorsInterruptAHaltedProcessor(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: OptInTests.interrupted) {
            try $0.createInterruptControllers()
        }
        var cpu = try machine.makeCPU()
        try expect(&cpu, 1)
        try machine.machine.setLine(4, to: true)
        try expect(&cpu, 0x24, 2)
        try machine.machine.setLine(4, to: false)
        // While it is halted, from another thread.
        let line = Helper {
            try machine.machine.setLine(4, to: true)
            try machine.machine.setLine(4, to: false)
        }
        try expect(&cpu, 0x24, 2)
        try line.join()
        let delivery = try machine.machine.signalMSI(address: 0xfee0_0000, data: 0x24)
        #expect(delivery == .delivered(1))
        try expect(&cpu, 0x24, 2)
        let event = try EventDescriptor()
        try machine.machine.attach(event, toGSI: 4)
        event.signal()
        try expect(&cpu, 0x24, 2)
        try machine.machine.detach(event, fromGSI: 4)
        let message = try EventDescriptor()
        try machine.machine.setRouting([.msi(gsi: 30, address: 0xfee0_0000, data: 0x24)])
        try machine.machine.attach(message, toGSI: 30)
        message.signal()
        try expect(&cpu, 0x24, 2)
    }

    @Test(arguments: hypervisors)
    func theSplitControllersTellOfTheEndOfALevelInterrupt(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                handlers
                mov word [0x6d000 + 0x24 * 16], handler
                mov r12d, 0xfee00000
                mov dword [r12 + 0xf0], 0x1ff
                sti
                mov eax, 1
                out 0xe9, eax
                hlt
                handler: mov eax, 0x24
                out 0xe9, eax
                mov dword [r12 + 0xb0], 0
                jmp ended               ; a translator may see the end only where a block ends
                ended: mov eax, 3
                out 0xe9, eax
                iretq
                """
        ) { try $0.enable(.splitIRQChip()) }
        var cpu = try machine.makeCPU()
        // A level-triggered message, routed as a pin of the client's I/O APIC.
        try machine.machine.setRouting([.msi(gsi: 4, address: 0xfee0_0000, data: 0x8024)])
        try expect(&cpu, 1)
        try machine.machine.setLine(4, to: true)
        try expect(&cpu, 0x24)
        try cpu.run()
        do {
            guard case .ioapicEOI(0x24) = cpu.exit else { throw Unexpected(cpu.exit) }
        }
        try expect(&cpu, 3)
    }

    /// Code where there is no memory. Level 0 is always told of by an exit; level 3 gets #UD, which has no gate here, unless
    /// the client asked. What there is of the instruction comes along.
    @Test(arguments: [false, true]) func codeInNoMemory(_ isAskedFor: Bool) throws {
        let machine = try TestMachine(.software, source: "hlt")
        if isAskedFor { try machine.machine.enable(.exitOnEmulationFailure) }
        // The beginning of MOV EAX, imm32 at the memory's end.
        try machine.memory.write([0xb8, 1, 2], at: 0x1f_fffd)
        var cpu = try machine.makeCPU(at: 0x1f_fffd)
        try cpu.run()
        do {
            guard case .internalError(let error) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(error.suberror == 1)
            #expect(error.instruction == [0xb8, 1, 2])
        }
        try cpu.update {
            $0.cs.selector |= 3
            $0.cs.dpl = 3
            $0.ss.selector |= 3
            $0.ss.dpl = 3
            $0.rip = 0x20_0000
        }
        try cpu.run()
        switch cpu.exit {
        case .internalError(let error) where isAskedFor:
            #expect(error.suberror == 1)
            #expect(error.instruction.isEmpty && error.data == [0])
        case .shutdown where !isAskedFor: break
        default: throw Unexpected(cpu.exit)
        }
    }

    // Skipped by name where KVM_CAP_DIRTY_LOG_RING_ACQ_REL is not offered.
    @Test(arguments: hypervisors.filter { (try? System($0).check(.dirtyLogRingAcqRel)) ?? 0 > 0 })
    func theDirtyRingTellsOfEachPageOnce(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov byte [0x101000], 1
                mov byte [0x101001], 1
                mov byte [0x105000], 1
                hlt
                mov byte [0x101000], 1
                hlt
                """
        ) { try $0.enable(.dirtyLogRing(bytes: 65536)) }
        try machine.machine.setFlags(.logDirtyPages, of: machine.high)
        var cpu = try machine.makeCPU()
        var ring = try cpu.dirtyRing(bytes: 65536)
        try cpu.run()
        do { guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) } }
        #expect(Set(ring.harvest().map(\.page)) == [1, 5])
        let taken = try machine.machine.resetDirtyRings()
        #expect(taken >= 2)  // a kernel that emulates tells of some twice
        try cpu.run()
        do { guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) } }
        let again = ring.harvest()
        #expect(again.allSatisfy { $0.slot == 1 })
        #expect(Set(again.map(\.page)) == [1])
    }
}
