// Memory of the client as its ioctls name it: by addresses that may be anything. Each argument is copied once.

internal import Glibc

/// A place in the client's memory, as a hypervisor in the client's own process meets it. Reading and writing it fails with
/// EFAULT where there is none, and never crashes: the kernel does the copy (`process_vm_readv` on ourselves).
public struct ClientArgument: Sendable {
    public let address: UInt

    @inlinable public init(_ address: UInt) { self.address = address }
    @inlinable public init(_ address: UInt64) { self.address = UInt(address) }

    @inlinable public func advanced(by bytes: Int) -> ClientArgument {
        ClientArgument(address &+ UInt(bitPattern: bytes))
    }

    /// A plain value.
    @inlinable public func load<T: BitwiseCopyable>(_ type: T.Type = T.self) throws(Errno) -> T {
        let size = MemoryLayout<T>.size
        let value: T? = unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: MemoryLayout<T>.alignment) {
            buffer in
            guard let base = buffer.baseAddress, unsafe copyIn(base, size) else { return nil }
            return unsafe base.loadUnaligned(as: T.self)
        }
        guard let value else { throw .badAddress }
        return value
    }

    @inlinable public func store<T: BitwiseCopyable>(_ value: T) throws(Errno) {
        let done = unsafe withUnsafeBytes(of: value) { unsafe copyOut($0) }
        guard done else { throw .badAddress }
    }

    /// `count` bytes, at most what the caller has checked.
    public func loadBytes(_ count: Int) throws(Errno) -> [UInt8] {
        guard count > 0 else { return [] }
        var done = false
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let base = buffer.baseAddress, unsafe copyIn(UnsafeMutableRawPointer(base), count) {
                done = true
                initialized = count
            }
        }
        guard done else { throw .badAddress }
        return bytes
    }

    public func storeBytes(_ bytes: [UInt8]) throws(Errno) {
        let done = unsafe bytes.withUnsafeBytes { unsafe copyOut($0) }
        guard done else { throw .badAddress }
    }

    /// `count` plain values in a row.
    @inlinable public func loadArray<T: BitwiseCopyable>(_ count: Int, as type: T.Type = T.self) throws(Errno) -> [T] {
        guard count > 0 else { return [] }
        var done = false
        let values = unsafe [T](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let base = buffer.baseAddress,
                unsafe copyIn(UnsafeMutableRawPointer(base), count * MemoryLayout<T>.stride)
            {
                done = true
                initialized = count
            }
        }
        guard done else { throw .badAddress }
        return values
    }

    @inlinable public func storeArray<T: BitwiseCopyable>(_ values: [T]) throws(Errno) {
        let done = unsafe values.withUnsafeBytes { unsafe copyOut($0) }
        guard done else { throw .badAddress }
    }

    // SAFETY (both): the local side is a buffer of at least `count` bytes; the client's side is the kernel's to check.
    @usableFromInline func copyIn(_ target: UnsafeMutableRawPointer, _ count: Int) -> Bool {
        if count == 0 { return true }
        var local = unsafe iovec(iov_base: target, iov_len: count)
        var remote = unsafe iovec(iov_base: UnsafeMutableRawPointer(bitPattern: address), iov_len: count)
        return unsafe process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == count
    }

    @usableFromInline func copyOut(_ source: UnsafeRawBufferPointer) -> Bool {
        if unsafe source.isEmpty { return true }
        var local = unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: source.baseAddress), iov_len: source.count)
        var remote = unsafe iovec(iov_base: UnsafeMutableRawPointer(bitPattern: address), iov_len: source.count)
        return unsafe process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == source.count
    }
}

/// A structure of the interface as its bytes, for those whose imported form is unhandy (arrays as tuples).
public struct Record: Sendable {
    public private(set) var bytes: [UInt8]

    public init(count: Int) { bytes = [UInt8](repeating: 0, count: count) }
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The value at an offset; zero where it would lie outside.
    public func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: T.Type = T.self) -> T {
        guard offset >= 0, offset + MemoryLayout<T>.size <= bytes.count else { return 0 }
        return unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: offset, as: T.self) }
    }

    public mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, _ offset: Int) {
        guard offset >= 0, offset + MemoryLayout<T>.size <= bytes.count else { return }
        unsafe bytes.withUnsafeMutableBytes { unsafe $0.storeBytes(of: value, toByteOffset: offset, as: T.self) }
    }
}
