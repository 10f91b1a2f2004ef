// Reserved words, padding and unknown flags, set one at a time: refused where the kernel refuses them, without a trace, and
// ignored where it ignores them.

import Foundation
import KVM
import KVMABI
import SoftKVM
import TestLimits
import Testing

/// Where a kernel makes something else of a bit, and why.
struct ReservedDifference: Sendable {
    let requests: Set<String>
    /// Names of fields, or `*.name` for that field of every segment.
    let fields: Set<String>
    let reason: String

    func explains(_ request: String, _ field: String) -> Bool {
        let last = field.split(separator: ".").last.map { "*.\($0)" } ?? ""
        return requests.contains(request) && (fields.contains(field) || field.contains(".") && fields.contains(last))
    }

    private static let special: Set<String> = ["KVM_SET_SREGS", "KVM_SET_SREGS2"]

    static let all = [
        ReservedDifference(
            requests: special,
            fields: ["*.type", "*.present", "*.dpl", "*.db", "*.s", "*.l", "*.g", "*.avl", "*.unusable", "*.padding"],
            reason: "a kernel without VMX and SVM keeps whole bytes; with them only what a descriptor has"),
        ReservedDifference(
            requests: special, fields: ["cr0"], reason: "CR0.ET is 1, whatever is written (Intel SDM vol. 3, 2.5)"),
        ReservedDifference(
            requests: special, fields: ["cr4"],
            reason: "before KVM_SET_CPUID2 CR4 has what the processor has, and each processor something else"),
        ReservedDifference(
            requests: special, fields: ["efer"],
            reason: "the kernel keeps bits that no processor has, and the next KVM_RUN fails; here they are not kept"),
        ReservedDifference(
            requests: ["KVM_SET_REGS"], fields: ["rflags"],
            reason: "the kernel keeps bits that no processor has; here they are not kept"),
        ReservedDifference(
            requests: ["KVM_SET_DEBUGREGS"], fields: ["dr6", "dr7"],
            reason: "the kernel keeps fixed bits as they were given; here they are what the guest reads"),
        ReservedDifference(
            requests: ["KVM_SET_VCPU_EVENTS"],
            fields: [
                "exception.nr", "exception.has_error_code", "exception.error_code", "exception_payload", "interrupt.nr",
                "interrupt.shadow",
            ],
            reason: "the kernel keeps what belongs to no event; here it goes with the event"),
        ReservedDifference(
            requests: ["KVM_SET_VCPU_EVENTS"], fields: ["nmi"],
            reason: "an NMI whose delivery has begun is a pending one here"),
        ReservedDifference(
            requests: ["KVM_ENABLE_CAP"], fields: ["args"],
            reason:
                "KVM_CAP_X2APIC_API: later kernels have flags for broadcast ends of interrupts, which are not offered"),
        ReservedDifference(
            requests: ["KVM_SET_USER_MEMORY_REGION"], fields: ["guest_phys_addr"],
            reason: "the highest address is that of the host's page tables with the kernel, 48 bits here"),
        ReservedDifference(
            requests: ["KVM_SET_LAPIC"],
            fields: ["before_id", "*.reserved", "isr[1…7]", "tmr[1…7]", "irr[1…7]"],
            reason: "the kernel keeps whatever lies between the registers; here the page is the registers"),
        ReservedDifference(
            requests: ["KVM_SET_IRQCHIP"], fields: ["pad"], reason: "the kernel keeps it; here there is nowhere to"),
        ReservedDifference(
            requests: ["KVM_SET_XSAVE"], fields: ["mxcsr"],
            reason: "MXCSR.MM is the host's with the kernel, and is not offered here (AMD APM vol. 2, 11.3)"),
        ReservedDifference(
            requests: ["KVM_SET_XSAVE"], fields: ["mxcsr_mask"],
            reason: "the kernel keeps it; here it is always the processor's"),
        ReservedDifference(
            requests: ["KVM_SET_XSAVE"], fields: ["ymmh"],
            reason: "before KVM_SET_CPUID2 the kernel's vCPU has no AVX state"),
        ReservedDifference(
            requests: ["KVM_SET_XSAVE"], fields: ["xstate_bv"],
            reason: "the kernel takes components of the host that no guest has; here they are refused"),
        ReservedDifference(
            requests: ["KVM_SET_LAPIC"], fields: ["isr[0]"],
            reason: "the kernel's PPR heeds the new ISR from the next interrupt on, here at once"),
    ]
}

@Suite(.within(minutes: 20)) struct ReservedTests {
    /// docs/reserved.md says what the software hypervisor does. MARTLET_RESERVED_REPORT=FILE writes it anew.
    @Test func theDocumentSaysWhatIsDone() throws {
        let text = try ReservedReport.text { SoftwareEndpoint() }
        if let path = ProcessInfo.processInfo.environment["MARTLET_RESERVED_REPORT"] {
            try text.write(toFile: path, atomically: true, encoding: .utf8)
        }
        let document = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../docs/reserved.md").standardized
        let written = (try? String(contentsOf: document, encoding: .utf8)) ?? ""
        for (line, should) in zip(written.split(separator: "\n"), text.split(separator: "\n")) where line != should {
            Issue.record("docs/reserved.md says “\(line)”, not “\(should)”: make reserved writes it anew")
        }
        #expect(written == text)
    }

    @Test(
        .enabled(if: hypervisors.contains(.kernel), "/dev/kvm can't be opened"), arguments: ReservedTrial.all)
    func theKernelDoesTheSame(_ trial: ReservedTrial) throws {
        let here = try trial.outcomes { SoftwareEndpoint() }
        let there = try trial.outcomes { try KernelEndpoint() }
        for (mine, theirs) in zip(here, there) where mine.bits != theirs.bits {
            if ReservedDifference.all.contains(where: { $0.explains(trial.request.name, mine.field) }) { continue }
            Issue.record("\(trial.name) \(mine.field): kernel \(summary(theirs.bits)); here \(summary(mine.bits))")
        }
    }
}

/// docs/reserved.md.
enum ReservedReport {
    static func text(_ makeEndpoint: () throws -> any Endpoint) throws -> String {
        var lines = [
            "# Reserved words", "",
            "What the software hypervisor makes of each bit of the structures that a client hands over, set or cleared by",
            "itself in one that is right. Written by `make reserved` from what it does; a test compares it with /dev/kvm.",
            "*Kept* and *ignored* are what the request that reads the state says; what is refused has changed nothing.",
            "Fields that may hold anything are left out, as are addresses and descriptors.",
        ]
        for trial in ReservedTrial.all {
            lines += ["", "## \(trial.name)", "", "| Field | Bits |", "|---|---|"]
            var rows: [(last: String, fields: [String], text: String)] = []
            for (field, bits) in try trial.outcomes(on: makeEndpoint) {
                let last = field.split(separator: ".").last.map(String.init) ?? field
                let text = summary(bits)
                if let index = rows.firstIndex(where: { $0.last == last && $0.text == text }) {
                    rows[index].fields.append(field)
                } else {
                    rows.append((last, [field], text))
                }
            }
            lines += rows.map { "| \($0.fields.map { "`\($0)`" }.joined(separator: ", ")) | \($0.text) |" }
        }
        lines += ["", "## Where a kernel differs", "", "| Request | Fields | Why |", "|---|---|---|"]
        for difference in ReservedDifference.all {
            let requests = difference.requests.sorted().joined(separator: ", ")
            let fields = difference.fields.sorted().map { "`\($0)`" }.joined(separator: ", ")
            lines.append("| \(requests) | \(fields) | \(difference.reason) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
