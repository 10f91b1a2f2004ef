// The contiguous buffer, and the name and number of what it holds.

import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct VariableLengthBufferTests {
    @Test func entriesAndCountGoThroughOnePieceOfMemory() {
        var buffer = VariableLengthBuffer<kvm_msr_entry>(.msrs, capacity: 3)
        #expect(buffer.count == 3)
        buffer[1] = kvm_msr_entry(index: 0x10, reserved: 0, data: 0x1234_5678_9abc_def0)
        #expect(buffer[1].data == 0x1234_5678_9abc_def0)
        #expect(buffer[0].data == 0)
        buffer.count = 2
        #expect(buffer.entries.count == 2)
        buffer.count = 100
        #expect(buffer.count == 3)
        #expect(buffer.statedCount == 100)
    }

    @Test func aCountIsWhereTheStructureHasIt() {
        var filter = VariableLengthBuffer<UInt64>(.pmuEventFilter, [0x3c, 0xc0])
        filter.setHeader(UInt32(1), 0)
        #expect(filter.header(0, as: UInt32.self) == 1)
        #expect(filter.header(4, as: UInt32.self) == 2)
        #expect(filter.entries == [0x3c, 0xc0])
        let list = VariableLengthBuffer<UInt32>(.msrList, [0x10, 0x1b, 0x174])
        #expect(list.entries == [0x10, 0x1b, 0x174])
    }
}
