import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// IN, OUT, INS, OUTS: exits, permission, batches. Intel SDM vol. 1, chapter 19.
@Suite(.within(minutes: 20)) struct SystemPortTests {
    @Test func INWaitsForTheClient() throws {
        let machine = try SystemMachine.long([0xE4, 0x60, 0x66, 0xED, 0xF4])  // in al, 60h; in ax, dx; hlt
        machine.state.registers[0] = 0x1111_2222_3333_4444
        machine.state.registers[2] = 0x3F8
        #expect(machine.processor.run() == .portRead(port: 0x60, size: 1, count: 1))
        #expect(machine.state.rip == SystemMachine.code)
        machine.complete([0xAB])
        #expect(machine.processor.run() == .portRead(port: 0x3F8, size: 2, count: 1))
        #expect(machine.state.registers[0] == 0x1111_2222_3333_44AB)
        machine.complete([0xCD, 0xEF])
        try machine.runToHalt()
        #expect(machine.state.registers[0] == 0x1111_2222_3333_EFCD)
    }

    @Test func thirtyTwoBitINClearsTheUpperHalf() throws {
        let machine = try SystemMachine.long([0xE5, 0x60, 0xF4])
        machine.state.registers[0] = .max
        machine.host.ports[0x60] = 0x1234
        try machine.runToHalt()
        #expect(machine.state.registers[0] == 0x1234)
    }

    @Test func OUTCompletesOnTheNextRun() throws {
        let machine = try SystemMachine.long([0xE6, 0x80, 0xEF, 0xF4])  // out 80h, al; out dx, eax; hlt
        machine.state.registers[0] = 0x1234_5678
        machine.state.registers[2] = 0xCF8
        #expect(machine.processor.run() == .portWrite(port: 0x80, size: 1, count: 1))
        #expect(machine.outgoing == [0x78])
        #expect(machine.processor.run() == .portWrite(port: 0xCF8, size: 4, count: 1))
        #expect(machine.outgoing == [0x78, 0x56, 0x34, 0x12])
        try machine.runToHalt()
    }

    @Test func permissionBitmapOfTheTSS() throws {
        let machine = try SystemMachine.long([0xE4, 0x60, 0xE4, 0x64], cpl: 3)
        try machine.memory.store(UInt8(0xFE), at: SystemMachine.tss + 0x68 + 0x60 / 8)
        machine.host.ports[0x60] = 7
        #expect(try machine.runToVector() == 13)
        #expect(machine.state.registers[0] & 0xFF == 7)
        #expect(try machine.stack(2, size: 8) == [0, SystemMachine.code + 2])
    }

    /// Each port of an access counts, those in the map's next byte among them. Intel SDM vol. 1, 19.5.2.
    @Test(arguments: [(1, [0xE4]), (2, [0x66, 0xE5]), (4, [0xE5])] as [(UInt8, [UInt8])])
    func bitmapHasABitForEachPort(size: UInt8, input: [UInt8]) throws {
        for port in 0x60..<0x68 as Range<UInt8> {
            for denied in [port - 1, port, port + size - 1, port + size] {
                // in al, ax or eax, port; ud2
                let machine = try SystemMachine.long(input + [port, 0x0F, 0x0B], cpl: 3)
                let map = SystemMachine.tss + 0x68
                try machine.memory.write([UInt8](repeating: 0, count: 16), at: map)
                try machine.memory.store(1 << (denied & 7) as UInt8, at: map + UInt64(denied >> 3))
                machine.host.ports[UInt16(port)] = 7
                let isDenied = denied >= port && denied < port + size
                #expect(try machine.runToVector() == (isDenied ? 13 : 6), "port \(port), \(denied) denied")
            }
        }
    }

    @Test func IOPLAllowsEveryPort() throws {
        let machine = try SystemMachine.long([0xE4, 0x64, 0x0F, 0x0B], cpl: 3)
        machine.host.ports[0x64] = 7
        machine.processor.rflags = 0x3002
        #expect(try machine.runToVector() == 6)
    }

    @Test func bitmapBeyondTheLimitDenies() throws {
        let machine = try SystemMachine.long([0xE4, 0x60], cpl: 3)
        machine.state.segments[7].limit = 0x67
        #expect(try machine.runToVector() == 13)
    }

    /// The byte behind the port's has to lie inside the TSS as well, whatever the access's width. Intel SDM vol. 1, 19.5.2.
    @Test(arguments: [(UInt32(0x73), true), (0x74, true), (0x75, false)])
    func bitmapEndsWithAByteMore(limit: UInt32, isDenied: Bool) throws {
        // in al, 60h; ud2
        let machine = try SystemMachine.long([0xE4, 0x60, 0x0F, 0x0B], cpl: 3)
        try machine.memory.write([UInt8](repeating: 0, count: 16), at: SystemMachine.tss + 0x68)
        machine.host.ports[0x60] = 7
        machine.state.segments[7].limit = limit
        #expect(try machine.runToVector() == (isDenied ? 13 : 6))
    }

    @Test func REPOUTSLeavesByPage() throws {
        let machine = try SystemMachine.long([0xF3, 0x6E, 0xF4])  // rep outsb; hlt
        try machine.memory.write((0..<16).map { UInt8($0) }, at: 0x9FF8)
        machine.state.registers[6] = 0x9FF8
        machine.state.registers[1] = 16
        machine.state.registers[2] = 0x3F8
        #expect(machine.processor.run() == .portWrite(port: 0x3F8, size: 1, count: 8))
        #expect(machine.outgoing == [0, 1, 2, 3, 4, 5, 6, 7])
        #expect(machine.state.rip == SystemMachine.code && machine.state.registers[1] == 8)
        #expect(machine.processor.run() == .portWrite(port: 0x3F8, size: 1, count: 8))
        #expect(machine.outgoing == [8, 9, 10, 11, 12, 13, 14, 15])
        #expect(machine.state.rip == SystemMachine.code + 2)
        try machine.runToHalt()
        #expect(machine.state.registers[6] == 0xA008)
    }

    @Test func REPINSTakesWhatTheClientGives() throws {
        let machine = try SystemMachine.long([0xF3, 0x66, 0x6D, 0xF4])  // rep insw; hlt
        machine.state.registers[7] = 0x9FFA
        machine.state.registers[1] = 5
        machine.state.registers[2] = 0x1F0
        #expect(machine.processor.run() == .portRead(port: 0x1F0, size: 2, count: 3))
        machine.complete([1, 2, 3, 4, 5, 6])
        #expect(machine.processor.run() == .portRead(port: 0x1F0, size: 2, count: 2))
        #expect(machine.state.registers[1] == 2 && machine.state.registers[7] == 0xA000)
        machine.complete([7, 8, 9, 10])
        try machine.runToHalt()
        #expect(try machine.memory.read(count: 10, at: 0x9FFA) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        #expect(machine.state.registers[1] == 0)
    }

    @Test func INSDownwardsGoesOneByOne() throws {
        let machine = try SystemMachine.long([0xF3, 0x6C, 0xF4])
        machine.processor.rflags = 0x402
        machine.state.registers[7] = 0x9001
        machine.state.registers[1] = 2
        #expect(machine.processor.run() == .portRead(port: 0, size: 1, count: 1))
        machine.complete([1])
        #expect(machine.processor.run() == .portRead(port: 0, size: 1, count: 1))
        machine.complete([2])
        try machine.runToHalt()
        #expect(try machine.memory.read(count: 2, at: 0x9000) == [2, 1])
    }

    @Test func INSFaultsBeforeThePortIsRead() throws {
        let machine = try SystemMachine.long([0xF3, 0x6C])
        machine.state.registers[7] = 0x1_0000_0000
        machine.state.registers[1] = 2
        #expect(try machine.runToVector() == 14)
    }

    @Test func REPWithCountZeroDoesNothing() throws {
        let machine = try SystemMachine.long([0xF3, 0x6C, 0xF3, 0x6E, 0xF4])
        try machine.runToHalt()
    }

    @Test func stringsToPortsOfTheHypervisorItself() throws {
        let machine = try SystemMachine.long([0xF3, 0x6E, 0xF4])
        machine.host.ports[0xE9] = 0
        try machine.memory.write([1, 2, 3], at: 0x9000)
        machine.state.registers[6] = 0x9000
        machine.state.registers[1] = 3
        machine.state.registers[2] = 0xE9
        try machine.runToHalt()
        #expect(machine.host.written == [1, 2, 3])
    }
}
