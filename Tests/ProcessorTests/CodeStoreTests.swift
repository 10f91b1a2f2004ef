import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// Stores into code that is decoded already, by each kind of store: what is executed next is what was stored.
/// Intel SDM vol. 3, 12.6.
@Suite(.within(minutes: 20)) struct CodeStoreTests {
    struct Store: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let code: [UInt8]
        /// What MOV's operand is then; it was 0x1111_1111, and EBX is 0x2222_2222.
        var result: UInt32 = 0x2222_2222
    }

    /// To [RDI], where the operand of MOV EAX lies. RAX is what was there.
    static let stores = [
        Store(testDescription: "mov", code: [0x89, 0x1F]),
        Store(testDescription: "add", code: [0x01, 0x1F], result: 0x3333_3333),
        Store(testDescription: "xchg", code: [0x87, 0x1F]),
        Store(testDescription: "lock add", code: [0xF0, 0x01, 0x1F], result: 0x3333_3333),
        Store(testDescription: "lock inc", code: [0xF0, 0xFF, 0x07], result: 0x1111_1112),
        Store(testDescription: "lock not", code: [0xF0, 0xF7, 0x17], result: 0xEEEE_EEEE),
        Store(testDescription: "lock bts", code: [0xF0, 0x0F, 0xBA, 0x2F, 1], result: 0x1111_1113),
        Store(testDescription: "lock xadd", code: [0xF0, 0x0F, 0xC1, 0x1F], result: 0x3333_3333),
        Store(testDescription: "lock cmpxchg", code: [0xF0, 0x0F, 0xB1, 0x1F]),
        Store(testDescription: "cmpxchg", code: [0x0F, 0xB1, 0x1F]),
        Store(testDescription: "lock cmpxchg8b", code: [0xF0, 0x0F, 0xC7, 0x0F]),
        Store(testDescription: "stosd", code: [0x93, 0xAB]),
        Store(testDescription: "movups", code: [0x0F, 0x11, 0x07]),
        Store(testDescription: "push", code: [0x48, 0x8D, 0x67, 0x08, 0x53, 0x48, 0x8D, 0x67, 0xC0]),
    ]

    private static let place: UInt64 = 0x80

    /// `body`, and at `place` MOV EAX, 11111111h; RET (or HLT). RDI points to the operand, what follows it is NOPs.
    private func machine(_ body: [UInt8], operand offset: UInt64, tail: [UInt8]) throws -> SystemMachine {
        let machine = try SystemMachine.long(body)
        try machine.memory.write(
            [0xB8, 0x11, 0x11, 0x11, 0x11] + tail + [UInt8](repeating: 0x90, count: 16),
            at: SystemMachine.code + offset)
        machine.state.cr4 |= 0x200
        machine.state.registers[7] = SystemMachine.code + offset + 1
        machine.state.registers[3] = 0x2222_2222
        // What lies behind the operand is to stay.
        let bytes = try machine.memory.load(UInt64.self, at: SystemMachine.code + offset + 1)
        machine.state.registers[3] = bytes & ~0xFFFF_FFFF | 0x2222_2222
        machine.state.registers[1] = bytes >> 32
        machine.state.registers[2] = bytes >> 32
        machine.state.xsave[20] = machine.state.registers[3]
        machine.state.xsave[21] = try machine.memory.load(UInt64.self, at: SystemMachine.code + offset + 9)
        machine.processor.stateChanged()
        return machine
    }

    /// In another block, which has been executed before.
    @Test(arguments: stores) func intoAnotherBlock(_ store: Store) throws {
        // call place; the store; call place; hlt
        let first: [UInt8] = [0xE8] + Self.distance(from: 5)
        let behind = first.count + store.code.count + 5
        let machine = try machine(
            first + store.code + [0xE8] + Self.distance(from: behind) + [0xF4], operand: Self.place, tail: [0xC3])
        #expect(machine.processor.run() == .halted)
        #expect(UInt32(truncatingIfNeeded: machine.state.registers[0]) == store.result)
    }

    private static func distance(from offset: Int) -> [UInt8] {
        let value = UInt32(truncatingIfNeeded: Int(place) - offset)
        return (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// Right behind the store, in the same block.
    @Test(arguments: stores) func intoTheNextInstruction(_ store: Store) throws {
        let machine = try machine(
            [0xB8, 0x11, 0x11, 0x11, 0x11] + store.code, operand: UInt64(5 + store.code.count), tail: [0xF4])
        #expect(machine.processor.run() == .halted)
        #expect(UInt32(truncatingIfNeeded: machine.state.registers[0]) == store.result)
    }

    /// Sixteen bytes at once, aligned.
    @Test(arguments: [false, true]) func byCMPXCHG16B(isLocked: Bool) throws {
        // call place; cmpxchg16b [rdi]; call place; hlt
        let exchange: [UInt8] = (isLocked ? [0xF0] : []) + [0x48, 0x0F, 0xC7, 0x0F]
        let first: [UInt8] = [0xE8] + Self.distance(from: 5)
        let load: [UInt8] = [0x48, 0x89, 0xF0]  // mov rax, rsi: what was there
        let behind = first.count + load.count + exchange.count + 5
        let machine = try SystemMachine.long(
            first + load + exchange + [0xE8] + Self.distance(from: behind) + [0xF4])
        let place = SystemMachine.code + Self.place
        try machine.memory.write([0xB8, 0x11, 0x11, 0x11, 0x11, 0xC3] + [UInt8](repeating: 0x90, count: 10), at: place)
        machine.state.registers[7] = place
        machine.state.registers[6] = try machine.memory.load(UInt64.self, at: place)
        machine.state.registers[2] = try machine.memory.load(UInt64.self, at: place + 8)
        machine.state.registers[3] = 0x9090_C322_2222_22B8
        machine.state.registers[1] = machine.state.registers[2]
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .halted)
        #expect(machine.state.registers[0] == 0x2222_2222)
    }
}
