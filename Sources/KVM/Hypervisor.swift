// Which hypervisor runs the guest: the kernel's, the embedded software one, or whichever suits this machine.

public import KVMABI
internal import Glibc
internal import Processor
internal import SoftKVM

/// A choice of hypervisor.
public struct Hypervisor: Hashable, Sendable {
    private enum Kind: String, CaseIterable {
        case automatic = "auto"
        case kernel, software
    }

    private let kind: Kind
    /// What executes guest code where the software hypervisor is taken.
    public var executor = Executor.automatic

    private init(_ kind: Kind) { self.kind = kind }

    /// The kernel's where `/dev/kvm` opens and the processor has VMX or SVM behind it, the software hypervisor otherwise, or where
    /// an executor is asked for by name.
    public static let automatic = Hypervisor(.automatic)
    /// `/dev/kvm`.
    public static let kernel = Hypervisor(.kernel)
    /// The one inside this library: needs no device, no privilege and no hardware support.
    public static let software = Hypervisor(.software)

    /// The software hypervisor, with an executor of choice.
    public static func software(executor: Executor) -> Hypervisor {
        var software = Hypervisor.software
        software.executor = executor
        return software
    }

    /// What `automatic` comes to, and why.
    public struct Choice: Hashable, Sendable {
        /// `.kernel` or `.software`, this with the executor that was asked for.
        public let hypervisor: Hypervisor
        /// One clause that says why.
        public let reason: String
    }

    /// Decides among the hypervisors for this machine.
    public func choose() -> Choice {
        guard kind == .automatic else { return Choice(hypervisor: self, reason: "it was asked for") }
        let software = Hypervisor.software(executor: executor)
        guard executor == .automatic else {
            return Choice(hypervisor: software, reason: "the \(executor.rawValue) was asked for")
        }
        do throws(Errno) {
            let kernel = try KernelEndpoint()
            kernel.close(try kernel.open())
        } catch {
            let why = error == .noSuchFile ? "there is no /dev/kvm" : "/dev/kvm can't be opened (\(error.name))"
            return Choice(hypervisor: software, reason: why)
        }
        guard let feature = Hypervisor.hardwareVirtualisation() else {
            return Choice(
                hypervisor: software, reason: "/dev/kvm opens, but the processor has neither VMX nor SVM behind it")
        }
        return Choice(hypervisor: .kernel, reason: "/dev/kvm opens and the processor has \(feature)")
    }

    /// A new endpoint of this hypervisor; `automatic` chooses first.
    public func makeEndpoint() throws(KVMError) -> any Endpoint {
        let chosen = choose().hypervisor
        switch chosen.kind {
        case .kernel:
            do throws(Errno) { return try KernelEndpoint() } catch { throw .notOpened(.kernel, error) }
        case .software, .automatic:
            do throws(ExecutorUnavailable) {
                return try SoftwareEndpoint(executor: ExecutorOptions(chosen.executor.processors))
            } catch {
                throw .noExecutor(error.description)
            }
        }
    }

    /// `VMX` or `SVM` if the kernel lists it among the first processor's CPUID features.
    static func hardwareVirtualisation() -> String? {
        let descriptor = unsafe open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16384)
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return nil }
        let text = String(decoding: bytes[..<count], as: UTF8.self)
        guard let flags = text.split(separator: "\n").first(where: { $0.hasPrefix("flags") }) else { return nil }
        let words = flags.split(separator: " ")
        return words.contains("vmx") ? "VMX" : words.contains("svm") ? "SVM" : nil
    }
}

/// By name: `auto`, `kernel`, `software`; an executor is none of it.
extension Hypervisor: RawRepresentable, CaseIterable {
    public init?(rawValue: String) {
        guard let kind = Kind(rawValue: rawValue) else { return nil }
        self.init(kind)
    }

    public var rawValue: String { kind.rawValue }

    public static var allCases: [Hypervisor] { Kind.allCases.map(Hypervisor.init) }

    public static func == (one: Hypervisor, other: Hypervisor) -> Bool {
        one.kind == other.kind && one.executor == other.executor
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(kind)
        hasher.combine(executor)
    }
}

extension Hypervisor: CustomStringConvertible {
    public var description: String { rawValue }
}
