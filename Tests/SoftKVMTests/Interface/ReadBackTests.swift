// What a client reads it can write back, whenever it may: state that was saved is state that can be restored.
// Documentation/virt/kvm/api.rst, section 4.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct ReadBackTests {
    /// A moment in a vCPU's life: how it comes about, and how the guest goes on from there to port 80H.
    struct Moment: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let source: String
        var hasControllers = false
        var prepare: @Sendable (borrowing VirtualCPU) throws -> Void = { _ in }
        /// How many exits come before it.
        var exits = 0
        /// Answers the access amid which the guest is.
        var answer: @Sendable (borrowing VirtualCPU) throws -> Void = { _ in }
        /// What port 80H hears; nil where the guest does not go on.
        var value: UInt64? = 0x5a
    }

    /// Changes everything in CPUID that follows the state: OSXSAVE, the sizes of leaf DH, MWAIT, APIC.
    private static let changed = """
        mov rax, cr4
        or eax, 1 << 18
        mov cr4, rax
        xor ecx, ecx
        xor edx, edx
        mov eax, 3
        xsetbv
        mov ecx, 0x1a0
        rdmsr
        xor eax, 1 << 18
        wrmsr
        mov ecx, 0x1b
        rdmsr
        and eax, ~(1 << 11)
        wrmsr
        """

    static let moments: [Moment] = [
        .init(testDescription: "before the first run", source: "mov al, 0x5a\nout 0x80, al"),
        .init(
            testDescription: "before the first run, with controllers", source: "mov al, 0x5a\nout 0x80, al",
            hasControllers: true),
        .init(
            testDescription: "after an exit", source: "\(changed)\nout 0x81, al\nmov al, 0x5a\nout 0x80, al", exits: 1),
        .init(
            testDescription: "after an exit, with controllers",
            source: "\(changed)\nout 0x81, al\nmov al, 0x5a\nout 0x80, al", hasControllers: true, exits: 1),
        .init(
            testDescription: "amid a read of a port", source: "in al, 0x10\nout 0x80, al", exits: 1,
            answer: {
                guard case .portIn(let access) = $0.exit else { throw Unexpected($0.exit) }
                access.answer(0x5a)
            }),
        .init(
            testDescription: "amid a read of a device", source: "mov ebx, 0xd0000000\nmov al, [rbx]\nout 0x80, al",
            exits: 1,
            answer: {
                guard case .mmioRead(let access) = $0.exit else { throw Unexpected($0.exit) }
                access.answer(0x5a)
            }),
        .init(
            testDescription: "amid a write to a device",
            source: "mov ebx, 0xd0000000\nmov al, 0x5a\nmov [rbx], al\nout 0x80, al", exits: 1),
        .init(
            testDescription: "halted", source: "mov al, 0x5a\nout 0x80, al", hasControllers: true,
            prepare: { try $0.setMultiprocessorState(.halted) }, value: nil),
        .init(
            testDescription: "waiting for INIT", source: "hlt", hasControllers: true,
            prepare: { try $0.setMultiprocessorState(.uninitialized) }, value: nil),
        .init(
            testDescription: "as an x2APIC", source: "mov al, 0x5a\nout 0x80, al", hasControllers: true,
            prepare: { try $0.setMSR(0x1b, to: 0xfee0_0d00) }),
        .init(
            testDescription: "with events pending", source: "hlt", hasControllers: true,
            prepare: {
                var events = try $0.events()
                (events.exception.injected, events.exception.nr) = (1, 13)
                (events.exception.has_error_code, events.exception.error_code) = (1, 0x18)
                (events.interrupt.injected, events.interrupt.nr, events.interrupt.shadow) = (1, 0x41, 1)
                (events.nmi.pending, events.nmi.masked) = (1, 1)
                try $0.setEvents(events)
            }, value: nil),
    ]

    @Test(arguments: moments, hypervisors)
    func allThatIsReadCanBeWritten(_ moment: Moment, _ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: moment.source) {
            if moment.hasControllers {
                try $0.createInterruptControllers()
                try $0.createPIT()
            }
        }
        var cpu = try machine.makeCPU()
        if moment.exits > 0 { try machine.machine.enable(.disableQuirks(16)) }
        try moment.prepare(cpu)
        for _ in 0..<moment.exits { try cpu.run() }
        try moment.answer(cpu)
        let troubles = StatePair.troubles(machine.machine, cpu, hasControllers: moment.hasControllers)
        #expect(troubles == [])
        // And the access that waited is still completed.
        guard let value = moment.value else { return }
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        if hypervisor == .kernel, UInt64(out.value) != value {
            print("/dev/kvm deviates: its emulator forgets the answer \(moment.testDescription)")
            return
        }
        #expect(out.port == 0x80 && UInt64(out.value) == value)
    }

    /// What KVM_GET_MSR_INDEX_LIST names can be read, and written back.
    @Test(arguments: hypervisors)
    func allMSRsThatAreListedCanBeWritten(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: Self.changed + "\nout 0x81, al")
        var cpu = try machine.makeCPU()
        for _ in 0..<2 {
            let indices = try System(hypervisor).msrIndices()
            let values = try cpu.msrs(indices)
            #expect(values.map(\.index) == indices)
            for value in values {
                // Seven of PVM's own are read only.
                if hypervisor == .kernel, value.index >> 8 == 0x4b564d || value.index == 0xda0 { continue }
                #expect(try cpu.setMSRs([value]) == 1, "\(String(value.index, radix: 16))")
            }
            try cpu.run()
        }
    }

    /// What a client can read beside them, too, though the guest could write none of it.
    @Test func allMSRsThatAreReadCanBeWritten() throws {
        let cpu = try TestMachine(.software, source: "hlt").makeCPU()
        let ranges: [Range<UInt32>] = [
            0..<0x800, 0x900..<0x2000, 0x4000_0000..<0x4000_1000, 0x4b56_4d00..<0x4b56_4e00, 0xc000_0000..<0xc000_0400,
            0xc001_0000..<0xc001_2000,
        ]
        var count = 0
        for index in ranges.joined() {
            guard let value = try cpu.msrs([index]).first else { continue }
            count += 1
            #expect(try cpu.setMSRs([value]) == 1, "\(String(index, radix: 16))")
        }
        #expect(count > 200)
    }

    /// CPUID after a run: what was set at first, and what is read now, but nothing else.
    @Test(arguments: hypervisors)
    func theSameLeavesCanBeSetAgain(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: Self.changed + "\nout 0x81, al\nout 0x80, al")
        try machine.machine.enable(.disableQuirks(16))
        var cpu = try machine.makeCPU()
        let first = try System(hypervisor).supportedCPUID()
        try cpu.run()
        let now = try cpu.cpuid()
        func leaf(_ leaves: [kvm_cpuid_entry2]) -> [UInt32] {
            leaves.first { $0.function == 1 }.map { [$0.ecx, $0.edx] } ?? []
        }
        #expect(leaf(first) != leaf(now))
        do { try cpu.setCPUID(first) } catch {
            guard hypervisor == .kernel else { throw error }
            print("/dev/kvm deviates: it compares with what it has changed itself: \(error)")
        }
        try cpu.setCPUID(now)
        for change in [0, 1, 2, 3] {
            var other = now
            switch change {
            case 0: other.removeLast()
            case 1: other[1].flags ^= 1
            case 2: other[1].eax ^= 1
            default: other[1].function ^= 0x10_0000
            }
            #expect(throws: KVMError.failed(.setCPUID2, .invalidArgument)) { try cpu.setCPUID(other) }
        }
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.port == 0x80)
    }
}
