import KVMABI
import TestLimits
import Testing
import X86

@testable import Processor
@testable import SoftKVM

/// KVM_GET_SUPPORTED_CPUID and the processor agree: each names the features that the other has.
@Suite(.within(minutes: 20)) struct SupportedCPUIDTests {
    /// Bits that depend on the vendor: AMD repeats leaf 1 and its MMX extensions in 80000001H, others have
    /// IA32_ARCH_CAPABILITIES.
    private static func ofVendor(_ leaf: UInt32, _ register: CPUIDRegister) -> UInt32 {
        switch (leaf, register) {
        case (0x8000_0001, .edx) where SupportedCPUID.shared.isAMD: 0x01C3_F3FF
        case (7, .edx) where !SupportedCPUID.shared.isAMD: 1 << 29
        default: 0
        }
    }

    /// Every bit that is set is one that the table of features offers, and has a name.
    @Test func leavesHoldWhatTheTableOffers() {
        for leaf in [1, 7, 0x8000_0001] as [UInt32] {
            for register in [CPUIDRegister.ebx, .ecx, .edx] where leaf != 1 || register != .ebx {
                var offered: UInt32 = 0
                for entry in CPUIDLeaves.all
                where entry.leaf == leaf && entry.subleaf == 0 && entry.register == register && entry.offered {
                    offered |= 1 << UInt32(entry.bit)
                }
                let others = SupportedCPUID.shared.registers(leaf)[register] & ~offered
                #expect(
                    others == SupportedCPUIDTests.ofVendor(leaf, register), "\(String(leaf, radix: 16)) \(register)")
            }
        }
    }

    /// Instructions of a feature are executed where CPUID shows it, and are #UD where it doesn't.
    @Test(arguments: Feature.allCases) func instructionsFollowCPUID(feature: Feature) {
        let bits = CPUIDLeaves.all.filter { $0.feature == feature }
        #expect(!bits.isEmpty, "\(feature) has no bit")
        for bit in bits {
            let register = SupportedCPUID.shared.registers(bit.leaf, bit.subleaf)[bit.register]
            #expect(register >> UInt32(bit.bit) & 1 == (HostProcessor.offered.contains(feature) ? 1 : 0))
        }
    }

    /// All of x86-64-v3 is offered where the host has it (System V ABI for x86-64, 3.1.1).
    @Test func offersTheThirdLevel() {
        let level: [Feature] = [
            .cx8, .cmov, .fpu, .fxsr, .mmx, .sse, .sse2, .syscall, .cx16, .lahf, .popcnt, .sse3, .sse4_1, .sse4_2,
            .ssse3,
            .avx, .avx2, .bmi1, .bmi2, .f16c, .fma, .lzcnt, .movbe, .xsave,
        ]
        for feature in level where HostProcessor.features.contains(feature) {
            #expect(HostProcessor.offered.contains(feature), "\(feature)")
        }
    }

    /// A guest that chooses by the size of its caches finds the host's, with nobody to share them.
    @Test func cachesAreTheHosts() throws {
        let leaf =
            SupportedCPUID.shared.isAMD ? CPUIDLeaves.extendedCacheParameters : CPUIDLeaves.cacheParameters
        let host = (0..<8).map { HostProcessor.cpuid(leaf: leaf, subleaf: $0) }.prefix { $0.eax & 31 != 0 }
        if SupportedCPUID.shared.isAMD {
            let features = CPUIDLeaves.extendedFeatures
            let told = HostProcessor.cpuid(leaf: features).ecx >> 22 & 1
            if told == 0 { try Test.cancel("the host does not tell its caches: it has no TOPOEXT") }
            #expect(SupportedCPUID.shared.registers(features).ecx >> 22 & 1 == told)
            #expect(SupportedCPUID.shared.entries.contains { $0.function == CPUIDLeaves.extendedTopology })
        }
        if host.isEmpty { try Test.cancel("the host does not tell its caches") }
        for (index, cache) in host.enumerated() {
            var alone = cache
            alone.eax &= 0x3FFF
            #expect(SupportedCPUID.shared.registers(leaf, UInt32(index)) == alone, "cache \(index)")
        }
        #expect(SupportedCPUID.shared.registers(leaf, UInt32(host.count)) == CPUIDResult())
    }
}
