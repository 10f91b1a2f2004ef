// The first interface's numbers, by literal: the facts of the posting, not what our code makes of them.

import TestLimits
import Testing

@testable import KVM2006

@Suite(.within(minutes: 20)) struct LayoutTests {
    /// `_IOC(direction, 0xAE, number, size)`.
    private func request(_ direction: UInt32, _ number: UInt32, _ size: UInt32) -> UInt32 {
        direction << 30 | size << 16 | 0xAE00 | number
    }

    @Test func requestNumbers() {
        let (write, both): (UInt32, UInt32) = (1, 3)
        #expect(FirstRequest.run.rawValue == request(both, 2, 48))
        #expect(FirstRequest.getRegisters.rawValue == request(both, 3, 152))
        #expect(FirstRequest.setRegisters.rawValue == request(write, 4, 152))
        #expect(FirstRequest.getSpecialRegisters.rawValue == request(both, 5, 296))
        #expect(FirstRequest.setSpecialRegisters.rawValue == request(write, 6, 296))
        #expect(FirstRequest.translate.rawValue == request(both, 7, 32))
        #expect(FirstRequest.interrupt.rawValue == request(write, 8, 8))
        #expect(FirstRequest.debugGuest.rawValue == request(write, 9, 80))
        #expect(FirstRequest.setMemoryRegion.rawValue == request(write, 10, 24))
        #expect(FirstRequest.createVCPU.rawValue == request(write, 11, 4))
        #expect(FirstRequest.getDirtyLog.rawValue == request(write, 12, 16))
        #expect(FirstRequest.allCases.count == 11)
    }

    @Test func sizesAreTheNumbers() {
        #expect(FirstLayout.Run.size == 48 && FirstRequest.run.size == 48)
        #expect(FirstLayout.Registers.size == 152 && FirstRequest.getRegisters.size == 152)
        #expect(FirstLayout.SpecialRegisters.size == 296 && FirstRequest.getSpecialRegisters.size == 296)
        #expect(FirstLayout.Translation.size == 32 && FirstRequest.translate.size == 32)
        #expect(FirstLayout.Interrupt.size == 8 && FirstRequest.interrupt.size == 8)
        #expect(FirstLayout.DebugGuest.size == 80 && FirstRequest.debugGuest.size == 80)
        #expect(FirstLayout.MemoryRegion.size == 24 && FirstRequest.setMemoryRegion.size == 24)
        #expect(FirstLayout.DirtyLog.size == 16 && FirstRequest.getDirtyLog.size == 16)
    }

    @Test func runOffsets() {
        typealias Run = FirstLayout.Run
        #expect(Run.vcpu == 0 && Run.emulated == 4 && Run.mmioCompleted == 8)
        #expect(Run.exitType == 12 && Run.exitReason == 16 && Run.instructionLength == 20 && Run.payload == 24)
        #expect(Run.hardwareExitReason == 24)
        #expect(Run.exception == 24 && Run.errorCode == 28)
        #expect(Run.ioDirection == 24 && Run.ioSize == 25 && Run.ioString == 26 && Run.ioStringDown == 27)
        #expect(Run.ioRepeat == 28 && Run.ioPort == 30 && Run.ioCount == 32 && Run.ioAddress == 40 && Run.ioValue == 40)
        #expect(Run.mmioAddress == 24 && Run.mmioData == 32 && Run.mmioLength == 40 && Run.mmioIsWrite == 44)
    }

    @Test func otherOffsets() {
        #expect(FirstLayout.Registers.values == 8 && FirstLayout.Registers.count == 18 * 8)
        // Eight segments of 24 bytes, two tables of 16, seven words of 64 bits.
        #expect(
            FirstLayout.SpecialRegisters.values == 8 && FirstLayout.SpecialRegisters.count == 8 * 24 + 2 * 16 + 7 * 8)
        #expect(FirstLayout.SpecialRegisters.pendingInterrupt == 288)
        typealias Translation = FirstLayout.Translation
        #expect(Translation.linearAddress == 0 && Translation.vcpu == 8 && Translation.physicalAddress == 16)
        #expect(Translation.valid == 24 && Translation.writeable == 25 && Translation.userMode == 26)
        #expect(FirstLayout.Interrupt.vcpu == 0 && FirstLayout.Interrupt.vector == 4)
        typealias Debug = FirstLayout.DebugGuest
        #expect(Debug.vcpu == 0 && Debug.enabled == 4 && Debug.breakpoints == 8 && Debug.singleStep == 72)
        #expect(Debug.breakpointStride == 16 && Debug.breakpointCount == 4)
        #expect(Debug.breakpointEnabled == 0 && Debug.breakpointAddress == 8)
        typealias Region = FirstLayout.MemoryRegion
        #expect(Region.slot == 0 && Region.flags == 4 && Region.guestAddress == 8 && Region.memorySize == 16)
        #expect(Region.logDirtyPages == 1)
        #expect(FirstLayout.DirtyLog.slot == 0 && FirstLayout.DirtyLog.bitmap == 8)
    }

    @Test func exitNumbers() {
        #expect(FirstExitType.failEntry == 1 && FirstExitType.vmExit == 2)
        #expect(FirstExitReason.unknown == 0 && FirstExitReason.exception == 1 && FirstExitReason.io == 2)
        #expect(FirstExitReason.cpuid == 3 && FirstExitReason.debug == 4 && FirstExitReason.hlt == 5)
        #expect(FirstExitReason.mmio == 6)
    }
}
