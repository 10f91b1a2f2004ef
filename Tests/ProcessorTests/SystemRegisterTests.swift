import GuestMemory
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// Control, debug and model-specific registers. Intel SDM vol. 3, 2.5, 4.1, 9.8.5; vol. 4.
@Suite(.within(minutes: 20)) struct SystemRegisterTests {
    // MARK: CR0…CR8

    @Test(arguments: [
        UInt64(0x8000_0010),  // PG without PE
        0x2000_0011,  // NW without CD
        0x1_0000_0011,  // a reserved bit
        0x11,  // PG cleared in 64-bit mode
    ])
    func badCR0(_ value: UInt64) throws {
        let machine = try SystemMachine.long([0x0F, 0x22, 0xC0])  // mov cr0, rax
        machine.state.registers[0] = value
        #expect(try machine.runToVector() == 13)
        #expect(machine.state.cr0 == 0x8000_0011)
    }

    @Test func ETIsAlwaysSet() throws {
        let machine = try SystemMachine.protected([0x0F, 0x22, 0xC0, 0xF4])
        machine.state.registers[0] = 0x0000_0001
        try machine.runToHalt()
        #expect(machine.state.cr0 == 0x11)
    }

    @Test(
        arguments: [
            0,  // PAE cleared in long mode
            0x8000_0000_0000_0020, 0x2020,  // VMXE
            0x1020,  // LA57
        ] as [UInt64])
    func badCR4(_ value: UInt64) throws {
        let machine = try SystemMachine.long([0x0F, 0x22, 0xE0])  // mov cr4, rax
        machine.state.registers[0] = value
        #expect(try machine.runToVector() == 13)
        #expect(machine.state.cr4 == 0x20)
    }

    @Test func PCIDENeedsCR3WithoutPCID() throws {
        let machine = try SystemMachine.long([0x0F, 0x22, 0xE0])
        machine.state.cr3 = SystemMachine.tables | 8
        machine.state.registers[0] = 1 << 17 | 0x20
        #expect(try machine.runToVector() == 13)
    }

    @Test func CR3NoFlushBitNeedsPCIDE() throws {
        let machine = try SystemMachine.long([0x0F, 0x22, 0xE1, 0x0F, 0x22, 0xD8, 0x0F, 0x22, 0xE2, 0x0F, 0x22, 0xD8])
        machine.state.registers[1] = 1 << 17 | 0x20  // mov cr4, rcx; mov cr3, rax; mov cr4, rdx; mov cr3, rax
        machine.state.registers[2] = 0x20
        machine.state.registers[0] = 1 << 63 | SystemMachine.tables
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(2, size: 8) == [0, SystemMachine.code + 9])
        #expect(machine.state.cr3 == SystemMachine.tables)
    }

    @Test func CR8IsTheTaskPriority() throws {
        // mov cr8, rax; mov rcx, cr8
        let machine = try SystemMachine.long([0x44, 0x0F, 0x22, 0xC0, 0x44, 0x0F, 0x20, 0xC1, 0xF4])
        machine.state.registers[0] = 9
        try machine.runToHalt()
        #expect(machine.host.taskPriority == 9 && machine.state.registers[1] == 9)
    }

    @Test func LoweredTaskPriorityLeavesWithoutLocalAPIC() throws {
        let machine = try SystemMachine.long([0x44, 0x0F, 0x22, 0xC0, 0xF4])
        machine.host.hasLocalAPIC = false
        machine.host.taskPriority = 9
        machine.state.registers[0] = 3
        #expect(machine.processor.run() == .taskPriorityChanged)
        try machine.runToHalt()
    }

    @Test func longModeIsEnteredByTheBook() throws {
        // mov cr4, ecx; mov cr3, edx; wrmsr of EFER came before; mov cr0, ebx; jmp 10h:target
        let code: [UInt8] = [
            0x0F, 0x22, 0xE1, 0x0F, 0x22, 0xDA, 0xB9, 0x80, 0, 0, 0xC0, 0xB8, 0, 1, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0x0F,
            0x22, 0xC3,
            0xEA, 0, 0x10, 0x02, 0, 0x10, 0,
        ]
        let machine = try SystemMachine.protected(code)
        try machine.memory.store(SystemMachine.tables + 0x1007, at: SystemMachine.tables)
        try machine.memory.store(SystemMachine.tables + 0x2007, at: SystemMachine.tables + 0x1000)
        for index in 0..<8 as Range<UInt64> {
            try machine.memory.store(index << 21 | 0x87, at: SystemMachine.tables + 0x2000 + index * 8)
        }
        machine.state.registers[1] = 0x20
        machine.state.registers[2] = SystemMachine.tables
        machine.state.registers[3] = 0x8000_0011
        try machine.memory.write([0x49, 0xFF, 0xC0, 0xF4], at: 0x2_1000)  // inc r8; hlt
        try machine.runToHalt()
        #expect(machine.state.efer == 0x500 && machine.state.registers[8] == 1)
    }

    @Test func PAELoadsChecksPDPTEs() throws {
        let machine = try SystemMachine.protected([0x0F, 0x22, 0xE1, 0x0F, 0x22, 0xDA, 0x0F, 0x22, 0xC3])
        try machine.memory.store(SystemMachine.tables + 0x2001 | 2, at: SystemMachine.tables)  // bit 1 is reserved
        machine.state.registers[1] = 0x20
        machine.state.registers[2] = SystemMachine.tables
        machine.state.registers[3] = 0x8000_0011
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(2, size: 4) == [0, SystemMachine.code + 6])
    }

    @Test func privilegedInstructionsAtCPL3() throws {
        let cases: [[UInt8]] = [
            [0xF4], [0x0F, 0x20, 0xC0], [0x0F, 0x22, 0xC0], [0x0F, 0x23, 0xC0], [0x0F, 0x06], [0x0F, 0x30],
            [0x0F, 0x32], [0x0F, 0x09],
            [0x0F, 0x01, 0x38], [0x0F, 0x01, 0x10], [0x0F, 0x00, 0xD8], [0xFA], [0xFB], [0x0F, 0x01, 0xF8],
            [0x0F, 0x01, 0xF0],
        ]
        for code in cases {
            let machine = try SystemMachine.long(code, cpl: 3)
            machine.state.registers[0] = 0x9000
            #expect(try machine.runToVector() == 13, "\(code)")
        }
    }

    @Test func UMIPHidesTablesFromUsers() throws {
        for code in [[0x0F, 0x01, 0x00], [0x0F, 0x00, 0xC0], [0x0F, 0x01, 0xE0]] as [[UInt8]] {
            let machine = try SystemMachine.long(code, cpl: 3)
            machine.state.registers[0] = 0x9000
            machine.state.cr4 |= 1 << 11
            #expect(try machine.runToVector() == 13)
        }
    }

    // MARK: IF. Vol. 2, POPF; vol. 3, 6.8.1.

    @Test func POPFOfUsersLeavesIFAndIOPL() throws {
        let machine = try SystemMachine.long([0x9D, 0x0F, 0x0B], cpl: 3)
        machine.state.registers[4] -= 8
        try machine.memory.store(UInt64(0x3AD7), at: SystemMachine.userStack - 8)  // without TF
        #expect(try machine.runToVector() == 6)
        #expect(try machine.stack(3, size: 8)[2] == 0x1_08D7 | 0x2)
    }

    @Test func protectedVirtualInterrupts() throws {
        let machine = try SystemMachine.protected([0xFB, 0xFA, 0xFB, 0x0F, 0x0B], cpl: 3)
        machine.state.cr4 = 2
        #expect(try machine.runToVector() == 6)
        #expect(try machine.stack(3, size: 4)[2] & 0x8_0200 == 0x8_0000, "VIF, not IF")
    }

    // MARK: MSRs

    @Test(arguments: [
        (UInt32(0xC000_0080), UInt64(0x1000)),  // EFER.SVME
        (0xC000_0080, 0x401),  // LME cleared while paging
        (0xC000_0082, 0x8000_0000_0000),  // LSTAR not canonical
        (0x277, 0x0007_0406_0007_0402),  // PAT with type 2
        (0xC000_0103, 1 << 32),  // TSC_AUX
        (0x1D9, 4), (0xDA0, 1), (0x1234, 0),
    ])
    func badMSRWrite(_ index: UInt32, _ value: UInt64) throws {
        let machine = try SystemMachine.long([0x0F, 0x30])
        machine.state.registers[1] = UInt64(index)
        machine.state.registers[0] = value & 0xFFFF_FFFF
        machine.state.registers[2] = value >> 32
        #expect(try machine.runToVector() == 13)
        #expect(machine.processor.writeMSR(index, value, hostInitiated: false) == .invalid)
    }

    @Test func MSRsOfTheProcessorAndOfTheHost() throws {
        let machine = try SystemMachine.long([0x0F, 0x32, 0xF4])
        machine.state.segments[4].base = 0x1234_5678_9ABC
        machine.state.registers[1] = 0xC000_0100
        try machine.runToHalt()
        #expect(machine.state.registers[0] == 0x5678_9ABC && machine.state.registers[2] == 0x1234)
        machine.host.msrs[0x1B] = 0xFEE0_0900
        #expect(machine.processor.readMSR(0x1B) == .value(0xFEE0_0900))
        #expect(machine.processor.readMSR(0x277) == .value(0x0007_0406_0007_0406))
    }

    @Test func unknownMSRLeavesToTheClient() throws {
        let machine = try SystemMachine.long([0x0F, 0x32, 0xF4])
        machine.host.msrReason = 2
        machine.state.registers[1] = 0x1234
        #expect(machine.processor.run() == .readMSR(index: 0x1234, reason: 2))
        #expect(machine.state.rip == SystemMachine.code)
        machine.processor.completeMSR(value: 0x1_0000_0002, error: false)
        try machine.runToHalt()
        #expect(machine.state.registers[0] == 2 && machine.state.registers[2] == 1)
    }

    @Test func clientCanAnswerAnMSRWithGP() throws {
        let machine = try SystemMachine.long([0x0F, 0x30, 0xF4])
        machine.host.msrReason = 8
        machine.host.deniedMSRs = [0xC000_0082]
        machine.state.registers[1] = 0xC000_0082
        #expect(machine.processor.run() == .writeMSR(index: 0xC000_0082, value: 0, reason: 8))
        machine.processor.completeMSR(value: 0, error: true)
        #expect(try machine.runToVector() == 13)
    }

    @Test func XSETBVChecks() throws {
        for (value, isGood) in [(7, true), (3, true), (5, false), (6, false), (0x207, false)] as [(UInt64, Bool)] {
            let machine = try SystemMachine.long([0x0F, 0x01, 0xD1, 0xF4])
            machine.state.cr4 |= 1 << 18
            machine.state.registers[0] = value
            if isGood {
                try machine.runToHalt()
                #expect(machine.state.xcr0 == value)
            } else {
                #expect(try machine.runToVector() == 13)
            }
        }
    }

    @Test func RDTSCWithTSD() throws {
        let machine = try SystemMachine.long([0x0F, 0x31, 0x0F, 0x0B], cpl: 3)
        #expect(try machine.runToVector() == 6)
        #expect(machine.state.registers[0] == 0x5678_9ABC)
        let strict = try SystemMachine.long([0x0F, 0x31], cpl: 3)
        strict.state.cr4 |= 4
        #expect(try strict.runToVector() == 13)
    }

    @Test func CPUIDAsksTheHost() throws {
        let machine = try SystemMachine.long([0x0F, 0xA2, 0xF4])
        try machine.runToHalt()
        #expect(machine.state.registers[3] == 0x756E_6547)
    }

    @Test func hypercallWaitsForItsResult() throws {
        let machine = try SystemMachine.long([0x0F, 0x01, 0xC1, 0xF4])
        #expect(machine.processor.run() == .hypercall)
        #expect(machine.state.rip == SystemMachine.code)
        machine.processor.completeHypercall(result: 7)
        try machine.runToHalt()
        #expect(machine.state.registers[0] == 7 && machine.state.rip == SystemMachine.code + 4)
    }

    @Test func SMAPFollowsAC() throws {
        // stac; mov eax, [rdi]; clac; mov eax, [rdi + 100h]. Every page is the user's, the IDT's too: the #PF can't be delivered.
        let machine = try SystemMachine.long([0x0F, 0x01, 0xCB, 0x8B, 0x07, 0x0F, 0x01, 0xCA, 0x8B, 0x87, 0, 1, 0, 0])
        machine.state.cr4 |= 1 << 21
        machine.processor.rflags = 0x4_0002
        machine.state.registers[7] = 0x9000
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .shutdown)
        #expect(machine.state.rip == SystemMachine.code + 8)
    }

    // MARK: Reset

    @Test func resetAndINIT() throws {
        let machine = try SystemMachine.long([0xF4])
        machine.state.xsave[10] = 5
        machine.state.pat = 0
        machine.processor.initialize()
        #expect(machine.state.xsave[10] == 5 && machine.state.pat == 0)
        #expect(machine.state.rip == 0xFFF0 && machine.state.segments[1].base == 0xFFFF_0000 && machine.state.efer == 0)
        #expect(machine.state.registers[2] == 0x306C3)
        machine.processor.reset()
        #expect(machine.state.xsave[10] == 0 && machine.state.pat == 0x0007_0406_0007_0406)
        #expect(machine.state.cr0 == 0x6000_0010 && machine.processor.rflags == 2)
    }
}
