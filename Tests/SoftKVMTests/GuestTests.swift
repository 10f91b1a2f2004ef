// Every guest in the folder `Guests`, on every hypervisor that is present, by one test.

import Foundation
import KVM
import TestLimits
import Testing

/// The hypervisors that open here. Where there is no `/dev/kvm`, the kernel's is left out.
let hypervisors: [Hypervisor] = [Hypervisor.kernel, .software].filter { (try? System($0)) != nil }

/// Leaves a case out on the kernel's hypervisor, by name and with the reason.
func skip(_ name: String, _ reason: String) throws {
    print("skipped on /dev/kvm: \(name): \(reason)")
    try Test.cancel("\(name): \(reason)")
}

@Suite(.within(minutes: 20)) struct GuestTests {
    static let names: [String] = {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: Assembler.folder.path)) ?? []
        return files.filter { $0.hasSuffix(".nasm") }.map { String($0.dropLast(5)) }.sorted()
    }()

    // Skipped where nasm is not installed. A case that this machine's /dev/kvm can't emulate is cancelled, with the
    // instruction that stopped it; on the software hypervisor none is.
    @Test(.enabled(if: Assembler.isAvailable, "nasm is not installed"), arguments: GuestTests.names, hypervisors)
    func guestFollowsItsScript(_ name: String, _ hypervisor: Hypervisor) throws {
        let file = Assembler.folder.appendingPathComponent(name + ".nasm")
        let script = try GuestScript(name: name, source: try String(contentsOf: file, encoding: .utf8))
        if hypervisor == .kernel, let reason = script.notKernel { try skip(name, reason) }
        do {
            for (register, value, wanted) in try script.run(on: hypervisor) {
                #expect(value == wanted, "\(name): \(register)")
            }
        } catch let error as EmulatorGaveUp {
            try skip(name, error.reason)
        } catch let error as Assembler.Failure {
            Issue.record("\(name): \(error.messages)")
        }
    }

    @Test func thereAreGuests() { #expect(GuestTests.names.count > 10) }
}
