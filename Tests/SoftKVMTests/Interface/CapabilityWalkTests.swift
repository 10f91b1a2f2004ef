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
        let effect = try #require(CapabilityEffect.all[capability])
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
