// A client of the raw interface, as the tests of the endpoint need one.

import Glibc
import KVMABI
import SoftKVM

/// One VM on an endpoint of its own, closed with this object.
final class EndpointClient {
    let endpoint = SoftwareEndpoint()
    let system: Handle
    let machine: Handle

    init() throws {
        system = try endpoint.open()
        machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
    }

    deinit {
        endpoint.close(machine)
        endpoint.close(system)
    }

    func makeVCPU(_ id: UInt = 0) throws -> Handle {
        Handle(rawValue: try endpoint.ioctl(machine, .createVCPU, id))
    }

    /// An ioctl that takes a structure, which may be changed.
    @discardableResult
    func call<T>(_ handle: Handle, _ request: Request, _ value: inout T) throws -> Int32 {
        try unsafe withUnsafeMutablePointer(to: &value) { pointer in
            try endpoint.ioctl(handle, request, UInt(bitPattern: pointer))
        }
    }

    @discardableResult
    func set<T>(_ handle: Handle, _ request: Request, _ value: T) throws -> Int32 {
        var value = value
        return try call(handle, request, &value)
    }

    func get<T>(_ handle: Handle, _ request: Request, _ zero: T) throws -> T {
        var value = zero
        try call(handle, request, &value)
        return value
    }

    /// A structure as bytes.
    func getBytes(_ handle: Handle, _ request: Request, _ count: Int, _ fill: (inout [UInt8]) -> Void = { _ in }) throws
        -> [UInt8]
    {
        var bytes = [UInt8](repeating: 0, count: count)
        fill(&bytes)
        try unsafe bytes.withUnsafeMutableBytes { buffer in
            _ = try endpoint.ioctl(handle, request, UInt(bitPattern: buffer.baseAddress))
        }
        return bytes
    }

    @discardableResult
    func setBytes(_ handle: Handle, _ request: Request, _ bytes: [UInt8]) throws -> Int32 {
        var bytes = bytes
        return try unsafe bytes.withUnsafeMutableBytes { buffer in
            try endpoint.ioctl(handle, request, UInt(bitPattern: buffer.baseAddress))
        }
    }

    /// What an ioctl failed with; nil where it did not.
    func failure(_ body: () throws -> Void) -> Errno? {
        do { try body() } catch { return error as? Errno }
        return nil
    }

    func enable(_ handle: Handle, _ capability: Capability, _ value: UInt64) throws {
        var cap = kvm_enable_cap()
        cap.cap = capability.rawValue
        cap.args.0 = value
        try set(handle, .enableCap, cap)
    }

    func setSlot(_ slot: UInt32, flags: UInt32 = 0, at address: UInt64, size: UInt64, from user: UInt64) throws {
        var region = kvm_userspace_memory_region()
        region.slot = slot
        region.flags = flags
        region.guest_phys_addr = address
        region.memory_size = size
        region.userspace_addr = user
        try set(machine, .setUserMemoryRegion, region)
    }
}

/// Anonymous pages of the test's own.
final class Pages {
    let address: UInt64
    private let size: Int

    init(_ count: Int) {
        size = count * 4096
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        address = UInt64(UInt(bitPattern: unsafe mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0)))
    }

    deinit { unsafe munmap(UnsafeMutableRawPointer(bitPattern: UInt(address)), size) }

    subscript(offset: Int) -> UInt8 {
        get { unsafe UnsafePointer<UInt8>(bitPattern: UInt(address) + UInt(offset))!.pointee }
        set { unsafe UnsafeMutablePointer<UInt8>(bitPattern: UInt(address) + UInt(offset))!.pointee = newValue }
    }

    func write(_ bytes: [UInt8], at offset: Int) {
        for (index, byte) in bytes.enumerated() { self[offset + index] = byte }
    }
}

/// How many descriptors this process has open, or of them those of one file. The former only says something in a process that
/// runs one test: others open some meanwhile.
func openDescriptors(of file: stat? = nil) -> Int {
    guard let directory = unsafe opendir("/proc/self/fd") else { return -1 }
    defer { unsafe closedir(directory) }
    var count = 0
    while let entry = unsafe readdir(directory) {
        guard let file else {
            count += 1
            continue
        }
        var other = stat()
        let found = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { name in
            unsafe fstatat(dirfd(directory), name.baseAddress!.assumingMemoryBound(to: CChar.self), &other, 0)
        }
        if found == 0, (other.st_dev, other.st_ino) == (file.st_dev, file.st_ino) { count += 1 }
    }
    return count
}
