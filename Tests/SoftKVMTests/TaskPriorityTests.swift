// The task priority, shared with the client by exits (KVM_TPR_ACCESS_REPORTING) and with the guest by a word in its memory
// (KVM_SET_VAPIC_ADDR). Linux, Documentation/virt/kvm/api.rst, and arch/x86/kvm/lapic.c as it was seen to behave.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

/// The kernel offers KVM_CAP_VAPIC only where the processor does not speed up the task priority itself.
private let offering = hypervisors.filter { (try? System($0).check(.vapic)) ?? 0 > 0 }

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct TaskPriorityTests {
    private func expectOut(_ cpu: inout VirtualCPU, _ value: UInt32) throws {
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.value == value)
    }

    private func taskPriority(_ cpu: borrowing VirtualCPU) throws -> UInt8 {
        var state = try cpu.localAPIC()
        return unsafe withUnsafeBytes(of: &state) { unsafe $0[0x80] }
    }

    @Test func theSoftwareHypervisorOffersIt() { #expect(offering.contains(.software)) }

    // MARK: Reports

    // A kernel that emulates looks at its requests when the clock of the host ticks: each access leaves it the time.
    private static let ticks = """
        bits 64
        org 0x1000
        %macro tick 0
        mov r8d, 20000
        %%more: dec r8d
        jnz %%more
        %endmacro

        """

    private static let accesses = """
        mov r12d, 0xfee00000
        mov dword [r12 + 0xf0], 0x1ff
        mov dword [r12 + 0x80], 0x20
        mov eax, [r12 + 0x80]
        out 0xe9, eax
        writes: mov dword [r12 + 0x80], 0x50
        written: tick
        reads: mov eax, [r12 + 0x80]
        read: tick
        reads_a_byte: mov bl, [r12 + 0x80]
        read_a_byte: tick
        changes: or dword [r12 + 0x80], 0x80
        changed: tick
        mov byte [r12 + 0x80], 0x10     ; none of these reaches the register
        mov ecx, [r12 + 0x82]
        mov rcx, [r12 + 0x80]
        tick
        add eax, ebx
        out 0xe9, eax
        mov ecx, 0x1b
        rdmsr
        or ah, 4
        wrmsr
        mov ecx, 0x808
        xor edx, edx
        mov eax, 0x30
        writes_msr: wrmsr
        msr_written: tick
        reads_msr: rdmsr
        msr_read: tick
        out 0xe9, eax
        mov eax, 0x60
        wrmsr
        rdmsr
        out 0xe9, eax
        """

    @Test(arguments: offering)
    func accessesAreExitsOnceAskedFor(_ hypervisor: Hypervisor) throws {
        let code = try Assembler.assemble(TaskPriorityTests.ticks + TaskPriorityTests.accesses)
        let machine = try TestMachine(hypervisor, .long, code.bytes) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        func expectAccess(_ label: String, isWrite: Bool, then next: String) throws {
            try cpu.run()
            guard case .tprAccess(let rip, let wrote) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(rip == code.labels[label], "\(label)")
            #expect(wrote == isWrite, "\(label)")
            // The instruction is complete, and none has followed it; a kernel that emulates is further on.
            if hypervisor == .software { #expect(try cpu.registers().rip == code.labels[next], "\(label)") }
        }
        try expectOut(&cpu, 0x20)
        try cpu.setTPRAccessReporting(true)
        try expectAccess("writes", isWrite: true, then: "written")
        #expect(try taskPriority(cpu) == 0x50)
        try expectAccess("reads", isWrite: false, then: "read")
        #expect(try cpu.registers().rax == 0x50)
        try expectAccess("reads_a_byte", isWrite: false, then: "read_a_byte")
        try expectAccess("changes", isWrite: true, then: "changed")
        #expect(try taskPriority(cpu) == 0xd0)
        try expectOut(&cpu, 0xa0)
        try expectAccess("writes_msr", isWrite: true, then: "msr_written")
        try expectAccess("reads_msr", isWrite: false, then: "msr_read")
        try expectOut(&cpu, 0x30)
        try cpu.setTPRAccessReporting(false)
        try expectOut(&cpu, 0x60)
    }

    // The write to the client's device leaves first: its exit is the instruction's own.
    @Test(arguments: offering)
    func anExitOfTheSameInstructionComesFirst(_ hypervisor: Hypervisor) throws {
        let code = try Assembler.assemble(
            TaskPriorityTests.ticks + """
                mov esi, 0xfee00080
                mov edi, 0xd0000000
                copies: movsd
                mov eax, 9
                out 0xe9, eax
                """)
        let machine = try TestMachine(hypervisor, .long, code.bytes) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        try cpu.setTPRAccessReporting(true)
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.address == 0xd000_0000)
        }
        try cpu.run()
        guard case .tprAccess(let rip, let isWrite) = cpu.exit else { throw Unexpected(cpu.exit) }
        // The kernel has written this exit's fields before the other's, which lie over them.
        if hypervisor == .software {
            #expect(rip == code.labels["copies"])
            #expect(!isWrite)
        }
        try expectOut(&cpu, 9)
    }

    // MARK: The word

    private static let word: UInt64 = 0x3000

    /// Reports 1 with a task priority, and goes on.
    private static func guest(priority: UInt8, _ rest: String) -> String {
        """
        mov r12d, 0xfee00000
        mov dword [r12 + 0xf0], 0x1ff
        mov dword [r12 + 0x80], \(priority)
        report 1
        \(rest)
        """
    }

    /// Reports 1 with the task priority 0x40, and the word once more; lowers the priority there as LOWER says, and waits for
    /// vector 0x31, whose handler reports the word before and after the end of the interrupt.
    private static func mirrored(lower: String) -> String {
        "handlers\nmov word [0x6d000 + 0x31 * 16], handler\n"
            + guest(
                priority: 0x40,
                """
                sti
                mov ecx, 300            ; long enough for a kernel that emulates many instructions at once
                delay: dec ecx
                jnz delay
                report [0x3000]
                \(lower)
                again: cmp byte [0x4000], 0
                je again
                report [r12 + 0x80]
                hlt
                handler: report [0x3000]
                mov dword [r12 + 0xb0], 0
                report [0x3000]
                mov byte [0x4000], 1
                iretq
                """)
    }

    /// A kernel that emulates may write the word between the guest's change and its own look at it.
    private func skipWhereWordsAreLost(_ hypervisor: Hypervisor) throws {
        if hypervisor == .kernel { try skip("priority in memory", "its emulator loses a change that no exit follows") }
    }

    // With a port write a guest tells of a change that lets something through; without it, it has to be found.
    @Test(
        arguments: offering,
        ["mov byte [0x3000], 0x20\nout 0x7e, al", "mov byte [0x3000], 0x20"])
    func anInterruptWaitsForThePriorityInMemory(_ hypervisor: Hypervisor, _ lower: String) throws {
        if !lower.contains("out") { try skipWhereWordsAreLost(hypervisor) }
        let machine = try TestMachine(hypervisor, source: TaskPriorityTests.mirrored(lower: lower)) {
            try $0.createInterruptControllers()
        }
        var cpu = try machine.makeCPU()
        try expectOut(&cpu, 1)
        try machine.memory.store(UInt32(0x40), at: TaskPriorityTests.word)
        try cpu.setVAPICAddress(TaskPriorityTests.word)
        try machine.machine.signalMSI(address: 0xfee0_0000, data: 0x31)
        // It is requested, and held back.
        try expectOut(&cpu, 0x3100_0040)
        if lower.contains("out") {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.port == 0x7e)
        }
        try expectOut(&cpu, 0x3020)
        try expectOut(&cpu, 0x20)
        try expectOut(&cpu, 0x20)
        #expect(try taskPriority(cpu) == 0x20)
    }

    // It need not have come before the guest lowered its priority.
    @Test(arguments: offering)
    func anInterruptFindsThePriorityThatIsInMemory(_ hypervisor: Hypervisor) throws {
        try skipWhereWordsAreLost(hypervisor)
        let lower = "mov byte [0x3000], 0x20\nmov byte [0x4001], 1"
        let machine = try TestMachine(hypervisor, source: TaskPriorityTests.mirrored(lower: lower)) {
            try $0.createInterruptControllers()
        }
        var cpu = try machine.makeCPU()
        try expectOut(&cpu, 1)
        try machine.memory.store(UInt32(0x40), at: TaskPriorityTests.word)
        try cpu.setVAPICAddress(TaskPriorityTests.word)
        try expectOut(&cpu, 0x40)
        let sender = Helper {
            try machine.memory.waitWhile(0, at: 0x4000)
            try machine.machine.signalMSI(address: 0xfee0_0000, data: 0x31)
        }
        try expectOut(&cpu, 0x3020)
        try sender.join()
        try expectOut(&cpu, 0x20)
        try expectOut(&cpu, 0x20)
    }

    // What the word holds when it is named is the priority, not the register.
    @Test(arguments: offering)
    func theWordCountsUntilItIsTakenAway(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: Self.guest(
                priority: 0x60,
                """
                report 2
                report 3
                report 4
                mov dword [0x3000], 0x10
                report 5
                """)
        ) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        try expectOut(&cpu, 1)
        #expect(cpu.cr8 == 6)
        try machine.memory.store(UInt32(0x35), at: TaskPriorityTests.word)
        try cpu.setVAPICAddress(TaskPriorityTests.word)
        try expectOut(&cpu, 2)
        #expect(try taskPriority(cpu) == 0x35)
        #expect(cpu.cr8 == 3)
        // The client's own setting is shown to the guest.
        var state = try cpu.localAPIC()
        unsafe withUnsafeMutableBytes(of: &state) { unsafe $0[0x80] = 0x77 }
        try cpu.setLocalAPIC(state)
        try expectOut(&cpu, 3)
        #expect(try machine.memory.load(UInt32.self, at: TaskPriorityTests.word) == 0x77)
        // And what the client writes into the word is taken.
        try machine.memory.store(UInt32(0x22), at: TaskPriorityTests.word)
        try expectOut(&cpu, 4)
        #expect(try taskPriority(cpu) == 0x22)
        try cpu.setVAPICAddress(0)
        try expectOut(&cpu, 5)
        #expect(try taskPriority(cpu) == 0x22)
        #expect(try machine.memory.load(UInt32.self, at: TaskPriorityTests.word) == 0x10)
    }

    @Test(arguments: offering)
    func aWordWhoseMemoryGoesIsForgotten(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor, source: Self.guest(priority: 0x60, "report [r12 + 0x80]")
        ) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        try expectOut(&cpu, 1)
        try machine.memory.store(UInt32(0x45), at: 0x10_1000)
        try cpu.setVAPICAddress(0x10_1000)
        try machine.machine.remove(machine.high)
        try expectOut(&cpu, 0x60)
    }

    // MARK: What is refused

    @Test(arguments: offering)
    func addressesAreChecked(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt") { try $0.createInterruptControllers() }
        try machine.machine.addSlot(machine.memory, offset: 0, size: 0x2000, at: 0x40_0000, flags: .readOnly)
        let cpu = try machine.makeCPU()
        for good: UInt64 in [0, 1, 0x3000, 0x3001, 0x9_fffc, 0x10_0000, 0x1f_fffc] {
            try cpu.setVAPICAddress(good)
        }
        for bad: UInt64 in [0x9_fffd, 0xa_0000, 0x1f_fffe, 0x20_0000, 0x40_0000, 0xfee0_0000, 1 << 52, .max - 1, .max] {
            #expect(throws: KVMError.failed(.setVAPICAddr, .invalidArgument), "\(String(bad, radix: 16))") {
                try cpu.setVAPICAddress(bad)
            }
        }
        var control = kvm_tpr_access_ctl()
        control.flags = 1
        #expect(throws: KVMError.failed(.tprAccessReporting, .invalidArgument)) {
            unsafe try withUnsafeMutablePointer(to: &control) {
                unsafe try cpu.request(.tprAccessReporting, UInt(bitPattern: $0))
            }
        }
        // The reserved fields are not looked at.
        control = kvm_tpr_access_ctl()
        control.reserved.3 = 9
        try unsafe withUnsafeMutablePointer(to: &control) {
            _ = unsafe try cpu.request(.tprAccessReporting, UInt(bitPattern: $0))
        }
    }

    @Test(arguments: offering)
    func withoutALocalAPICThereIsNoWord(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        let cpu = try machine.makeCPU()
        for address: UInt64 in [0, 0x3000] {
            #expect(throws: KVMError.failed(.setVAPICAddr, .invalidArgument)) { try cpu.setVAPICAddress(address) }
        }
        // That there is none comes before the argument is read. Reporting is accepted, and has nothing to report.
        #expect(throws: KVMError.failed(.setVAPICAddr, .invalidArgument)) { unsafe try cpu.request(.setVAPICAddr, 8) }
        try cpu.setTPRAccessReporting(true)
    }
}
