import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// Segment loads, far transfers, task switches and system calls. Intel SDM vol. 3, chapters 5 and 7.
@Suite(.within(minutes: 20)) struct SystemTransferTests {
    // MARK: Segment registers. Vol. 2, MOV; vol. 3, 5.6 and 5.7.

    @Test(arguments: [
        // selector, raw descriptor, vector, error code
        (UInt16(0x48), UInt64(0x00CF_1300_0000_FFFF), UInt8(11), UInt64(0x48)),  // not present
        (0x48, 0x00CF_9900_0000_FFFF, 13, 0x48),  // execute-only code
        (0x48, 0x00CF_8900_0000_FFFF, 13, 0x48),  // a TSS
        (0x100, 0, 13, 0x100),  // beyond the limit
        (0x4C, 0x00CF_9300_0000_FFFF, 13, 0x4C),  // in an LDT that there is not
    ])
    func badDataSegment(_ selector: UInt16, _ raw: UInt64, _ vector: UInt8, _ code: UInt64) throws {
        let machine = try SystemMachine.protected([0x8E, 0xD8])  // mov ds, eax
        if selector == 0x48 { try machine.setDescriptor(selector, raw) }
        machine.state.registers[0] = UInt64(selector)
        #expect(try machine.runToVector() == vector)
        #expect(try machine.stack(2, size: 4) == [code, SystemMachine.code])
        #expect(machine.state.segments[3].selector == SystemMachine.data)
    }

    @Test func dataSegmentOfInnerLevelIsRefusedToUsers() throws {
        let machine = try SystemMachine.protected([0x8E, 0xD8], cpl: 3)
        machine.state.registers[0] = 0x1B
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(1, size: 4) == [0x18])
    }

    @Test func loadSetsTheAccessedBit() throws {
        let machine = try SystemMachine.protected([0x8E, 0xD8, 0xF4])
        try machine.setDescriptor(SystemMachine.free, 0x0040_9200_1000_0FFF)
        machine.state.registers[0] = UInt64(SystemMachine.free)
        try machine.runToHalt()
        #expect(try machine.memory.load(UInt64.self, at: SystemMachine.gdt + 0x48) == 0x0040_9300_1000_0FFF)
        #expect(
            machine.state.segments[3] == SegmentRegister(base: 0x1000, limit: 0xFFF, selector: 0x48, attributes: 0x4093)
        )
    }

    @Test(arguments: [
        (UInt64(0), UInt8(13), UInt64(0)), (0x1B, 13, 0x18), (0x08, 13, 0x08), (0x28, 13, 0x28),
    ])
    func badStackSegment(_ selector: UInt64, _ vector: UInt8, _ code: UInt64) throws {
        let machine = try SystemMachine.protected([0x8E, 0xD0])  // mov ss, eax
        machine.state.registers[0] = selector
        #expect(try machine.runToVector() == vector)
        #expect(try machine.stack(1, size: 4) == [code])
    }

    @Test func absentStackSegmentIsSS() throws {
        let machine = try SystemMachine.protected([0x8E, 0xD0])
        try machine.setDescriptor(SystemMachine.free, 0x00CF_1300_0000_FFFF)
        machine.state.registers[0] = 0x48
        #expect(try machine.runToVector() == 12)
        #expect(try machine.stack(1, size: 4) == [0x48])
    }

    @Test func nullDataSegmentCanBeLoadedAndNotUsed() throws {
        let machine = try SystemMachine.protected([0x8E, 0xD8, 0x8B, 0x03])  // mov ds, eax; mov eax, [ebx]
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(2, size: 4) == [0, SystemMachine.code + 2])
    }

    @Test func realModeLoadKeepsTheLimit() throws {
        let machine = try SystemMachine.real([0x8E, 0xD8, 0xF4])
        machine.state.segments[3].limit = .max
        machine.state.registers[0] = 0x1234
        try machine.runToHalt()
        #expect(machine.state.segments[3].base == 0x12340 && machine.state.segments[3].limit == .max)
    }

    @Test func LARAndLSLLookWithoutTouching() throws {
        // lar ecx, eax; lsl edx, eax; hlt
        let machine = try SystemMachine.protected([0x0F, 0x02, 0xC8, 0x0F, 0x03, 0xD0, 0xF4])
        machine.state.registers[0] = 0x18
        try machine.runToHalt()
        #expect(machine.state.registers[1] == 0x00C0_9300 && machine.state.registers[2] == 0xFFFF_FFFF)
        #expect(machine.processor.rflags & 0x40 != 0)
    }

    @Test func LAROfBadSelectorClearsZF() throws {
        let machine = try SystemMachine.protected([0x0F, 0x02, 0xC8, 0xF4])
        machine.state.registers[0] = 0x1F8
        machine.state.registers[1] = 7
        machine.processor.rflags = 0x42
        try machine.runToHalt()
        #expect(machine.state.registers[1] == 7 && machine.processor.rflags & 0x40 == 0)
    }

    @Test func VERRAndVERW() throws {
        let machine = try SystemMachine.protected([
            0x0F, 0x00, 0xE0, 0x75, 0x05, 0x0F, 0x00, 0xE8, 0xF4, 0xF4, 0x0F, 0x0B,
        ])  // verr ax; jnz +5; verw ax; hlt
        machine.state.registers[0] = 0x08
        try machine.runToHalt()
        #expect(machine.processor.rflags & 0x40 == 0, "code is readable and not writable")
    }

    @Test func LTRMarksBusyAndWantsAnAvailableTSS() throws {
        let machine = try SystemMachine.long([0x0F, 0x00, 0xD8, 0x0F, 0x00, 0xD8])  // ltr ax; ltr ax
        try machine.setDescriptor(SystemMachine.free, 0x0000_8900_3000_0067, upper: 0xFFFF_8000)
        machine.state.registers[0] = 0x48
        #expect(try machine.runToVector() == 13, "the second time it is busy")
        #expect(try machine.stack(1, size: 8) == [0x48])
        #expect(machine.state.segments[7].base == 0xFFFF_8000_0000_3000)
        #expect(machine.state.segments[7].attributes == 0x8B)
    }

    // MARK: JMP, CALL, RET far. Vol. 3, 5.8.

    @Test func farCallAndReturn() throws {
        // call 8:target; hlt … target: retf
        let machine = try SystemMachine.protected([0x9A, 0, 0x10, 0x02, 0, 0x08, 0, 0xF4])
        try machine.memory.write([0xCB], at: 0x2_1000)
        try machine.runToHalt()
        #expect(machine.state.rip == SystemMachine.code + 8)
        #expect(machine.state.registers[4] == SystemMachine.kernelStack)
    }

    @Test func callGateCopiesParameters() throws {
        // At CPL 3: push 1; push 2; call far 48h; hlt (which a user may not)
        let machine = try SystemMachine.protected([0x6A, 1, 0x6A, 2, 0x9A, 0, 0, 0, 0, 0x4B, 0, 0xF4], cpl: 3)
        try machine.setDescriptor(SystemMachine.free, 0x0002_EC02_0008_1000)
        try machine.memory.write([0xF4, 0xCA, 8, 0], at: 0x2_1000)  // hlt; retf 8
        try machine.runToHalt()
        #expect(machine.state.cpl == 0 && machine.state.rip == 0x2_1001)
        let frame = try machine.stack(6, size: 4)
        #expect(frame == [SystemMachine.code + 11, 0x23, 2, 1, SystemMachine.userStack - 8, 0x2B])
        // And back, dropping the parameters on both stacks.
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(5, size: 4)[4] == SystemMachine.userStack)
        #expect(try machine.stack(5, size: 4)[1] == SystemMachine.code + 11)
    }

    /// CALL pushes oldSS:oldESP through a 32-bit gate and oldSS:oldSP through a 16-bit one, whatever the caller's stack is: here
    /// one of 16 bits, from which the parameter comes.
    @Test(arguments: [(4, 0xEC, 0x1234_5FF8), (2, 0xE4, 0x5FF8)] as [(Int, UInt64, UInt64)])
    func callGateSavesTheStackPointerByItsSize(size: Int, access: UInt64, saved: UInt64) throws {
        let machine = try SystemMachine.protected([0x9A, 0, 0, 0, 0, 0x4B, 0], cpl: 3)
        // To 2_E000h, or to E000h, with one parameter.
        try machine.setDescriptor(SystemMachine.free, 0x0002_0001_0008_E000 | access << 40)
        try machine.memory.store(UInt8(0xF4), at: size == 4 ? 0x2_E000 : 0xE000)
        try machine.memory.store(0x5566_7788 as UInt32, at: 0x5FF8)
        machine.state.segments[2].attributes &= ~SegmentRegister.big
        machine.state.segments[2].limit = 0xFFFF
        machine.state.registers[4] = 0x1234_5FF8
        machine.processor.stateChanged()
        try #require(machine.processor.run() == .halted)
        #expect(machine.state.cpl == 0 && machine.state.rip & 0xFFFF == 0xE001)
        let mask: UInt64 = size == 4 ? 0xFFFF_FFFF : 0xFFFF
        let frame = [(SystemMachine.code + 7) & mask, 0x23, 0x5566_7788 & mask, saved, 0x2B]
        #expect(try machine.stack(5, size: size) == frame)
    }

    @Test func farJumpToDataIsGP() throws {
        let machine = try SystemMachine.protected([0xEA, 0, 0, 0, 0, 0x18, 0])
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(1, size: 4) == [0x18])
    }

    @Test func farReturnInwardIsGP() throws {
        let machine = try SystemMachine.protected([0x6A, 0x08, 0x6A, 0x00, 0xCB], cpl: 3)
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(1, size: 4) == [0x08])
    }

    @Test func farReturnToCompatibilityMode() throws {
        // push 8; push target; retfq
        let machine = try SystemMachine.long([0x6A, 0x08, 0x68, 0, 0x10, 0x02, 0, 0x48, 0xCB])
        try machine.memory.write([0x40, 0x48, 0xF4], at: 0x2_1000)  // inc eax; dec eax; hlt: REX prefixes elsewhere
        try machine.runToHalt()
        #expect(machine.state.rip == 0x2_1003 && machine.state.segments[1].selector == 8)
    }

    // MARK: Tasks. Vol. 3, 7.3.

    /// A second 32-bit TSS at 9000h under selector 48h, whose task starts with `code` at 2_1000h.
    private func withTask(_ first: [UInt8], second: [UInt8]) throws -> SystemMachine {
        let machine = try SystemMachine.protected(first)
        try machine.setDescriptor(SystemMachine.free, 0x0000_8900_9000_0067)
        let base: UInt64 = 0x9000
        try machine.memory.store(UInt32(0x2_1000), at: base + 0x20)
        try machine.memory.store(UInt32(0x2), at: base + 0x24)
        for register in 0..<8 as Range<UInt64> {
            try machine.memory.store(UInt32(register == 4 ? 0x5800 : 0x100 + register), at: base + 0x28 + register * 4)
        }
        for (index, selector) in [0x18, 0x08, 0x18, 0x18, 0, 0x18].enumerated() {
            try machine.memory.store(UInt32(selector), at: base + 0x48 + UInt64(index) * 4)
        }
        try machine.memory.write(second, at: 0x2_1000)
        return machine
    }

    @Test func jumpToTask() throws {
        let machine = try withTask([0xEA, 0, 0, 0, 0, 0x48, 0], second: [0xF4])
        machine.state.registers[3] = 0x7777
        try machine.runToHalt()
        #expect(
            machine.state.rip == 0x2_1001 && machine.state.registers[3] == 0x103 && machine.state.registers[4] == 0x5800
        )
        #expect(machine.state.segments[7].selector == 0x48 && machine.state.cr0 & 8 != 0)
        #expect(try machine.memory.load(UInt32.self, at: SystemMachine.tss + 0x20) == UInt32(SystemMachine.code + 7))
        #expect(try machine.memory.load(UInt32.self, at: SystemMachine.tss + 0x34) == 0x7777)
        #expect(
            try machine.memory.load(UInt8.self, at: SystemMachine.gdt + 0x38 + 5) == 0x89, "the old task is available")
        #expect(try machine.memory.load(UInt8.self, at: SystemMachine.gdt + 0x48 + 5) == 0x8B)
    }

    @Test func callTaskAndReturn() throws {
        let machine = try withTask([0x9A, 0, 0, 0, 0, 0x48, 0, 0xF4], second: [0xCF])
        machine.state.registers[3] = 0x7777
        try machine.runToHalt()
        #expect(machine.state.rip == SystemMachine.code + 8 && machine.state.registers[3] == 0x7777)
        #expect(machine.state.segments[7].selector == SystemMachine.task)
        #expect(try machine.memory.load(UInt16.self, at: 0x9000) == SystemMachine.task, "the back link")
        #expect(try machine.memory.load(UInt8.self, at: SystemMachine.gdt + 0x48 + 5) == 0x89)
        #expect(machine.processor.rflags & 0x4000 == 0)
    }

    @Test func taskGateInTheIDTPushesTheErrorCode() throws {
        let machine = try withTask([0x8E, 0xD8], second: [0xF4])  // mov ds, eax
        try machine.setGate(13, isLong: false, type: 5, selector: 0x48)
        machine.state.registers[0] = 0xF8
        try machine.runToHalt()
        #expect(try machine.stack(1, size: 4) == [0xF8])
        #expect(machine.state.registers[4] == 0x57FC && machine.processor.rflags & 0x4000 != 0)
    }

    @Test func badSegmentInTSSFaultsInTheNewTask() throws {
        let machine = try withTask([0xEA, 0, 0, 0, 0, 0x48, 0], second: [0xF4])
        try machine.memory.store(UInt32(0xF8), at: 0x9000 + 0x54)  // DS
        #expect(try machine.runToVector() == 10)
        #expect(try machine.stack(2, size: 4) == [0xF8, 0x2_1000])
    }

    /// What goes wrong once the task is the new one is delivered there; the old task's single step is lost with it.
    @Test(arguments: [[0xEA, 0, 0, 0, 0, 0x48, 0], [0x9A, 0, 0, 0, 0, 0x48, 0], [0xCD, 0x40], [0xCF]] as [[UInt8]])
    func aFaultOfTheNewTaskIsNotLostToTheOldOnesTrap(_ way: [UInt8]) throws {
        // A bad DS, a bad FS, and an EIP beyond CS.
        for (place, value, vector) in [(0x54, 0xF8, 10), (0x58, 0xF8, 10), (0x20, 0x2_1000, 13)]
            as [(UInt64, UInt32, UInt8)]
        {
            let machine = try withTask(way, second: [0xF4])
            try machine.memory.store(value, at: 0x9000 + place)
            if vector == 13 {
                try machine.setDescriptor(SystemMachine.free + 8, 0x0040_9B00_0000_FFFF)
                try machine.memory.store(UInt32(SystemMachine.free + 8), at: 0x9000 + 0x4C)
            }
            if way == [0xCD, 0x40] { try machine.setGate(0x40, isLong: false, type: 5, selector: 0x48) }
            if way == [0xCF] {
                try machine.memory.store(SystemMachine.free, at: SystemMachine.tss)
                try machine.setDescriptor(SystemMachine.free, 0x0000_8B00_9000_0067)
            }
            machine.processor.rflags = way == [0xCF] ? 0x4102 : 0x102
            machine.processor.stateChanged()
            #expect(try machine.runToVector() == vector)
            #expect(machine.state.segments[7].selector == SystemMachine.free)
            #expect(machine.state.dr6 == 0xFFFF_0FF0, "a trap was told of")
        }
    }

    @Test func jumpToBusyTaskIsGP() throws {
        let machine = try SystemMachine.protected([0xEA, 0, 0, 0, 0, 0x38, 0])
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(1, size: 4) == [0x38])
    }

    // MARK: System calls. Vol. 3, 5.8.7 and 5.8.8.

    private func withSystemCalls(_ code: [UInt8], cpl: UInt8) throws -> SystemMachine {
        let machine = try SystemMachine.long(code, cpl: cpl)
        machine.state.star = 0x0023_0010_0000_0000
        machine.state.lstar = 0x2_1000
        machine.state.sfmask = 0x300
        return machine
    }

    @Test func SYSCALLAndSYSRET() throws {
        let machine = try withSystemCalls([0x0F, 0x05, 0x0F, 0x0B], cpl: 3)
        try machine.memory.write([0xF4, 0x48, 0x0F, 0x07], at: 0x2_1000)  // hlt; sysretq
        machine.processor.rflags = 0x202
        try machine.runToHalt()
        #expect(
            machine.state.cpl == 0 && machine.state.registers[1] == SystemMachine.code + 2
                && machine.state.registers[11] == 0x202)
        #expect(machine.processor.rflags == 2)
        #expect(machine.state.segments[1].selector == 0x10 && machine.state.segments[2].selector == 0x18)
        #expect(machine.state.registers[4] == SystemMachine.userStack, "SYSCALL leaves RSP alone")
        #expect(try machine.runToVector() == 6)
        #expect(try machine.stack(3, size: 8) == [SystemMachine.code + 2, 0x33, 0x1_0202])
        #expect(try machine.stack(5, size: 8)[4] == 0x2B)
    }

    @Test func SYSRETToNonCanonicalIsGPAtCPL0() throws {
        let machine = try withSystemCalls([0x48, 0x0F, 0x07], cpl: 0)
        machine.state.registers[1] = 0x8000_0000_0000
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(3, size: 8) == [0, SystemMachine.code, 0x10])
    }

    @Test func SYSCALLNeedsSCE() throws {
        let machine = try withSystemCalls([0x0F, 0x05], cpl: 3)
        machine.state.efer &= ~1
        #expect(try machine.runToVector() == 6)
    }

    @Test func SYSENTERAndSYSEXIT() throws {
        let machine = try SystemMachine.protected([0x0F, 0x34, 0x0F, 0x0B], cpl: 3)
        machine.state.sysenterCS = 0x08
        machine.state.sysenterEIP = 0x2_1000
        machine.state.sysenterESP = 0x5000
        try machine.memory.write([0xF4, 0x0F, 0x35], at: 0x2_1000)
        machine.processor.rflags = 0x202
        try machine.runToHalt()
        #expect(machine.state.cpl == 0 && machine.state.registers[4] == 0x5000 && machine.processor.rflags & 0x200 == 0)
        #expect(machine.state.segments[2].selector == 0x10)
        machine.state.registers[1] = 0x5800
        machine.state.registers[2] = SystemMachine.code + 2
        #expect(try machine.runToVector() == 6)
        #expect(try machine.stack(5, size: 4)[1] == 0x1B, "SYSENTER_CS plus 16, RPL 3")
    }

    /// To 64-bit mode the selectors are SYSENTER_CS plus 32 and 40, to compatibility mode plus 16 and 24. Vol. 2, SYSEXIT.
    @Test(arguments: [([0x48], 0x2B, 0x33), ([], 0x1B, 0x23)] as [([UInt8], UInt64, UInt64)])
    func SYSEXITFromLongMode(prefix: [UInt8], code: UInt64, stack: UInt64) throws {
        let machine = try SystemMachine.long(prefix + [0x0F, 0x35])
        try machine.memory.write([0x0F, 0x0B], at: 0x2_1000)
        machine.state.sysenterCS = 0x08
        machine.state.registers[1] = 0x5800
        machine.state.registers[2] = 0x2_1000
        #expect(try machine.runToVector() == 6)
        let frame = try machine.stack(5, size: 8)
        #expect(frame[0] == 0x2_1000 && frame[1] == code && frame[3] == 0x5800 && frame[4] == stack)
    }

    @Test func SYSENTERInLongModeIsUDOnAMD() throws {
        let machine = try SystemMachine.long([0x0F, 0x34], cpl: 3)
        machine.host.isAMD = true
        machine.processor.stateChanged()
        machine.state.sysenterCS = 0x10
        #expect(try machine.runToVector() == 6)
    }

    @Test func SWAPGSExchangesBases() throws {
        let machine = try SystemMachine.long([0x0F, 0x01, 0xF8, 0xF4])
        machine.state.segments[5].base = 1
        machine.state.kernelGSBase = 2
        try machine.runToHalt()
        #expect(machine.state.segments[5].base == 2 && machine.state.kernelGSBase == 1)
    }
}
