import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// Delivery of exceptions and interrupts. Intel SDM vol. 3, chapter 6; real-address mode 20.1.4; virtual-8086 mode 20.3.
@Suite(.within(minutes: 20)) struct SystemEventTests {
    // MARK: Real-address mode

    @Test func realModeInterruptPushesFlagsCSIP() throws {
        let machine = try SystemMachine.real([0xFB, 0xCD, 0x21])  // sti; int 21h
        #expect(try machine.runToVector() == 0x21)
        #expect(try machine.stack(3, size: 2) == [3, 0x2000, 0x202])
        #expect(machine.state.registers[4] == SystemMachine.kernelStack - 6)
        #expect(machine.processor.rflags & 0x200 == 0)
    }

    @Test func realModeFaultPushesNoErrorCode() throws {
        let machine = try SystemMachine.real([0x0F, 0x0B])  // ud2
        #expect(try machine.runToVector() == 6)
        #expect(try machine.stack(3, size: 2)[0] == 0)
        #expect(machine.state.registers[4] == SystemMachine.kernelStack - 6)
    }

    @Test func realModeVectorOutsideOfTableShutsDown() throws {
        let machine = try SystemMachine.real([0xCD, 0x40])  // int 40h
        machine.state.idtr.limit = 3
        #expect(machine.processor.run() == .shutdown)
    }

    @Test func realModeIRETReturns() throws {
        let machine = try SystemMachine.real([0xCD, 0x30, 0xF4])  // int 30h; hlt
        try machine.memory.store(UInt8(0xCF), at: SystemMachine.handlers + 0x300)
        try machine.runToHalt()
        #expect(machine.state.rip == 3)
        #expect(machine.state.registers[4] == SystemMachine.kernelStack)
    }

    // MARK: Protected mode

    /// INT1 is a trap, whatever the gate's DPL is. Intel SDM vol. 2, INT n.
    @Test func INT1IsADebugTrap() throws {
        let machine = try SystemMachine.protected([0xF1])
        #expect(try machine.runToVector() == 1)
        #expect(try machine.stack(1, size: 4) == [SystemMachine.code + 1])
    }

    /// A software interrupt that isn't stepped takes no single-step trap away from what comes after it.
    @Test func softwareInterruptBeforeTrapFlag() throws {
        // int 30h, whose handler returns; push 102h; popfd; nop; nop
        let machine = try SystemMachine.protected([0xCD, 0x30, 0x68, 2, 1, 0, 0, 0x9D, 0x90, 0x90])
        try machine.memory.store(UInt8(0xCF), at: SystemMachine.handlers + 0x300)
        #expect(try machine.runToVector() == 1)
        #expect(try machine.stack(1, size: 4) == [SystemMachine.code + 9])
    }

    @Test func protectedFaultAtSameLevelPushesErrorCode() throws {
        // mov ax, 50h (a null descriptor beyond those that exist); mov ds, ax
        let machine = try SystemMachine.protected([0x66, 0xB8, 0x50, 0x00, 0x8E, 0xD8])
        #expect(try machine.runToVector() == 13)
        let frame = try machine.stack(4, size: 4)
        #expect(frame[0] == 0x50 && frame[1] == SystemMachine.code + 4 && frame[2] == 8)
        #expect(frame[3] & 0x1_0000 != 0, "RF is set in a fault's image")
        #expect(machine.processor.rflags & 0x1_0000 == 0)
    }

    @Test func protectedInterruptFromUserSwitchesStack() throws {
        let machine = try SystemMachine.protected([0xCD, 0x80], cpl: 3)  // int 80h
        try machine.setGate(0x80, isLong: false, type: 15, dpl: 3)
        machine.processor.rflags = 0x202
        #expect(try machine.runToVector() == 0x80)
        #expect(
            try machine.stack(5, size: 4)
                == [
                    SystemMachine.code + 2, UInt64(SystemMachine.userCode32), 0x202, SystemMachine.userStack,
                    UInt64(SystemMachine.userData),
                ])
        #expect(machine.state.cpl == 0)
        #expect(machine.state.segments[2].selector == SystemMachine.data)
        #expect(machine.processor.rflags & 0x200 != 0, "a trap gate leaves IF")
    }

    @Test func gatePrivilegeIsCheckedForSoftwareInterrupts() throws {
        let machine = try SystemMachine.protected([0xCD, 0x81], cpl: 3)  // int 81h through a gate of DPL 0
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(1, size: 4)[0] == 0x81 * 8 + 2)
    }

    @Test func absentGateIsNotPresent() throws {
        let machine = try SystemMachine.protected([0xCD, 0x82])
        try machine.setGate(0x82, isLong: false, present: false)
        #expect(try machine.runToVector() == 11)
        #expect(try machine.stack(1, size: 4)[0] == 0x82 * 8 + 2)
    }

    @Test func secondContributoryFaultIsDouble() throws {
        // #GP whose own gate names a bad selector: #GP again, contributory: #DF. Table 6-5.
        let machine = try SystemMachine.protected([0x66, 0xB8, 0x50, 0x00, 0x8E, 0xD8])
        try machine.setGate(13, isLong: false, selector: 0xF8)
        #expect(try machine.runToVector() == 8)
        #expect(try machine.stack(2, size: 4) == [0, SystemMachine.code + 4])
    }

    @Test func faultWhileDeliveringDoubleFaultShutsDown() throws {
        let machine = try SystemMachine.protected([0x66, 0xB8, 0x50, 0x00, 0x8E, 0xD8])
        try machine.setGate(13, isLong: false, selector: 0xF8)
        try machine.setGate(8, isLong: false, selector: 0xF8)
        #expect(machine.processor.run() == .shutdown)
    }

    @Test func eventsOfVirtual8086ModePushAllSegments() throws {
        let machine = try SystemMachine.protected([])
        // iretd into v86: IP, CS, EFLAGS with VM and IOPL 0, SP, SS, ES, DS, FS, GS
        try machine.memory.write([0xCF], at: SystemMachine.code)
        let image: [UInt32] = [0, 0x3000, 0x2_0202, 0x100, 0x4000, 0x11, 0x22, 0x33, 0x44]
        for (index, value) in image.enumerated() {
            try machine.memory.store(value, at: SystemMachine.kernelStack + UInt64(index) * 4)
        }
        try machine.memory.write([0x0F, 0x0B], at: 0x3_0000)
        #expect(try machine.runToVector() == 6)
        let frame = try machine.stack(9, size: 4)
        #expect(frame == [0, 0x3000, 0x3_0202, 0x100, 0x4000, 0x11, 0x22, 0x33, 0x44])
        #expect(machine.state.registers[4] == SystemMachine.kernelStack - 36)
        #expect(machine.state.segments[3].selector == 0 && machine.state.cpl == 0)
        #expect(machine.processor.rflags & 0x2_0000 == 0)
    }

    @Test func softwareInterruptInVirtual8086ModeNeedsIOPL3() throws {
        let machine = try SystemMachine.protected([0xCF])
        let image: [UInt32] = [0, 0x3000, 0x2_0202, 0x100, 0x4000, 0, 0, 0, 0]
        for (index, value) in image.enumerated() {
            try machine.memory.store(value, at: SystemMachine.kernelStack + UInt64(index) * 4)
        }
        try machine.memory.write([0xCD, 0x21], at: 0x3_0000)
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(1, size: 4) == [0])
    }

    @Test func redirectionMapSendsInterruptsToThe8086Program() throws {
        let machine = try SystemMachine.protected([0xCF])
        machine.state.cr4 = 1  // VME
        try machine.memory.store(UInt16(0x88), at: SystemMachine.tss + 0x66)
        for index in 0..<32 as Range<UInt64> {
            try machine.memory.store(UInt8(0), at: SystemMachine.tss + 0x68 + index)
        }
        try machine.memory.store(UInt32(0x3100_0005), at: 0x21 * 4)
        let image: [UInt32] = [0, 0x3000, 0xA_0002, 0x100, 0x4000, 0, 0, 0, 0]
        for (index, value) in image.enumerated() {
            try machine.memory.store(value, at: SystemMachine.kernelStack + UInt64(index) * 4)
        }
        try machine.memory.write([0xCD, 0x21], at: 0x3_0000)
        try machine.memory.write([0x0F, 0x0B], at: 0x3_1005)
        #expect(try machine.runToVector() == 6)
        // #UD at 3100:5, on the 8086 stack FLAGS with IOPL 3 and IF from VIF.
        #expect(try machine.stack(2, size: 4) == [5, 0x3100])
        #expect(try machine.memory.load(UInt16.self, at: 0x4_00FE) == 0x3202)
        #expect(try machine.memory.load(UInt16.self, at: 0x4_00FA) == 2)
    }

    // MARK: 64-bit mode

    @Test func pageFaultTellsItsCause() throws {
        let machine = try SystemMachine.long([0x48, 0xA1, 0, 0, 0, 0, 1, 0, 0, 0], cpl: 3)  // mov rax, [1 0000 0000h]
        #expect(try machine.runToVector() == 14)
        #expect(machine.state.cr2 == 0x1_0000_0000)
        let frame = try machine.stack(6, size: 8)
        #expect(frame[0] == 4 && frame[1] == SystemMachine.code && frame[2] == UInt64(SystemMachine.userCode64))
        #expect(frame[4] == SystemMachine.userStack && frame[5] == UInt64(SystemMachine.userData))
        #expect(machine.state.segments[2].selector == 0, "SS is null after a change of privilege")
        #expect(machine.state.registers[4] == SystemMachine.kernelStack - 48)
    }

    @Test func longModeAlignsTheStack() throws {
        let machine = try SystemMachine.long([0xCC])  // int3
        machine.state.registers[4] = SystemMachine.kernelStack - 3
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 3)
        #expect(machine.state.registers[4] == SystemMachine.kernelStack - 16 - 40)
        let frame = try machine.stack(5, size: 8)
        #expect(frame == [SystemMachine.code + 1, 0x10, 2, SystemMachine.kernelStack - 3, 0x18])
    }

    @Test func interruptStackTable() throws {
        let machine = try SystemMachine.long([0x0F, 0x0B])
        try machine.setGate(6, isLong: true, ist: 2)
        try machine.memory.store(UInt64(0x5008), at: SystemMachine.tss + 0x24 + 8)
        #expect(try machine.runToVector() == 6)
        #expect(machine.state.registers[4] == 0x5000 - 40)
    }

    @Test func pageFaultThenPageFaultIsDouble() throws {
        // The IDT in a page that is not mapped, for vector 14 only: by a stack that is not mapped.
        let machine = try SystemMachine.long([0x48, 0xA1, 0, 0, 0, 0, 1, 0, 0, 0])
        machine.state.registers[4] = 0x2_0000_0000
        try machine.setGate(8, isLong: true, ist: 1)
        try machine.memory.store(UInt64(0x5000), at: SystemMachine.tss + 0x24)
        #expect(try machine.runToVector() == 8)
        #expect(machine.state.cr2 == 0x2_0000_0000 - 8)
        #expect(try machine.stack(2, size: 8) == [0, SystemMachine.code])
    }

    @Test func IRETQReturnsToUser() throws {
        let machine = try SystemMachine.long([0x48, 0xCF])  // iretq
        let frame: [UInt64] = [
            0x2_1000, UInt64(SystemMachine.userCode64), 0x202, SystemMachine.userStack, UInt64(SystemMachine.userData),
        ]
        for (index, value) in frame.enumerated() {
            try machine.memory.store(value, at: SystemMachine.kernelStack + UInt64(index) * 8)
        }
        try machine.memory.write([0x0F, 0x0B], at: 0x2_1000)
        #expect(try machine.runToVector() == 6)
        #expect(try machine.stack(5, size: 8) == [0x2_1000, 0x33, 0x1_0202, SystemMachine.userStack, 0x2B])
    }

    @Test func IRETToOuterLevelNullsInnerSegments() throws {
        let machine = try SystemMachine.protected([0xCF])
        let frame: [UInt32] = [0x2_1000, 0x23, 0x3202, UInt32(SystemMachine.userStack), 0x2B]
        for (index, value) in frame.enumerated() {
            try machine.memory.store(value, at: SystemMachine.kernelStack + UInt64(index) * 4)
        }
        try machine.memory.write([0x0F, 0x0B], at: 0x2_1000)
        #expect(try machine.runToVector() == 6)
        #expect(machine.state.segments[3].selector == 0)
        #expect(machine.state.segments[3].attributes & SegmentRegister.unusable != 0)
    }

    @Test func IRETWithNTInLongModeIsGP() throws {
        let machine = try SystemMachine.long([0x48, 0xCF])
        machine.processor.rflags = 0x4002
        #expect(try machine.runToVector() == 13)
    }

    // MARK: Interrupts

    @Test func interruptWaitsForIFAndShadow() throws {
        let machine = try SystemMachine.long([0x90, 0xFB, 0x90, 0x90, 0xF4])  // nop; sti; nop; nop; hlt
        machine.host.interrupts = [0x41]
        machine.processor.request(.interrupt)
        #expect(try machine.runToVector() == 0x41)
        #expect(try machine.stack(1, size: 8)[0] == SystemMachine.code + 3, "one instruction behind STI")
        #expect(machine.processor.rflags & 0x200 == 0)
    }

    @Test func NMIIsBlockedUntilIRET() throws {
        // The handler of vector 2 is iretq; the main program halts.
        let machine = try SystemMachine.long([0xF4])
        machine.state.nmiBlocked = true
        machine.processor.request(.nmi)
        try machine.runToHalt()
        try machine.memory.write([0x48, 0xCF], at: SystemMachine.code + 1)
        let frame: [UInt64] = [SystemMachine.code + 3, 0x10, 2, SystemMachine.kernelStack, 0x18]
        for (index, value) in frame.enumerated() {
            try machine.memory.store(value, at: SystemMachine.kernelStack + UInt64(index) * 8)
        }
        #expect(try machine.runToVector() == 2)
        #expect(try machine.stack(1, size: 8)[0] == SystemMachine.code + 3)
        #expect(machine.state.nmiBlocked)
    }

    @Test func interruptWindowOpensWithIF() throws {
        let machine = try SystemMachine.long([0xFB, 0x90, 0xF4])
        machine.processor.request(.interruptWindow)
        #expect(machine.processor.run() == .interruptWindow)
        #expect(machine.state.rip == SystemMachine.code + 2)
        try machine.runToHalt()
    }

    @Test func leaveIsTakenOnce() throws {
        let machine = try SystemMachine.long([0x90, 0xF4])
        machine.processor.request(.leave)
        #expect(machine.processor.run() == .requested)
        try machine.runToHalt()
    }

    @Test func injectedExceptionIsDeliveredFirst() throws {
        let machine = try SystemMachine.long([0xF4])
        machine.state.pendingException.isPending = true
        machine.state.pendingException.vector = 13
        machine.state.pendingException.hasErrorCode = true
        machine.state.pendingException.errorCode = 0x18
        #expect(try machine.runToVector() == 13)
        #expect(try machine.stack(2, size: 8) == [0x18, SystemMachine.code])
    }

    // MARK: Debugging. Intel SDM vol. 3, 17.3.

    @Test func trapFlagStepsOneInstruction() throws {
        let machine = try SystemMachine.long([0x9D, 0x90, 0x90, 0xF4])  // popfq; nop; nop; hlt
        machine.state.registers[4] -= 8
        try machine.memory.store(UInt64(0x102), at: SystemMachine.kernelStack - 8)
        #expect(try machine.runToVector() == 1)
        #expect(machine.state.dr6 == 0xFFFF_4FF0)
        let frame = try machine.stack(3, size: 8)
        #expect(frame[0] == SystemMachine.code + 2 && frame[2] == 0x102)
    }

    @Test func trapFlagIsHeldBackByMovSS() throws {
        let machine = try SystemMachine.protected([0x8E, 0xD0, 0x90, 0x90])  // mov ss, eax; nop; nop
        machine.state.registers[0] = 0x18
        machine.processor.rflags = 0x102
        #expect(try machine.runToVector() == 1)
        #expect(try machine.stack(1, size: 4)[0] == SystemMachine.code + 3)
    }

    @Test func clientSingleSteps() throws {
        let machine = try SystemMachine.long([0x90, 0x90, 0xF4])
        machine.processor.debugging.enabled = true
        machine.processor.debugging.singleStep = true
        machine.processor.stateChanged()
        for offset in 1...2 as ClosedRange<UInt64> {
            #expect(
                machine.processor.run()
                    == .debug(vector: 1, dr6: 0xFFFF_4FF0, dr7: 0x400, pc: SystemMachine.code + offset))
        }
        #expect(machine.processor.rflags == 2, "the guest sees no TF")
    }

    @Test func clientTakesINT3() throws {
        let machine = try SystemMachine.long([0x90, 0xCC])
        machine.processor.debugging.enabled = true
        machine.processor.debugging.softwareBreakpoints = true
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .debug(vector: 3, dr6: 0xFFFF_0FF0, dr7: 0x400, pc: SystemMachine.code + 1))
        #expect(machine.state.rip == SystemMachine.code + 1)
    }

    @Test func instructionBreakpointIsAFaultUnlessRF() throws {
        let machine = try SystemMachine.long([0x90, 0x90, 0xF4])
        machine.state.dr[1] = SystemMachine.code + 1
        machine.state.dr7 = 0x404
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 1)
        #expect(machine.state.dr6 & 0xF == 2)
        #expect(try machine.stack(1, size: 8)[0] == SystemMachine.code + 1)
        machine.state.rip = SystemMachine.code + 1
        machine.processor.rflags = 0x1_0002
        machine.processor.stateChanged()
        try machine.runToHalt()
    }

    @Test func dataBreakpointIsATrap() throws {
        let machine = try SystemMachine.long([0x89, 0x07, 0x90, 0xF4])  // mov [rdi], eax; nop; hlt
        machine.state.registers[7] = 0x9002
        machine.state.dr[0] = 0x9004
        machine.state.dr7 = 0x000D_0401  // write, 4 bytes
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 1)
        #expect(machine.state.dr6 & 0xF == 1)
        #expect(try machine.stack(1, size: 8)[0] == SystemMachine.code + 2)
    }

    @Test func generalDetect() throws {
        let machine = try SystemMachine.long([0x0F, 0x21, 0xC0])  // mov rax, dr0
        machine.state.dr7 = 0x2400
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 1)
        #expect(machine.state.dr6 & 0x2000 != 0)
        #expect(machine.state.dr7 & 0x2000 == 0)
        #expect(try machine.stack(1, size: 8)[0] == SystemMachine.code)
    }
}
