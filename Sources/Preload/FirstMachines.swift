// The interface of October 2006 behind /dev/kvm: each open of it is a machine.

internal import KVM2006
internal import KVMABI
internal import Locking
internal import SoftKVM

/// Machines by the numbers of their handles.
final class FirstMachines: Sendable {
    private struct Machines {
        var last: Int32 = 0
        var present: [Int32: FirstInterface] = [:]
    }

    private let machines = Lock(Machines())

    func insert(_ machine: FirstInterface) -> Handle {
        machines.withLock { machines in
            machines.last &+= 1
            machines.present[machines.last] = machine
            return Handle(rawValue: machines.last)
        }
    }

    subscript(handle: Handle) -> FirstInterface? { machines.withLock { $0.present[handle.rawValue] } }

    func remove(_ handle: Handle) {
        // Let go of outside the lock.
        let machine = machines.withLock { $0.present.removeValue(forKey: handle.rawValue) }
        _ = machine
    }
}

/// The software hypervisor, whose runs end by the signals of the thread that they are on.
final class SignallingEndpoint: InterceptingEndpoint {
    private let endpoint: SoftwareEndpoint

    init(_ endpoint: SoftwareEndpoint) { self.endpoint = endpoint }

    func open() throws(Errno) -> Handle { try endpoint.open() }

    func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        guard request == .run else { return try endpoint.ioctl(handle, request, argument) }
        return try ThreadSignals.duringRun(nil) { (window) throws(Errno) in
            try endpoint.ioctl(handle, request, argument, window: window)
        }
    }

    func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer {
        unsafe try endpoint.map(handle, length: length, offset: offset)
    }

    func unmap(_ address: UnsafeMutableRawPointer, length: Int) { unsafe endpoint.unmap(address, length: length) }
    func close(_ handle: Handle) { endpoint.close(handle) }
    func kick(_ vcpu: Handle) { endpoint.kick(vcpu) }

    func intercept(_ instructions: InstructionIntercepts, on vcpu: Handle) throws(Errno) {
        try endpoint.intercept(instructions, on: vcpu)
    }

    func abandonInstruction(of vcpu: Handle) throws(Errno) { try endpoint.abandonInstruction(of: vcpu) }
}
