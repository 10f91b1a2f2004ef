// KVM_CHECK_EXTENSION and KVM_ENABLE_CAP, number by number and bit by bit, on the software hypervisor by its table and
// against the kernel. Documentation/virt/kvm/api.rst, sections 4.4 and 4.37.

import KVM
import KVMABI
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.within(minutes: 20)) struct ExtensionTests {
    /// Why the software hypervisor offers less of a capability than the kernel: bits that it does not have.
    static let lesser: [Capability: String] = [
        .x2apicAPI: "no suppression of EOI broadcasts (bits 2 and 3)",
        .x86DisableExits: "a guest's C-states (bit 3) and APERF/MPERF (bit 4) are not its own here",
        .disableQuirks2:
            "there is no MMU of shadow pages to zap, no feature MSRs to stuff, no effect of PAT (bits 7 to 9)",
    ]

    private static let numbers = UInt(0)...4096

    private func kernel() throws -> RawMachine {
        guard let machine = try? RawMachine(.kernel) else { try Test.cancel("no /dev/kvm on this machine") }
        return machine
    }

    @Test func whatIsNotInTheTableReadsZero() throws {
        let machine = try RawMachine(.software)
        for number in Self.numbers {
            let capability = Capability(rawValue: UInt32(number))
            for handle in [HandleKind.system, .machine] {
                let value = machine.check(capability, on: handle)
                #expect((value != 0) == (Capabilities.offer(capability) != nil), "\(capability) on \(handle)")
            }
            #expect(machine.answer(.vcpu, .checkExtension, number) == .refused)
        }
        for number: UInt in [4097, 1 << 31, 1 << 32, .max] {
            #expect(machine.answer(.system, .checkExtension, number) == .value(0))
        }
    }

    @Test func whatBothOfferReadsAsOnTheKernel() throws {
        let kernel = try kernel()
        let software = try RawMachine(.software)
        for number in Self.numbers {
            let capability = Capability(rawValue: UInt32(number))
            for handle in [HandleKind.system, .machine] {
                let (ours, theirs) = (software.check(capability, on: handle), kernel.check(capability, on: handle))
                guard ours != 0, theirs != 0, ours != theirs else { continue }
                #expect(Self.lesser[capability] != nil, "\(capability) on \(handle): \(ours), the kernel \(theirs)")
                #expect(ours & ~theirs == 0, "\(capability) on \(handle): \(ours), the kernel \(theirs)")
            }
            #expect(kernel.answer(.vcpu, .checkExtension, number) == .refused)
        }
    }

    // MARK: KVM_ENABLE_CAP

    /// Zero, bits alone and bits in pairs, small numbers and large ones.
    private static let arguments: [UInt64] =
        [0, 5, 7, 24, 4095, 4096, 4097, .max] + (0..<14).map { 1 << $0 } + [3, 6, 0x30, 1 << 31, 1 << 32, 1 << 63]

    /// One try on a VM of its own; what is enabled on a VM may have to be before there is a vCPU.
    private static func enable(_ capability: Capability, _ argument: UInt64) throws
        -> RawMachine.Answer
    {
        guard capability.enabledOn == .machine else {
            return try RawMachine(.software).enable(capability, argument, on: .vcpu)
        }
        var answer = RawMachine.Answer.refused
        _ = try RawMachine(.software) { answer = $0.enable(capability, argument) }
        return answer
    }

    @Test func nothingButTheTableCanBeEnabled() throws {
        // What is refused changes nothing: one VM will do.
        let machine = try RawMachine(.software)
        for capability in Capability.all + [Capability(rawValue: 300), Capability(rawValue: .max)] {
            let argument = Capabilities.offer(capability)?.argument
            for handle in [HandleKind.system, .machine, .vcpu] where argument == nil || capability.enabledOn != handle {
                for value: UInt64 in [0, 1, 2] {
                    #expect(machine.enable(capability, value, on: handle) == .refused, "\(capability) on \(handle)")
                }
            }
            guard let argument, let handle = capability.enabledOn else { continue }
            #expect(machine.enable(capability, flags: 1, on: handle) == .refused, "\(capability) with flags")
            for value in Self.arguments {
                let answer = try Self.enable(capability, value)
                let wanted = argument.refusal(of: value).map(RawMachine.Answer.error) ?? .done
                #expect(answer == wanted, "\(capability) with \(value)")
            }
        }
    }

    @Test func whatBothOfferIsEnabledAsOnTheKernel() throws {
        let kernel = try kernel()
        let software = try RawMachine(.software)
        for offer in Capabilities.offers where kernel.check(offer.capability) != 0 {
            let capability = offer.capability
            for handle in [HandleKind.machine, .vcpu] where offer.argument == nil || capability.enabledOn != handle {
                let (ours, theirs) = (software.enable(capability, on: handle), kernel.enable(capability, on: handle))
                #expect(ours == theirs, "\(capability) on \(handle): \(ours), the kernel \(theirs)")
            }
            guard offer.argument != nil, let handle = capability.enabledOn else { continue }
            // One after the other, on a VM each.
            let ours = try RawMachine(.software, hasVCPU: handle == .vcpu)
            let theirs = try RawMachine(.kernel, hasVCPU: handle == .vcpu)
            for value in Self.arguments {
                let (our, their) = (
                    ours.enable(capability, value, on: handle), theirs.enable(capability, value, on: handle)
                )
                if our == their { continue }
                // Bits that only the kernel has.
                let isLesser = Self.lesser[capability] != nil && our == .refused && their == .done
                #expect(isLesser, "\(capability) with \(String(value, radix: 16)): \(our), the kernel \(their)")
            }
        }
    }

    @Test func capabilitiesAreInTheTableOnce() {
        #expect(Set(Capabilities.offers.map(\.capability)).count == Capabilities.offers.count)
        for offer in Capabilities.offers {
            #expect((offer.argument != nil) == (offer.capability.enabledOn != nil), "\(offer.capability)")
        }
    }
}
