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
            let direction =
                attributes & 4 != 0 ? "expand-down\(attributes & 0x4000 != 0 ? ", 32-bit" : "")" : "expand-up"
            return "\(direction), limit \(String(limit, radix: 16)): \(size) at \(String(offset, radix: 16))"
        }
    }

    static let cases: [Case] = {
        var cases: [Case] = []
        for size in [1, 2, 4] {
            let bytes = UInt64(size)
            for (offset, isInside) in [(0x9000 - bytes, true), (0x9001 - bytes, false), (0x9000, false), (0, true)] {
                cases.append(Case(attributes: 0x4093, limit: 0x8FFF, offset: offset, size: size, isInside: isInside))
            }
            for attributes: UInt16 in [0x97, 0x4097] {
                for (offset, isInside) in [(0x4FFF, false), (0x5000, true), (0x1_0000 - bytes, true)]
                    as [(UInt64, Bool)]
                {
                    cases.append(
                        Case(attributes: attributes, limit: 0x4FFF, offset: offset, size: size, isInside: isInside))
                }
                // Without B nothing is inside from 64 KiB on.
                let isBig = attributes & 0x4000 != 0
                for offset in [0x1_0001 - bytes, 0x1_0000] {
                    cases.append(
                        Case(attributes: attributes, limit: 0x4FFF, offset: offset, size: size, isInside: isBig))
                }
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
