import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// What the system lets floating point do: the bits of CR0, CR4 and XCR0, and exceptions that wait. What the instructions compute
/// the host's processor judges, in CPUOracleTests.
@Suite(.within(minutes: 20)) struct FloatingPointControlTests {
    private static let osfxsr = CR4.OSFXSR.rawValue, osxmmexcpt = CR4.OSXMMEXCPT.rawValue
    private static let osxsave = CR4.OSXSAVE.rawValue

    /// In 64-bit mode at level 0, with HLT behind the code.
    private func machine(
        _ code: [UInt8], cr0: UInt64 = 0, cr4: UInt64 = osfxsr | osxmmexcpt | osxsave, xcr0: UInt64 = 7
    ) throws -> SystemMachine {
        let machine = try SystemMachine.long(code + [0xF4])
        machine.state.cr0 |= cr0
        machine.state.cr4 |= cr4
        machine.state.xcr0 = xcr0
        machine.processor.stateChanged()
        return machine
    }

    /// The vector that the run ends with; nil where it comes to the HLT.
    private func vector(_ machine: SystemMachine) throws -> UInt8? {
        try #require(machine.processor.run() == .halted)
        let place = machine.state.rip &- 1 &- SystemMachine.handlers
        return place < 4096 ? UInt8(place / 16) : nil
    }

    /// Intel SDM vol. 3, 2.5; vol. 2, 2.4.
    @Test func controlRegisters() throws {
        func end(_ bytes: [UInt8], cr0: UInt64 = 0, cr4: UInt64 = 0x40600, xcr0: UInt64 = 7) throws -> UInt8? {
            try vector(try machine(bytes, cr0: cr0, cr4: cr4, xcr0: xcr0))
        }
        let invalid = Exception.invalidOpcode.vector, notAvailable = Exception.deviceNotAvailable.vector
        let fld1: [UInt8] = [0xD9, 0xE8], wait: [UInt8] = [0x9B], paddb: [UInt8] = [0x0F, 0xFC, 0xC1]
        let addps: [UInt8] = [0x0F, 0x58, 0xC1], vaddps: [UInt8] = [0xC5, 0xF0, 0x58, 0xC2]
        for bytes in [fld1, wait, paddb, addps, vaddps] { #expect(try end(bytes) == nil) }
        let em = CR0.EM.rawValue, ts = CR0.TS.rawValue, mp = CR0.MP.rawValue
        #expect(try end(fld1, cr0: em) == notAvailable)
        #expect(try end(fld1, cr0: ts) == notAvailable)
        #expect(try end(wait, cr0: ts) == nil)
        #expect(try end(wait, cr0: ts | mp) == notAvailable)
        #expect(try end(paddb, cr0: em) == invalid)
        #expect(try end(paddb, cr0: ts) == notAvailable)
        #expect(try end(paddb, cr4: 0) == nil)
        #expect(try end(addps, cr0: em) == invalid)
        #expect(try end(addps, cr0: ts) == notAvailable)
        #expect(try end(addps, cr4: 0) == invalid)
        #expect(try end(addps, cr4: 0x600, xcr0: 1) == nil)
        #expect(try end(vaddps, cr4: 0x600) == invalid)
        #expect(try end(vaddps, xcr0: 3) == invalid)
        #expect(try end(vaddps, cr0: ts) == notAvailable)
        #expect(try end(vaddps, cr0: em) == nil)
    }

    /// An unmasked SIMD exception is #XM, or #UD where the system does not know that. Intel SDM vol. 3, 2.5, OSXMMEXCPT.
    @Test(arguments: [true, false]) func unmaskedSIMD(isKnown: Bool) throws {
        let cr4 = Self.osfxsr | (isKnown ? Self.osxmmexcpt : 0)
        // divps xmm0, xmm1: by zero, with that exception unmasked.
        let machine = try machine([0x0F, 0x5E, 0xC1], cr4: cr4)
        machine.state.xsave[3] = 0x1D80
        for word in [20, 21] { machine.state.xsave[word] = 0x3F80_0000_3F80_0000 }
        for word in [22, 23] { machine.state.xsave[word] = 0 }
        let expected = isKnown ? Exception.simdFloatingPoint.vector : Exception.invalidOpcode.vector
        #expect(try vector(machine) == expected)
        #expect(machine.state.xsave[20] == 0x3F80_0000_3F80_0000)
        #expect(machine.state.xsave[3] & 0x3F == 4)
    }

    /// An x87 exception is taken before the next instruction that waits for it. Intel SDM vol. 1, 8.6 and 8.7.
    @Test func pendingX87() throws {
        // fldz; fld1; fdiv st0, st1: by zero, with that exception unmasked.
        let division: [UInt8] = [0xD9, 0xEE, 0xD9, 0xE8, 0xD8, 0xF1]
        func end(_ bytes: [UInt8]) throws -> (vector: UInt8?, machine: SystemMachine) {
            let machine = try machine(division + bytes, cr0: CR0.NE.rawValue)
            machine.state.xsave[0] = 0x37B
            machine.state.registers[6] = 0x30_0000
            return (try vector(machine), machine)
        }
        for bytes in [[0xD9, 0xE8], [0x9B], [0x0F, 0x77], [0x0F, 0xFC, 0xC1], [0xD9, 0xD0]] as [[UInt8]] {
            let (vector, machine) = try end(bytes)
            #expect(vector == 16, "\(bytes)")
            // RIP is at the one that waits, and the quotient isn't there.
            let frame = machine.state.registers[4]
            #expect(try machine.memory.load(UInt64.self, at: frame) == SystemMachine.code + UInt64(division.count))
            #expect(machine.state.xsave[0] >> 16 & 0x8084 == 0x8084)
            #expect(machine.state.xsave[4] == 1 << 63)
        }
        // fnclex, fninit, fnstsw ax, fnstcw [rsi], fnstenv [rsi]
        for bytes in [[0xDB, 0xE2], [0xDB, 0xE3], [0xDF, 0xE0], [0xD9, 0x3E], [0xD9, 0x36]] as [[UInt8]] {
            #expect(try end(bytes).vector == nil, "\(bytes)")
        }
    }
}
