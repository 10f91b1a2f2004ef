// A VM with one vCPU, as the raw interface shows them on either hypervisor.

import KVM
import KVMABI
import SoftKVM

final class RawMachine {
    private let endpoint: any Endpoint
    private var handles: [HandleKind: Handle] = [:]
    /// What else requests have made.
    private var others: [Handle] = []
    private static let makers: Set<Request> = [.createVM, .createVCPU, .getStatsFD, .createGuestMemfd]

    /// - Parameter prepare: what has to be done before there is a vCPU; its answers are left alone.
    init(_ hypervisor: Hypervisor, hasVCPU: Bool = true, prepare: (RawMachine) -> Void = { _ in }) throws {
        endpoint = hypervisor == .kernel ? try KernelEndpoint() : SoftwareEndpoint()
        let system = try endpoint.open()
        handles[.system] = system
        handles[.machine] = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
        prepare(self)
        if hasVCPU { handles[.vcpu] = Handle(rawValue: try endpoint.ioctl(handles[.machine]!, .createVCPU, 0)) }
    }

    deinit {
        for handle in others { endpoint.close(handle) }
        for kind in [HandleKind.vcpu, .machine, .system] {
            if let handle = handles[kind] { endpoint.close(handle) }
        }
    }

    /// What an ioctl answers: a value, or the errno.
    enum Answer: Hashable, CustomStringConvertible {
        case value(Int32)
        case error(Errno)

        var description: String {
            switch self {
            case .value(let value): "\(value)"
            case .error(let errno): errno.name
            }
        }
    }

    func answer(_ kind: HandleKind, _ request: Request, _ argument: UInt = 0) -> Answer {
        guard let handle = handles[kind] else { return .error(.badFileDescriptor) }
        do throws(Errno) {
            let value = try endpoint.ioctl(handle, request, argument)
            if Self.makers.contains(request) { others.append(Handle(rawValue: value)) }
            return .value(value)
        } catch {
            return .error(error)
        }
    }

    func answer<T: BitwiseCopyable>(_ kind: HandleKind, _ request: Request, with structure: inout T) -> Answer {
        unsafe withUnsafeMutablePointer(to: &structure) { answer(kind, request, UInt(bitPattern: $0)) }
    }

    func check(_ capability: Capability, on kind: HandleKind = .machine) -> Int32 {
        guard case .value(let value) = answer(kind, .checkExtension, UInt(capability.rawValue)) else { return 0 }
        return value
    }

    func enable(_ capability: Capability, _ argument: UInt64 = 0, flags: UInt32 = 0, on kind: HandleKind = .machine)
        -> Answer
    {
        var setting = kvm_enable_cap()
        setting.cap = capability.rawValue
        setting.flags = flags
        setting.args.0 = argument
        return answer(kind, .enableCap, with: &setting)
    }
}

extension RawMachine.Answer {
    static let refused = RawMachine.Answer.error(.invalidArgument)
    static let done = RawMachine.Answer.value(0)

    /// How a handle answers what it has never heard of.
    static func unknown(to kind: HandleKind) -> RawMachine.Answer {
        .error(kind == .machine ? .inappropriateRequest : .invalidArgument)
    }
}
