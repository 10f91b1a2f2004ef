import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// Walks and accesses that random tables have found wrong once.
@Suite(.within(minutes: 20)) struct SystemPagingTests {
    /// What a run that ends in #PF shows: the error code on the handler's stack, and CR2.
    private func pageFault(_ machine: SystemMachine, size: Int = 8) throws -> (code: UInt64, address: UInt64) {
        try #require(try machine.runToVector() == 14)
        return (try machine.stack(1, size: size)[0], machine.state.cr2)
    }

    /// The access through a descriptor table is implicit: SMAP holds for it whatever AC says. Intel SDM vol. 3, 4.6.1.
    @Test func SMAPHoldsForImplicitAccesses() throws {
        // stac; mov eax, [rdi]; mov ds, ecx. Every page is the user's, the IDT's too: the #PF can't be delivered.
        let machine = try SystemMachine.long([0x0F, 0x01, 0xCB, 0x8B, 0x07, 0x8E, 0xD9, 0xF4])
        machine.state.cr4 |= 1 << 21
        machine.state.registers[7] = 0x9000
        machine.state.registers[1] = UInt64(SystemMachine.data)
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .shutdown)
        #expect(machine.state.rip == SystemMachine.code + 5)
    }

    /// Bits 13–20 of a 4 MiB page's entry are address bits 32–39, reserved beyond MAXPHYADDR. Intel SDM vol. 3, table 4-4.
    @Test(arguments: [(36, 17, true), (36, 16, false), (40, 20, false), (40, 21, true)])
    func bigPageBeyondThePhysicalWidth(_ bits: UInt32, _ entryBit: UInt32, _ isReserved: Bool) throws {
        // mov eax, [0x400000], with nothing but a device beyond the memory.
        let machine = try SystemMachine.protected([0xA1, 0, 0, 0x40, 0, 0xF4])
        machine.host.physicalBits = bits
        try machine.memory.store(UInt32(0x87), at: SystemMachine.tables)
        try machine.memory.store(UInt32(0x87 | 1 << entryBit), at: SystemMachine.tables + 4)
        machine.state.cr3 = SystemMachine.tables
        machine.state.cr4 = 0x10
        machine.state.cr0 = 0x8000_0011
        machine.processor.stateChanged()
        guard isReserved else {
            let address = UInt64(entryBit - 13 + 32)
            #expect(machine.processor.run() == .mmioRead(address: 1 << address, size: 4))
            return
        }
        let fault = try pageFault(machine, size: 4)
        #expect(fault.code == 0x9 && fault.address == 0x40_0000)
    }

    /// PS of a PDPTE is reserved without 1 GiB pages in CPUID. Intel SDM vol. 3, table 4-16.
    @Test func gigabytePageWithoutCPUID() throws {
        // mov eax, [rdi]
        let machine = try SystemMachine.long([0x8B, 0x07, 0xF4])
        try machine.memory.store(1 << 30 | 0x87 as UInt64, at: SystemMachine.tables + 0x1008)
        machine.state.registers[7] = 1 << 30
        machine.processor.stateChanged()
        let fault = try pageFault(machine)
        #expect(fault.code == 0x9 && fault.address == 1 << 30)
    }

    /// #GP for an operand that isn't canonical all through comes before the #PF of its first page. Intel SDM vol. 3, 6.9.
    @Test func operandAcrossTheCanonicalBoundary() throws {
        // mov rax, [rdi]
        let machine = try SystemMachine.long([0x48, 0x8B, 0x07, 0xF4])
        machine.state.registers[7] = 0x7FFF_FFFF_FFFC
        machine.processor.stateChanged()
        #expect(try machine.runToVector() == 13)
        #expect(machine.state.cr2 == 0)
    }

    /// So it does for a descriptor. The handler's code segment can't be read either, which ends the machine.
    @Test func descriptorAcrossTheCanonicalBoundary() throws {
        // mov ds, ecx
        let machine = try SystemMachine.long([0x8E, 0xD9, 0xF4])
        machine.state.gdtr.base = 0x7FFF_FFFF_FFF4
        machine.state.registers[1] = 8
        machine.processor.stateChanged()
        #expect(machine.processor.run() == .shutdown)
        #expect(machine.state.cr2 == 0 && machine.state.rip == SystemMachine.code)
    }

    /// A device's half of an operand isn't read where the other half's page isn't there: reading could change the device.
    @Test func deviceIsNotReadBeforeAFault() throws {
        // mov rax, [rdi]
        let machine = try SystemMachine.long([0x48, 0x8B, 0x07, 0xF4])
        try machine.memory.store(0x200_0087 as UInt64, at: SystemMachine.tables + 0x2000 + 8 * 8)
        machine.state.registers[7] = 0x11F_FFFC
        machine.processor.stateChanged()
        let fault = try pageFault(machine)
        #expect(fault.code == 0 && fault.address == 0x120_0000)
    }
}
