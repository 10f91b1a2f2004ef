// One handle at one endpoint, with the ways in which KVM's ioctls take their arguments. The one funnel through which
// this module's ioctls go.

internal import KVMABI

/// An open handle; closed when the last owner lets go.
final class Connection: Sendable {
    let endpoint: any Endpoint
    let handle: Handle

    init(_ endpoint: any Endpoint, _ handle: Handle) {
        self.endpoint = endpoint
        self.handle = handle
    }

    deinit { endpoint.close(handle) }

    /// An ioctl whose argument is a value, or an address that the caller keeps valid.
    @discardableResult
    func call(_ request: Request, _ argument: UInt = 0) throws(KVMError) -> Int32 {
        do {
            return try endpoint.ioctl(handle, request, argument)
        } catch {
            throw .failed(request, error)
        }
    }

    /// An ioctl that reads a structure and may write it.
    @discardableResult
    func exchange<T>(_ request: Request, _ value: inout T) throws(KVMError) -> Int32 {
        try unsafe withUnsafeMutablePointer(to: &value) { (pointer) throws(KVMError) in
            try call(request, UInt(bitPattern: pointer))
        }
    }

    /// An ioctl that fills in a structure.
    func get<T>(_ request: Request, _ initial: T) throws(KVMError) -> T {
        var value = initial
        try exchange(request, &value)
        return value
    }

    /// An ioctl that takes a structure.
    @discardableResult
    func set<T>(_ request: Request, _ value: T) throws(KVMError) -> Int32 {
        var copy = value
        return try exchange(request, &copy)
    }

    /// A list whose length only the hypervisor knows: grown until E2BIG (or ENOMEM, as KVM_GET_CPUID2 had it once) ends.
    func list<Entry>(
        _ request: Request, _ shape: VariableLengthBuffer<Entry>.Shape, capacity: Int
    ) throws(KVMError) -> [Entry] {
        var room = capacity
        while true {
            let buffer = VariableLengthBuffer<Entry>(shape, capacity: room)
            do throws(KVMError) {
                try call(request, buffer.address)
                return buffer.entries
            } catch {
                guard case .failed(_, .argumentListTooLong) = error, room < 1 << 16 else { throw error }
                room = max(room * 2, min(buffer.statedCount, 1 << 16))
            }
        }
    }

    /// `KVM_CHECK_EXTENSION`.
    func check(_ capability: Capability) throws(KVMError) -> Int {
        Int(try call(.checkExtension, UInt(capability.rawValue)))
    }
}
