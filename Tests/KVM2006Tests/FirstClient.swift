// A client as there was one in October 2006: it opens one descriptor, maps guest memory through it, carries out port accesses
// itself and counts on what docs/history.md says. It knows the structures as bytes only, from its own table.

import Glibc
import KVM2006
import KVMABI
import SoftKVM
import Testing

/// The endpoints that are here.
enum Host: String, CaseIterable, Sendable {
    case software, kernel

    static let present: [Host] = allCases.filter { (try? FirstInterface($0.makeEndpoint())) != nil }

    func makeEndpoint() throws -> any Endpoint {
        switch self {
        case .software: SoftwareEndpoint()
        case .kernel: try KernelEndpoint()
        }
    }
}

/// `struct kvm_run` of October 2006.
struct FirstRun: Equatable {
    var bytes = [UInt8](repeating: 0, count: 48)

    init(vcpu: UInt32 = 0) { self[0] = vcpu }

    subscript<T: FixedWidthInteger>(offset: Int) -> T {
        get { (0..<T.bitWidth / 8).reduce(0) { $0 | T(truncatingIfNeeded: bytes[offset + $1]) << T(8 * $1) } }
        set {
            for index in 0..<T.bitWidth / 8 {
                bytes[offset + index] = UInt8(truncatingIfNeeded: newValue >> T(8 * index))
            }
        }
    }

    var emulated: UInt32 {
        get { self[4] }
        set { self[4] = newValue }
    }
    var mmioCompleted: UInt32 {
        get { self[8] }
        set { self[8] = newValue }
    }
    var exitType: UInt32 { self[12] }
    var reason: UInt32 { self[16] }
    var instructionLength: UInt32 { self[20] }

    struct Port: Equatable {
        var isOut = false
        var size: UInt8 = 1
        var isString = false
        var isDown = false
        var isRepeated = false
        var port: UInt16
        var count: UInt64 = 1
        var addressOrValue: UInt64 = 0
    }

    var port: Port {
        Port(
            isOut: bytes[24] != 0, size: bytes[25], isString: bytes[26] != 0, isDown: bytes[27] != 0,
            isRepeated: bytes[28] != 0, port: self[30], count: self[32], addressOrValue: self[40])
    }

    struct MMIO: Equatable {
        var address: UInt64
        var data: UInt64
        var length: UInt32
        var isWrite: Bool
    }

    var mmio: MMIO { MMIO(address: self[24], data: self[32], length: self[40], isWrite: bytes[44] != 0) }
}

/// One machine: 640 KiB at 0 in slot 3 and 1 MiB at 1 MiB in slot 0, mapped as one piece.
@safe final class FirstClient: @unchecked Sendable {
    static let code: UInt64 = 0x1000
    static let mappedSize = 0x20_0000

    let interface: FirstInterface
    // SAFETY: `mappedSize` bytes, mapped from init to deinit; tests stay inside the regions.
    let memory: UnsafeMutableRawPointer

    init(_ endpoint: any Endpoint) throws {
        interface = try FirstInterface(endpoint)
        let (size, none) = (FirstClient.mappedSize, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
        let reserved = unsafe mmap(nil, size, PROT_NONE, none, -1, 0)
        guard let reserved = unsafe reserved, unsafe reserved != MAP_FAILED else { throw Errno.outOfMemory }
        unsafe memory = reserved
        try setRegion(slot: 3, at: 0, size: 0xA0000)
        try setRegion(slot: 0, at: 0x10_0000, size: 0x10_0000)
        try map()
    }

    /// A vCPU 0 in real mode, all segments 0, about to execute `code`.
    convenience init(_ host: Host, _ code: [UInt8], vcpus: UInt32 = 1) throws {
        try self.init(try host.makeEndpoint())
        write(code, at: FirstClient.code)
        for number in 0..<vcpus {
            try ioctl(.createVCPU, UInt(number))
            try enterRealMode(number, at: FirstClient.code)
        }
    }

    deinit { unsafe munmap(memory, FirstClient.mappedSize) }

    /// What the client's `mmap` of the descriptor came to.
    func map() throws {
        var place = 0
        for piece in try interface.place(offset: 0, length: FirstClient.mappedSize) {
            let wanted = unsafe memory + place
            let flags = MAP_SHARED | MAP_FIXED
            let got = unsafe mmap(
                wanted, piece.length, PROT_READ | PROT_WRITE, flags, piece.descriptor, piece.offset)
            #expect(unsafe got == wanted)
            place += piece.length
        }
        #expect(place == FirstClient.mappedSize)
    }

    // MARK: ioctl

    @discardableResult
    func ioctl(_ request: FirstRequest, _ argument: UInt) throws -> Int32 {
        try interface.ioctl(request: request.rawValue, argument: argument)
    }

    @discardableResult
    func ioctl(_ request: FirstRequest, _ bytes: inout [UInt8]) throws -> Int32 {
        try unsafe bytes.withUnsafeMutableBytes { try ioctl(request, UInt(bitPattern: $0.baseAddress)) }
    }

    /// What an ioctl failed with; nil where it did not.
    func failure(_ body: () throws -> Void) -> Errno? {
        do { try body() } catch { return error as? Errno }
        return nil
    }

    func setRegion(slot: UInt32, at address: UInt64, size: UInt64, flags: UInt32 = 0) throws {
        var bytes = FirstClient.bytes(slot) + FirstClient.bytes(flags) + FirstClient.bytes(address)
        bytes += FirstClient.bytes(size)
        try ioctl(.setMemoryRegion, &bytes)
    }

    func interrupt(_ vector: UInt32, vcpu: UInt32 = 0) throws {
        var bytes = FirstClient.bytes(vcpu) + FirstClient.bytes(vector)
        try ioctl(.interrupt, &bytes)
    }

    func debug(enabled: Bool = true, _ breakpoints: [UInt64] = [], step: Bool = false) throws {
        var bytes = FirstClient.bytes(UInt32(0)) + FirstClient.bytes(UInt32(enabled ? 1 : 0))
        for index in 0..<4 {
            let isThere = index < breakpoints.count
            bytes += FirstClient.bytes(UInt64(isThere ? 1 : 0))
            bytes += FirstClient.bytes(isThere ? breakpoints[index] : 0)
        }
        bytes += FirstClient.bytes(UInt64(step ? 1 : 0))
        try ioctl(.debugGuest, &bytes)
    }

    struct Translation: Equatable {
        var address: UInt64
        var valid: UInt8
    }

    func translate(_ linear: UInt64, vcpu: UInt32 = 0) throws -> Translation {
        var bytes = FirstClient.bytes(linear) + FirstClient.bytes(UInt64(vcpu)) + [UInt8](repeating: 0xEE, count: 16)
        try ioctl(.translate, &bytes)
        return Translation(address: FirstClient.number(bytes, 16), valid: bytes[24])
    }

    func dirtyLog(slot: UInt32, byteCount: Int) throws -> [UInt8] {
        // One byte more, which must stay.
        var bitmap = [UInt8](repeating: 0xA5, count: byteCount + 1)
        try unsafe bitmap.withUnsafeMutableBytes { buffer in
            var bytes =
                FirstClient.bytes(UInt64(slot)) + FirstClient.bytes(UInt64(UInt(bitPattern: buffer.baseAddress)))
            try ioctl(.getDirtyLog, &bytes)
        }
        #expect(bitmap.removeLast() == 0xA5)
        return bitmap
    }

    // MARK: Registers. Their names stand for their places in the structure.

    enum Register: Int {
        case rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp
        case rip = 16
        case rflags
    }

    func registers(_ vcpu: UInt32 = 0) throws -> [UInt64] {
        var bytes = FirstClient.bytes(UInt64(vcpu)) + [UInt8](repeating: 0, count: 144)
        try ioctl(.getRegisters, &bytes)
        return (0..<18).map { FirstClient.number(bytes, 8 + 8 * $0) }
    }

    func setRegisters(_ values: [UInt64], _ vcpu: UInt32 = 0) throws {
        var bytes = FirstClient.bytes(UInt64(vcpu)) + values.flatMap { FirstClient.bytes($0) }
        try ioctl(.setRegisters, &bytes)
    }

    func register(_ register: Register, vcpu: UInt32 = 0) throws -> UInt64 { try registers(vcpu)[register.rawValue] }

    func set(_ changes: [Register: UInt64], vcpu: UInt32 = 0) throws {
        var values = try registers(vcpu)
        for (register, value) in changes { values[register.rawValue] = value }
        try setRegisters(values, vcpu)
    }

    func specialRegisters(_ vcpu: UInt32 = 0) throws -> [UInt8] {
        var bytes = FirstClient.bytes(vcpu) + [UInt8](repeating: 0, count: 292)
        try ioctl(.getSpecialRegisters, &bytes)
        return bytes
    }

    func setSpecialRegisters(_ bytes: [UInt8]) throws {
        var bytes = bytes
        try ioctl(.setSpecialRegisters, &bytes)
    }

    private func enterRealMode(_ vcpu: UInt32, at address: UInt64) throws {
        var special = try specialRegisters(vcpu)
        for index in 0..<6 {
            special.replaceSubrange(8 + 24 * index..<16 + 24 * index, with: FirstClient.bytes(UInt64(0)))
            special.replaceSubrange(20 + 24 * index..<22 + 24 * index, with: [0, 0])
        }
        try setSpecialRegisters(special)
        try set([.rip: address, .rsp: 0x8000 + 0x1000 * UInt64(vcpu), .rflags: 2], vcpu: vcpu)
    }

    /// 32-bit protected mode, flat, without paging; the tables are the test's.
    func enterProtectedMode() throws {
        var special = try specialRegisters()
        for index in 0..<6 {
            let place = 8 + 24 * index
            let segment: [UInt8] = [UInt8(index == 0 ? 0xB : 3), 1, 0, 1, 1, 0, 1, 0, 0, 0]
            special.replaceSubrange(
                place..<place + 24,
                with: FirstClient.bytes(UInt64(0)) + FirstClient.bytes(UInt32.max)
                    + FirstClient.bytes(UInt16(index == 0 ? 8 : 16)) + segment)
        }
        special[232] |= 1  // CR0.PE
        try setSpecialRegisters(special)
    }

    // MARK: Running

    /// One KVM_RUN.
    func run(_ run: inout FirstRun) throws {
        var bytes = run.bytes
        defer { run.bytes = bytes }
        try ioctl(.run, &bytes)
    }

    /// Runs to an exit of the reason.
    func run(_ run: inout FirstRun, to reason: UInt32, _ location: SourceLocation = #_sourceLocation) throws {
        try self.run(&run)
        #expect(run.exitType == 2, sourceLocation: location)
        try #require(run.reason == reason, "\(run.bytes)", sourceLocation: location)
    }

    /// Carries out a port access as that time's client did: `device` is asked for each element.
    func access(_ run: inout FirstRun, _ device: (_ value: UInt32?) -> UInt32) throws {
        let vcpu: UInt32 = run[0]
        let port = run.port
        var registers = try registers(vcpu)
        func index(_ register: Register) -> Int { register.rawValue }
        let size = Int(port.size)
        let step = port.isDown ? 0 &- UInt64(size) : UInt64(size)
        var address = port.addressOrValue
        for _ in 0..<(port.isRepeated ? port.count : 1) {
            if !port.isString {
                if port.isOut {
                    _ = device(UInt32(truncatingIfNeeded: port.addressOrValue))
                } else {
                    let mask = UInt64.max >> UInt64(64 - 8 * size)
                    registers[0] = registers[0] & ~mask | UInt64(device(nil)) & mask
                }
                break
            }
            let place = try translate(address, vcpu: vcpu)
            #expect(place.valid == 1)
            if port.isOut {
                _ = device((0..<size).reduce(0) { $0 | UInt32(self[place.address + UInt64($1)]) << UInt32(8 * $1) })
            } else {
                let value = device(nil)
                for byte in 0..<size {
                    self[place.address + UInt64(byte)] = UInt8(truncatingIfNeeded: value >> UInt32(8 * byte))
                }
            }
            address &+= step
            registers[index(port.isOut ? .rsi : .rdi)] &+= step
            if port.isRepeated { registers[index(.rcx)] &-= 1 }
        }
        if port.isString || !port.isOut { try setRegisters(registers, vcpu) }
        run.emulated = 1
    }

    // MARK: Memory

    subscript(address: UInt64) -> UInt8 {
        get { unsafe memory.load(fromByteOffset: Int(address), as: UInt8.self) }
        set { unsafe memory.storeBytes(of: newValue, toByteOffset: Int(address), as: UInt8.self) }
    }

    func write(_ bytes: [UInt8], at address: UInt64) {
        for (index, byte) in bytes.enumerated() { self[address + UInt64(index)] = byte }
    }

    func bytes(at address: UInt64, _ count: Int) -> [UInt8] { (0..<count).map { self[address + UInt64($0)] } }

    static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
    }

    static func number(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
        (0..<8).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }
}

/// Leaves a case out, by name and with the reason.
func skip(_ name: String, _ reason: String) throws {
    print("skipped: \(name): \(reason)")
    try Test.cancel("\(name): \(reason)")
}
