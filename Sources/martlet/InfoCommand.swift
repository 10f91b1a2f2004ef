// `martlet info`: what each hypervisor is and offers, side by side, and which one `auto` takes.

internal import ArgumentParser
internal import FoundationEssentials
internal import Glibc
internal import KVM
internal import KVMABI
internal import X86

struct InfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Show both hypervisors side by side, and which one auto takes and why.")

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let report = HypervisorReport()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(report.table(coloured: Colour.isWanted(on: STDOUT_FILENO)))
        }
        guard fflush(nil) == 0 else {
            Diagnostics.error("standard output can't be written: \(unsafe String(cString: strerror(errno)))")
            throw ExitStatus.failed
        }
    }
}

/// What both hypervisors say of themselves.
private struct HypervisorReport: Encodable {
    /// One hypervisor.
    struct Offer: Encodable {
        let available: Bool
        /// Why it is not.
        let reason: String?
        let version: Int?
        /// Capabilities by the macro's name, with what KVM_CHECK_EXTENSION says; those that read 0 are left out.
        let capabilities: [String: Int]
        let cpuidFeatures: [String]

        enum CodingKeys: String, CodingKey {
            case available, reason, version, capabilities
            case cpuidFeatures = "cpuid_features"
        }

        init(_ hypervisor: Hypervisor) {
            do {
                let system = try System(hypervisor)
                var capabilities: [String: Int] = [:]
                for capability in Capability.all {
                    let value = try system.check(capability)
                    if value != 0 { capabilities[capability.name] = value }
                }
                self.init(
                    available: true, reason: nil, version: Int(try system.apiVersion), capabilities: capabilities,
                    cpuidFeatures: Offer.featureNames(try system.supportedCPUID()))
            } catch {
                self.init(available: false, reason: "\(error)", version: nil, capabilities: [:], cpuidFeatures: [])
            }
        }

        private init(
            available: Bool, reason: String?, version: Int?, capabilities: [String: Int], cpuidFeatures: [String]
        ) {
            self.available = available
            self.reason = reason
            self.version = version
            self.capabilities = capabilities
            self.cpuidFeatures = cpuidFeatures
        }

        private static func featureNames(_ leaves: [kvm_cpuid_entry2]) -> [String] {
            CPUIDLeaves.names { leaf, subleaf in
                let entry = leaves.first { $0.function == leaf && ($0.flags & 1 == 0 || $0.index == subleaf) }
                guard let entry else { return CPUIDResult() }
                return CPUIDResult(eax: entry.eax, ebx: entry.ebx, ecx: entry.ecx, edx: entry.edx)
            }.sorted()
        }
    }

    struct ExecutorChoice: Encodable {
        let executor: String
        let reason: String
    }

    struct Choice: Encodable {
        let hypervisor: String
        let reason: String
    }

    let auto: Choice
    /// What the software hypervisor's `auto` executor is.
    let executor: ExecutorChoice
    let kernel: Offer
    let software: Offer

    init() {
        let choice = Hypervisor.automatic.choose()
        auto = Choice(hypervisor: choice.hypervisor.rawValue, reason: choice.reason)
        do throws(KVMError) {
            let taken = try Hypervisor.Executor.automatic.choose()
            executor = ExecutorChoice(executor: taken.executor.rawValue, reason: taken.reason)
        } catch {
            executor = ExecutorChoice(executor: Hypervisor.Executor.interpreter.rawValue, reason: error.description)
        }
        kernel = Offer(.kernel)
        software = Offer(.software)
    }

    /// The report as lines for people.
    func table(coloured: Bool) -> String {
        func strong(_ text: String) -> String { coloured ? "\u{1b}[1m\(text)\u{1b}[0m" : text }
        func row(_ name: String, _ first: String, _ second: String) -> String {
            pad(name, 40) + pad(first, 12) + second
        }
        func state(_ offer: Offer) -> String { offer.available ? "yes" : "no" }
        func version(_ offer: Offer) -> String { offer.version.map(String.init) ?? "-" }

        var lines = ["auto takes \(strong(auto.hypervisor)): \(auto.reason)"]
        lines += ["auto takes \(strong("the " + executor.executor)) in software: \(executor.reason)", ""]
        lines.append(strong(row("", "kernel", "software")))
        lines.append(row("available", state(kernel), state(software)))
        lines.append(row("version", version(kernel), version(software)))
        for (name, offer) in [("kernel", kernel), ("software", software)] {
            if let reason = offer.reason { lines.append("\(name): \(reason)") }
        }
        lines += ["", strong("capabilities")]
        for name in Set(kernel.capabilities.keys).union(software.capabilities.keys).sorted() {
            let values = [kernel, software].map { $0.capabilities[name].map(String.init) ?? "-" }
            lines.append(row(name, values[0], values[1]))
        }
        lines += ["", strong("CPUID features")]
        for name in Set(kernel.cpuidFeatures).union(software.cpuidFeatures).sorted() {
            let values = [kernel, software].map { $0.cpuidFeatures.contains(name) ? "yes" : "-" }
            lines.append(row(name, values[0], values[1]))
        }
        return lines.joined(separator: "\n")
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}
