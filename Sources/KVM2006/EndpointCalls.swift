// How this module calls the endpoint behind it.

internal import KVMABI

extension Endpoint {
    /// An ioctl that reads a structure and may write it.
    @discardableResult
    func exchange<T: BitwiseCopyable>(_ handle: Handle, _ request: Request, _ value: inout T) throws(Errno) -> Int32 {
        try unsafe withUnsafeMutablePointer(to: &value) { (pointer) throws(Errno) in
            try ioctl(handle, request, UInt(bitPattern: pointer))
        }
    }

    /// An ioctl that fills in a structure.
    func get<T: BitwiseCopyable>(_ handle: Handle, _ request: Request, _ initial: T) throws(Errno) -> T {
        var value = initial
        try exchange(handle, request, &value)
        return value
    }

    /// An ioctl that takes a structure.
    func set<T: BitwiseCopyable>(_ handle: Handle, _ request: Request, _ value: T) throws(Errno) {
        var copy = value
        try exchange(handle, request, &copy)
    }

    /// An ioctl on a structure as its bytes.
    func exchange(_ handle: Handle, _ request: Request, _ record: inout Record) throws(Errno) {
        var bytes = record.bytes
        try bytes.withAddress { (address) throws(Errno) in _ = try ioctl(handle, request, address) }
        record = Record(bytes)
    }
}

extension Array where Element: BitwiseCopyable {
    /// The address of the elements, for the time of the call.
    mutating func withAddress(_ body: (UInt) throws(Errno) -> Void) throws(Errno) {
        let failure: Errno? = unsafe withUnsafeMutableBytes { buffer in
            do throws(Errno) {
                try body(UInt(bitPattern: buffer.baseAddress))
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }
}
