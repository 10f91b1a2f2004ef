// A capability changes what it is for once it is enabled, and nothing before: each that can be, on every hypervisor that
// offers it. Documentation/virt/kvm/api.rst, section 7.

import KVM
import KVMABI
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct CapabilityWalkTests {
    private static let capabilities = CapabilityEffect.all.keys.sorted { $0.rawValue < $1.rawValue }

    @Test(arguments: capabilities, hypervisors)
    func aCapabilityChangesWhatItIsFor(_ capability: Capability, _ hypervisor: Hypervisor) throws {
        try walk(capability, try #require(CapabilityEffect.all[capability]), hypervisor)
    }

    @Test(arguments: CapabilityBit.all, hypervisors)
    func aBitChangesWhatItIsFor(_ bit: CapabilityBit, _ hypervisor: Hypervisor) throws {
        try walk(bit.capability, bit.effect, hypervisor)
    }

    private func walk(_ capability: Capability, _ effect: CapabilityEffect, _ hypervisor: Hypervisor) throws {
        guard try System(hypervisor).check(capability) > 0 else {
            try Test.cancel("\(hypervisor) does not offer \(capability)")
        }
        let without = try effect.seen(hypervisor, .init(setting: nil))
        let setting = CapabilitySetting(capability, (effect.argument, 0, 0, 0))
        let with = try effect.seen(hypervisor, .init(setting: setting))
        if hypervisor == .kernel, with == without, let why = effect.kernels { try skip(capability.name, why) }
        #expect(without == effect.without)
        #expect(with == effect.with)
    }

    /// No bit is announced that nothing comes of.
    @Test func everyBitThatIsAnnouncedIsWalked() throws {
        for capability in CapabilityBit.masks {
            let value = UInt64(Capabilities.value(UInt(capability.rawValue)))
            let arguments =
                CapabilityBit.all.filter { $0.capability == capability }.map(\.effect.argument)
                + (CapabilityEffect.all[capability].map { [$0.argument] } ?? [])
            let elsewhere = CapabilityBit.elsewhere[capability] ?? [:]
            for bit in (0..<32).map({ 1 << UInt64($0) as UInt64 }) where bit & value != 0 {
                let isWalked = arguments.contains { $0 & bit != 0 } || elsewhere[bit] != nil
                #expect(isWalked, "\(capability), \(String(bit, radix: 16))")
            }
            for test in elsewhere.values { #expect(TestNames.all.contains(test), "\(test)") }
        }
        for offer in Capabilities.offers {
            switch offer.argument {
            case .bits, .stickyBits: #expect(CapabilityBit.masks.contains(offer.capability), "\(offer.capability)")
            default: break
            }
        }
    }

    /// What asks for exits is shown by the walk over those.
    @Test func everyCapabilityThatCanBeEnabledIsWalked() {
        var asking: Set<Capability> = []
        for (number, _) in ExitReason.names {
            if case .capability(let capabilities, _) = ExitReason(rawValue: number).optIn {
                asking.formUnion(capabilities)
            }
        }
        for offer in Capabilities.offers where offer.argument != nil {
            let isWalked = CapabilityEffect.all[offer.capability] != nil || asking.contains(offer.capability)
            #expect(isWalked, "\(offer.capability)")
        }
    }
}
