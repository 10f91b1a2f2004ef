// The interface as a client in C meets it, for this library itself.

internal import Glibc
internal import KVM2006
internal import KVMABI

/// A hypervisor's handles as descriptors, by what is behind the interposed functions. What is asked here is not in the log.
final class DescriptorEndpoint: Endpoint {
    private let hypervisor: Hypervisor

    init(_ hypervisor: Hypervisor) { self.hypervisor = hypervisor }

    func open() throws(Errno) -> Handle { Handle(rawValue: try hypervisor.open(flags: O_RDWR | O_CLOEXEC)) }

    private func find(_ handle: Handle) throws(Errno) -> FoundHandle {
        guard let found = HandleTable.shared.find(handle.rawValue) else { throw .badFileDescriptor }
        return found
    }

    func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        try hypervisor.ioctl(try find(handle), request, argument)
    }

    func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer {
        unsafe try hypervisor.map(
            try find(handle), at: nil, length: length, protection: PROT_READ | PROT_WRITE, flags: MAP_SHARED,
            offset: offset)
    }

    func unmap(_ address: UnsafeMutableRawPointer, length: Int) { unsafe munmap(address, length) }

    func close(_ handle: Handle) {
        _ = HandleTable.shared.forget(handle.rawValue)
        _ = next.close(handle.rawValue)
        hypervisor.descriptorClosed()
    }

    func kick(_ vcpu: Handle) {}
}

extension DescriptorEndpoint: FirstDevice {
    func ioctl(_ handle: Handle, _ request: FirstRequest, _ argument: UInt) throws(Errno) {
        _ = try ioctl(handle, Request(rawValue: UInt(request.rawValue)), argument)
    }

    func map(_ handle: Handle, length: Int) throws(Errno) -> UnsafeMutableRawPointer {
        unsafe try map(handle, length: length, offset: 0)
    }
}
