import TestLimits
import Testing
import X86

@testable import Processor

/// The last offsets inside a segment and the first ones outside, for each direction and width. Intel SDM vol. 3, 5.3.
@Suite(.within(minutes: 20)) struct SystemLimitTests {
    struct Case: CustomTestStringConvertible {
        var attributes: UInt16
        var limit: UInt32
        var offset: UInt64
        var size: Int
        var isInside: Bool

        var testDescription: String {
            let direction = attributes & 4 == 0 ? "expand-up" : "expand-down"
            let width = attributes & 0x4000 == 0 ? 16 : 32
            let (end, start) = (String(limit, radix: 16), String(offset, radix: 16))
            return "\(direction), \(width)-bit, limit \(end): \(size) at \(start)"
        }
    }

    static let cases: [Case] = {
        var cases: [Case] = []
        func add(_ attributes: UInt16, _ limit: UInt32, _ offset: UInt64, _ size: Int, _ isInside: Bool) {
            cases.append(
                Case(attributes: attributes, limit: limit, offset: offset, size: size, isInside: isInside))
        }
        for size in [1, 2, 4] {
            let bytes = UInt64(size)
            add(0x4093, 0x8FFF, 0, size, true)
            add(0x4093, 0x8FFF, 0x9000 - bytes, size, true)
            add(0x4093, 0x8FFF, 0x9001 - bytes, size, false)
            add(0x4093, 0x8FFF, 0x9000, size, false)
            for attributes: UInt16 in [0x97, 0x4097] {
                add(attributes, 0x4FFF, 0x4FFF, size, false)
                add(attributes, 0x4FFF, 0x5000, size, true)
                add(attributes, 0x4FFF, 0x1_0000 - bytes, size, true)
                // Without B nothing is inside from 64 KiB on.
                add(attributes, 0x4FFF, 0x1_0001 - bytes, size, attributes & 0x4000 != 0)
            }
        }
        return cases
    }()

    /// #GP through a data segment, #SS through the stack's.
    @Test(arguments: cases, [SegmentName.ds, .ss])
    func limits(_ sample: Case, _ name: SegmentName) throws {
        let load: [Int: [UInt8]] = [1: [0x8A, 0x07], 2: [0x66, 0x8B, 0x07], 4: [0x8B, 0x07]]
        let prefix: [UInt8] = name == .ss ? [0x36] : []
        let machine = try SystemMachine.protected(prefix + (load[sample.size] ?? []) + [0xF4])
        machine.state.segments[Int(name.rawValue)].limit = sample.limit
        machine.state.segments[Int(name.rawValue)].attributes = sample.attributes
        machine.state.registers[7] = sample.offset
        machine.processor.stateChanged()
        if sample.isInside { return try machine.runToHalt() }
        #expect(try machine.runToVector() == (name == .ss ? 12 : 13))
        #expect(try machine.stack(2, size: 4) == [0, SystemMachine.code])
    }
}
