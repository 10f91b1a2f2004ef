import KVMABI
import TestLimits
import Testing

@testable import VMM

@Suite(.within(minutes: 20)) struct CPUIDTopologyTests {
    func entry(
        _ function: UInt32, _ index: UInt32 = 0, eax: UInt32 = 0, ebx: UInt32 = 0, ecx: UInt32 = 0, edx: UInt32 = 0
    )
        -> kvm_cpuid_entry2
    {
        var entry = kvm_cpuid_entry2()
        entry.function = function
        entry.index = index
        (entry.eax, entry.ebx, entry.ecx, entry.edx) = (eax, ebx, ecx, edx)
        return entry
    }

    func leaf(_ entries: [kvm_cpuid_entry2], _ function: UInt32, _ index: UInt32 = 0) throws -> kvm_cpuid_entry2 {
        try #require(entries.first { $0.function == function && $0.index == index })
    }

    @Test func apicIDAndCounts() throws {
        let supported = [
            entry(0, eax: 0x0d), entry(1, ebx: 0x1200_0800, edx: 1 << 28), entry(0x8000_0008, ecx: 0x7007),
        ]
        let entries = CPUIDTopology(apicID: 2, count: 4).apply(to: supported, deadlineTimer: true)
        let features = try leaf(entries, 1)
        #expect(features.ebx == 0x0204_0800)
        #expect(features.ecx == 1 << 31 | 1 << 24)
        #expect(features.edx == 1 << 28)
        #expect(try leaf(entries, 0x8000_0008).ecx == 0x2003)
        #expect(try leaf(entries, 0xb, 0).edx == 2)
        #expect(try leaf(entries, 0xb, 1).eax == 2)
        #expect(try leaf(entries, 0xb, 1).ebx == 4)
        #expect(try leaf(entries, 0xb, 1).ecx == 0x201)
        #expect(!entries.contains { $0.function == 0x1f })
    }

    @Test func oneProcessorIsNoHyperthreading() throws {
        let entries = CPUIDTopology(apicID: 0, count: 1)
            .apply(to: [entry(0, eax: 0x1f), entry(1, edx: 1 << 28), entry(0x1f)], deadlineTimer: false)
        #expect(try leaf(entries, 1).edx == 0)
        #expect(try leaf(entries, 0xb, 1).eax == 0)
        #expect(try leaf(entries, 0x1f, 1).ebx == 1)
    }

    @Test(arguments: [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (254, 8)])
    func coreBits(count: UInt32, bits: UInt32) throws {
        let entries = CPUIDTopology(apicID: 0, count: count).apply(to: [entry(0, eax: 0x0d)], deadlineTimer: false)
        #expect(try leaf(entries, 0xb, 1).eax == bits)
    }

    /// The first and second level are a core's own, the third is the package's (Intel's leaf 4, AMD's 8000001DH).
    @Test(arguments: [0x04, 0x8000_001d] as [UInt32]) func whoSharesACache(function: UInt32) throws {
        let supported = (0..<4).map { entry(function, UInt32($0), eax: [0x21, 0x22, 0x43, 0x63][$0]) }
        let entries = CPUIDTopology(apicID: 1, count: 4).apply(to: supported, deadlineTimer: false)
        for index: UInt32 in 0..<4 {
            let sharing = try leaf(entries, function, index).eax >> 14 & 0xfff
            #expect(sharing == (index == 3 ? 3 : 0), "cache \(index)")
        }
    }

    @Test func aCoreOfItsOwn() throws {
        let entries = CPUIDTopology(apicID: 3, count: 4).apply(to: [entry(0x8000_001e)], deadlineTimer: false)
        let place = try leaf(entries, 0x8000_001e)
        #expect((place.eax, place.ebx, place.ecx) == (3, 3, 0))
    }
}
