// docs/abi.md: the interface as the tables have it, what of it the software hypervisor offers, and which test shows it.

import KVMABI

@testable import SoftKVM

enum InterfaceReport {
    static var text: String {
        """
        # The interface, row by row

        Made by `make abi` from the tables of the code, and compared with them by a test. What KVM has for x86 up to Linux 6.18
        is here: exits, capabilities and ioctls, how a client asks for each, whether the software hypervisor offers it, and
        the test that shows it. A dash in the last column: no test shows it by itself.

        A client that asks for nothing sees the exits of the base interface alone: `ExitWalkTests` runs a guest for each exit with
        the opt-in and without, and `kvm_run.exit_reason` is written in one function (`ExitWitness.swift`), which wants to be
        shown the opt-in. What is not offered reads 0, can't be enabled and is refused as a kernel without it refuses it
        (`ExtensionTests`, `RequestTests`, on both hypervisors).

        ## Exits

        | number | `KVM_EXIT_` | asked for with | offered | shown by |
        |---:|---|---|---|---|
        \(exits.joined(separator: "\n"))

        ## Capabilities

        Those of other architectures are left out, and read 0. A value is what KVM_CHECK_EXTENSION answers; one that is not
        offered reads 0. The arguments are those that the software hypervisor takes as the first of KVM_ENABLE_CAP.

        | number | `KVM_CAP_` | asked for with | value | shown by |
        |---:|---|---|---|---|
        \(capabilities.joined(separator: "\n"))

        ## Ioctls

        A line for each kind of handle. An ioctl is there if the capability reads other than 0; *base*: always.

        | code | `KVM_` | handle | asked for with | offered | shown by |
        |---|---|---|---|---|---|
        \(requests.joined(separator: "\n"))

        """
    }

    // MARK: Exits

    private static var exits: [String] {
        ExitReason.names.map { number, name in
            let reason = ExitReason(rawValue: number)
            var offered = "yes"
            if case .notGiven(let why)? = ExitWalk.ways[reason] {
                offered = "no: \(why)"
            } else if case .capability(let capabilities, _) = reason.optIn, !capabilities.contains(where: isOffered) {
                offered = "no"
            }
            let shown = offered == "yes" ? Evidence.of(reason) : nil
            return row("\(number)", name, description(reason.optIn), offered, shown)
        }
    }

    private static func description(_ optIn: ExitOptIn) -> String {
        switch optIn {
        case .base: "base"
        case .noLocalAPIC: "no local APIC in the hypervisor"
        case .interruptWindowRequest: "`kvm_run.request_interrupt_window`"
        case .capability(let capabilities, let bits):
            capabilities.map { short($0) }.joined(separator: " or ") + (bits.map { ", \(hexadecimal($0))" } ?? "")
        case .request(let request, let what): "`\(request.name)`: \(what)"
        case .never: "nothing"
        }
    }

    // MARK: Capabilities

    /// What other architectures' capabilities begin with.
    private static let otherArchitectures = ["PPC_", "S390_", "ARM_", "MIPS_", "RISCV_", "SPAPR_"]

    private static var capabilities: [String] {
        Capability.all.compactMap { capability in
            let name = String(capability.name.dropFirst(8))
            if otherArchitectures.contains(where: name.hasPrefix) { return nil }
            let offer = Capabilities.offer(capability)
            var asked = "—"
            if let handle = capability.enabledOn {
                asked =
                    "`KVM_ENABLE_CAP` on a \(handle.rawValue)" + (offer?.argument.map { ": \(description($0))" } ?? "")
            }
            let value =
                switch offer?.answer {
                case .value(let value): value > 4096 ? hexadecimal(UInt64(value)) : "\(value)"
                case .processors: "the host's processors"
                case nil: "0"
                }
            return row("\(capability.rawValue)", name, asked, value, offer == nil ? nil : Evidence.of(capability))
        }
    }

    private static func description(_ argument: CapabilityOffer.Argument) -> String {
        switch argument {
        case .bits(let bits): "bits \(hexadecimal(bits))"
        case .stickyBits(let bits): "bits \(hexadecimal(bits)), which stay on"
        case .oneOf(let values): values.map { "\($0)" }.joined(separator: ", ")
        case .atMost(let limit): "0 to \(limit)"
        case .ringSize(let limit): "powers of two from 4096 to \(limit)"
        case .any: "any"
        }
    }

    // MARK: Requests

    private static var requests: [String] {
        Request.places.map { place in
            let (asked, isOffered): (String, Bool) =
                switch place.basis {
                case .base: ("base", true)
                case .removed: ("removed from Linux", false)
                case .capability(let capability): (short(capability), isOffered(capability))
                }
            return row(
                hexadecimal(UInt64(place.request.rawValue)), String(place.request.name.dropFirst(4)),
                place.handle.rawValue,
                asked, isOffered ? "yes" : "no", isOffered ? Evidence.of(place) : nil)
        }
    }

    // MARK: Words

    private static func isOffered(_ capability: Capability) -> Bool { Capabilities.offer(capability) != nil }

    private static func short(_ capability: Capability) -> String { "`\(capability.name)`" }

    private static func hexadecimal(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

    private static func row(_ cells: String?...) -> String {
        "| " + cells.map { $0 ?? "—" }.joined(separator: " | ") + " |"
    }
}
