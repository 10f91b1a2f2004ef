import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// What userspace has a part in, and what becomes of it where the owner changes the state between two runs.
@Suite(.within(minutes: 20)) struct UnfinishedAccessTests {
    /// An instruction that leaves to userspace, and how that shows.
    enum Access: CaseIterable, Sendable {
        case input, inputByDX, output, read, readModifyWrite, readMSR, writeMSR, hypercall, inputString

        var code: [UInt8] {
            switch self {
            case .input: [0xE5, 0x60]  // in eax, 60h
            case .inputByDX: [0xED]  // in eax, dx
            case .output: [0xEF]  // out dx, eax
            case .read: [0x8B, 0x07]  // mov eax, [rdi]
            case .readModifyWrite: [0x87, 0x07]  // xchg [rdi], eax
            case .readMSR: [0x0F, 0x32]
            case .writeMSR: [0x0F, 0x30]
            case .hypercall: [0x0F, 0x01, 0xC1]
            case .inputString: [0x6D]  // insd
            }
        }

        func answer(_ machine: SystemMachine, _ value: UInt32) {
            switch self {
            case .output: break
            case .readMSR, .writeMSR: machine.processor.completeMSR(value: UInt64(value), error: false)
            case .hypercall: machine.processor.completeHypercall(result: UInt64(value))
            default: machine.complete((0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) })
            }
        }

        /// What the instruction has taken from userspace.
        func taken(_ machine: SystemMachine) throws -> UInt32? {
            switch self {
            case .output, .writeMSR: nil
            case .inputString: try machine.memory.load(UInt32.self, at: buffer)
            default: UInt32(truncatingIfNeeded: machine.state.registers[0])
            }
        }
    }

    private static let device: UInt64 = 0x110_0000, buffer: UInt64 = 0x9_0000
    /// Where the same instruction stands again.
    private static let again: UInt64 = 0x40

    private func machine(_ access: Access) throws -> SystemMachine {
        var code = access.code + [0xF4]
        code += [UInt8](repeating: 0x90, count: Int(Self.again) - code.count) + access.code + [0xF4]
        let machine = try SystemMachine.long(code)
        // 2 MiB with nothing behind them.
        try machine.memory.store(0x100_0087 as UInt64, at: SystemMachine.tables + 0x2000 + 8 * 8)
        machine.state.registers[7] = access == .inputString ? Self.buffer : Self.device
        machine.state.registers[2] = 0x3F8
        machine.state.registers[1] = 0x4B56_4D99
        machine.host.msrReason = 2
        machine.processor.stateChanged()
        return machine
    }

    /// Runs through the MMIO writes that may follow an instruction.
    private func finish(_ machine: SystemMachine) -> ProcessorExit {
        var exit = machine.processor.run()
        while case .mmioWrite = exit { exit = machine.processor.run() }
        return exit
    }

    @Test(arguments: Access.allCases) func leftWhereItWasItIsCompleted(_ access: Access) throws {
        let machine = try machine(access)
        let exit = machine.processor.run()
        #expect(exit != .halted && machine.state.rip == SystemMachine.code)
        access.answer(machine, 0x1234_5678)
        // To where it is already.
        machine.state.rip = SystemMachine.code
        machine.processor.stateChanged()
        #expect(finish(machine) == .halted)
        #expect(machine.state.rip == SystemMachine.code + UInt64(access.code.count) + 1)
        if let taken = try access.taken(machine) { #expect(taken == 0x1234_5678) }
    }

    /// The answer to one instruction is not another's, be it the same instruction elsewhere.
    @Test(arguments: Access.allCases) func whereRIPWasMovedTheAccessIsMadeAnew(_ access: Access) throws {
        let machine = try machine(access)
        let first = machine.processor.run()
        access.answer(machine, 0x1111_1111)
        machine.state.rip += Self.again
        let second = machine.processor.run()
        #expect(second == first, "swallowed, or answered by what was asked before")
        #expect(machine.state.rip == SystemMachine.code + Self.again)
        access.answer(machine, 0x2222_2222)
        #expect(finish(machine) == .halted)
        if let taken = try access.taken(machine) { #expect(taken == 0x2222_2222) }
    }

    /// So is it where the code segment has moved under the same RIP.
    @Test(arguments: [false, true]) func anotherBaseOfCSIsAnotherPlace(isOutput: Bool) throws {
        let machine = try SystemMachine.protected(isOutput ? [0xEF, 0xF4] : [0xED, 0xF4])
        try machine.memory.write(isOutput ? [0xEF, 0xF4] : [0xED, 0xF4], at: SystemMachine.code + 0x1000)
        machine.state.registers[2] = 0x3F8
        let first = machine.processor.run()
        if !isOutput { machine.complete([1, 1, 1, 1]) }
        machine.state.segments[1].base = 0x1000
        machine.processor.stateChanged()
        #expect(machine.processor.run() == first)
    }

    /// What a device changes in the registers while IN waits for it, as VMware's does, changes nothing of the access.
    @Test func registersThatChangeMeanwhile() throws {
        let machine = try machine(.inputByDX)
        #expect(machine.processor.run() == .portRead(port: 0x3F8, size: 4, count: 1))
        machine.state.registers[2] = 0x1234
        machine.state.registers[3] = 0x564D_5868
        machine.complete([1, 2, 3, 4])
        #expect(machine.processor.run() == .halted)
        #expect(machine.state.registers[0] == 0x0403_0201 && machine.state.registers[2] == 0x1234)
    }

    /// An instruction that is complete makes its writes wherever RIP is by then: PUSHes of a pair, here.
    @Test func writesOfACompleteInstructionLeaveWhateverHappens() throws {
        // movups [rdi], xmm0: two writes.
        let machine = try SystemMachine.long([0x0F, 0x11, 0x07, 0xF4, 0xF4])
        try machine.memory.store(0x100_0087 as UInt64, at: SystemMachine.tables + 0x2000 + 8 * 8)
        machine.state.cr4 |= 0x200
        machine.state.registers[7] = Self.device
        machine.state.xsave[20] = 1
        machine.state.xsave[21] = 2
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .mmioWrite(address: Self.device, size: 8))
        #expect(machine.outgoing == [1, 0, 0, 0, 0, 0, 0, 0])
        machine.state.rip += 1
        #expect(machine.processor.run() == .mmioWrite(address: Self.device + 8, size: 8))
        #expect(machine.outgoing == [2, 0, 0, 0, 0, 0, 0, 0])
        #expect(machine.processor.run() == .halted)
    }

    /// The instruction that waited comes before any boundary, and yet after what the owner has changed meanwhile.
    @Test func memoryThatWasExchangedMeanwhile() throws {
        // push qword [rdi], twice
        let machine = try SystemMachine.long([0xFF, 0x37, 0xFF, 0x37, 0xF4])
        try machine.memory.store(0x100_0087 as UInt64, at: SystemMachine.tables + 0x2000 + 8 * 8)
        machine.state.registers[4] = Self.buffer + 0x800
        machine.state.registers[7] = Self.device
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .mmioRead(address: Self.device, size: 8))
        machine.complete([1, 0, 0, 0, 0, 0, 0, 0])
        #expect(machine.processor.run() == .mmioRead(address: Self.device, size: 8))
        #expect(try machine.memory.load(UInt64.self, at: Self.buffer + 0x7F8) == 1)
        let other = try GuestMemory(size: 16 << 20)
        for page: UInt64 in [0x10, 0x11, 0x12, 0x20] {
            try other.write(try machine.memory.read(count: 4096, at: page << 12), at: page << 12)
        }
        machine.space.replaceRegions([
            unsafe MemoryRegion(
                base: 0, size: 16 << 20, host: other.hostAddress, readOnly: false, slot: 0,
                pages: try #require(PageRecords(pageCount: 4096)))
        ])
        machine.processor.request(.flushTLB)
        machine.complete([2, 0, 0, 0, 0, 0, 0, 0])
        #expect(machine.processor.run() == .halted)
        #expect(try other.load(UInt64.self, at: Self.buffer + 0x7F0) == 2)
        #expect(
            try machine.memory.load(UInt64.self, at: Self.buffer + 0x7F0) == 0, "to memory that is the guest's no more")
    }

    @Test func whatWasTakenBackIsNotAnswered() throws {
        let machine = try machine(.input)
        #expect(machine.processor.run() == .portRead(port: 0x60, size: 4, count: 1))
        #expect(machine.processor.takeAwaitedAnswer() == .portData(count: 4))
        #expect(machine.processor.takeAwaitedAnswer() == .nothing, "it is asked for once")
        machine.processor.abandonInstruction()
        #expect(machine.processor.run() == .portRead(port: 0x60, size: 4, count: 1))
        machine.processor.reset()
        #expect(machine.processor.takeAwaitedAnswer() == .nothing)
    }

    // MARK: Who is asked

    /// An access that is the client's is offered to the hypervisor's own devices once.
    @Test(arguments: [false, true]) func theHostIsAskedOnce(isWrite: Bool) throws {
        let machine = try SystemMachine.long([isWrite ? 0x89 : 0x8B, 0x07, 0xF4])
        try machine.memory.store(0x100_0087 as UInt64, at: SystemMachine.tables + 0x2000 + 8 * 8)
        machine.state.registers[7] = Self.device
        machine.processor.stateChanged()
        let exit = machine.processor.run()
        if isWrite {
            #expect(exit == .mmioWrite(address: Self.device, size: 4))
        } else {
            #expect(exit == .mmioRead(address: Self.device, size: 4))
            machine.complete([1, 2, 3, 4])
        }
        #expect(machine.processor.run() == .halted)
        #expect(machine.host.asked == [Self.device])
    }

    /// One instruction that reads both: each answer is the one of its own access, and the hypervisor's device isn't read again
    /// for the client's.
    @Test(arguments: [false, true]) func answersKeepTheirOrder(startsWithOwn: Bool) throws {
        // cmpsb: [rsi], then [rdi].
        let machine = try SystemMachine.long([0xA6, 0xF4])
        try machine.memory.store(0x100_0087 as UInt64, at: SystemMachine.tables + 0x2000 + 8 * 8)
        let own = Self.device + 0x1000
        machine.host.devices[own] = 0x55
        machine.state.registers[6] = startsWithOwn ? own : Self.device
        machine.state.registers[7] = startsWithOwn ? Self.device : own
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .mmioRead(address: Self.device, size: 1))
        let asked = machine.host.asked
        machine.complete([0x55])
        #expect(machine.processor.run() == .halted)
        #expect(machine.processor.rflags & RFLAGS.ZF.rawValue != 0)
        #expect(machine.host.asked.count == asked.count + (startsWithOwn ? 0 : 1))
    }
}
