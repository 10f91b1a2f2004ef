// Which hypervisor runs the guest: the kernel's, the embedded software one, or whichever suits this machine.

public import KVMABI
internal import Glibc
internal import SoftKVM

/// A choice of hypervisor.
public enum Hypervisor: String, Hashable, Sendable, CaseIterable {
    /// The kernel's where `/dev/kvm` opens and the processor has VMX or SVM behind it, the software hypervisor otherwise.
    case automatic = "auto"
    /// `/dev/kvm`.
    case kernel
    /// The one inside this library: needs no device, no privilege and no hardware support.
    case software

    /// What `automatic` comes to, and why.
    public struct Choice: Hashable, Sendable {
        /// `.kernel` or `.software`.
        public let hypervisor: Hypervisor
        /// One clause that says why.
        public let reason: String
    }

    /// Decides among the hypervisors for this machine.
    public func choose() -> Choice {
        guard self == .automatic else { return Choice(hypervisor: self, reason: "it was asked for") }
        do throws(Errno) {
            let kernel = try KernelEndpoint()
            kernel.close(try kernel.open())
        } catch {
            let why = error == .noSuchFile ? "there is no /dev/kvm" : "/dev/kvm can't be opened (\(error.name))"
            return Choice(hypervisor: .software, reason: why)
        }
        guard let feature = Hypervisor.hardwareVirtualisation() else {
            return Choice(
                hypervisor: .software, reason: "/dev/kvm opens, but the processor has neither VMX nor SVM behind it")
        }
        return Choice(hypervisor: .kernel, reason: "/dev/kvm opens and the processor has \(feature)")
    }

    /// A new endpoint of this hypervisor; `automatic` chooses first.
    public func makeEndpoint() throws(KVMError) -> any Endpoint {
        switch choose().hypervisor {
        case .kernel:
            do throws(Errno) { return try KernelEndpoint() } catch { throw .notOpened(.kernel, error) }
        case .software, .automatic:
            return SoftwareEndpoint()
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

extension Hypervisor: CustomStringConvertible {
    public var description: String { rawValue }
}
