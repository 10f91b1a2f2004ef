// A small machine of the first interface that runs once before any client's.

public import KVMABI
internal import X86

/// `/dev/kvm` of October 2006, as whoever opens it has it.
public protocol FirstDevice {
    /// A machine.
    func open() throws(Errno) -> Handle
    func ioctl(_ handle: Handle, _ request: FirstRequest, _ argument: UInt) throws(Errno)
    /// Guest memory from 0 on.
    func map(_ handle: Handle, length: Int) throws(Errno) -> UnsafeMutableRawPointer
    func unmap(_ address: UnsafeMutableRawPointer, length: Int)
    func close(_ handle: Handle)
}

/// What Swift's runtime makes at first use it makes under locks of its own, and the child of a fork amid that would wait for
/// them for ever. A machine that sees a little of everything makes it, while a fork can wait.
public enum FirstRehearsal {
    /// In real mode at `start`, with memory up to `size`.
    private static let code = Assembler.code(.bits16) { a in
        a.out(0x10, .byte)
        a.in(0x10, .byte)
        a.cpuid()
        a.mov(.rax, 3)
        a.mov(.absolute(0xF000), .rax, .byte)  // beyond memory
        a.mov(.rax, .absolute(0xF000), .byte)
        a.push(.rax)
        a.pop(.rcx)
        a.add(.rax, .rcx)
        let again = a.here()
        a.dec(.rax)
        a.jcc(.nz, again)
        a.hlt()
    }
    private static let start: UInt64 = 0x1000, size = 0x8000

    /// Whether the machine came to its end; it can't be made for want of descriptors, say.
    public static func perform(by device: some FirstDevice) -> Bool {
        do throws(Errno) {
            let handle = try device.open()
            defer { device.close(handle) }
            var region = Record(count: FirstLayout.MemoryRegion.size)
            region.store(UInt64(size), FirstLayout.MemoryRegion.memorySize)
            try pass(&region, .setMemoryRegion, handle, device)
            let memory = unsafe try device.map(handle, length: size)
            defer { unsafe device.unmap(memory, length: size) }
            // SAFETY: `size` bytes, which the code fits into.
            unsafe (memory + Int(start)).copyMemory(from: code, byteCount: code.count)
            try device.ioctl(handle, .createVCPU, 0)
            try setRegisters(handle, device)
            return try run(handle, device)
        } catch {
            return false
        }
    }

    /// To HLT, by whatever else the code comes to.
    private static func run(_ handle: Handle, _ device: some FirstDevice) throws(Errno) -> Bool {
        var record = Record(count: FirstLayout.Run.size)
        for _ in 0..<8 {
            try pass(&record, .run, handle, device)
            guard record.load(FirstLayout.Run.exitType, as: UInt32.self) == FirstExitType.vmExit else { return false }
            switch record.load(FirstLayout.Run.exitReason, as: UInt32.self) {
            case FirstExitReason.io, FirstExitReason.cpuid: record.store(UInt32(1), FirstLayout.Run.emulated)
            case FirstExitReason.mmio: record.store(UInt32(1), FirstLayout.Run.mmioCompleted)
            case FirstExitReason.hlt: return true
            default: return false
            }
        }
        return false
    }

    private static func setRegisters(_ handle: Handle, _ device: some FirstDevice) throws(Errno) {
        var special = Record(count: FirstLayout.SpecialRegisters.size)
        try pass(&special, .getSpecialRegisters, handle, device)
        // CS, which comes first: its base, and behind that and the limit its selector.
        special.store(UInt64(0), FirstLayout.SpecialRegisters.values)
        special.store(UInt16(0), FirstLayout.SpecialRegisters.values + 12)
        try pass(&special, .setSpecialRegisters, handle, device)
        var registers = Record(count: FirstLayout.Registers.size)
        try pass(&registers, .getRegisters, handle, device)
        for (register, value) in [(6, UInt64(size)), (16, start), (17, 2)] {  // RSP, RIP, RFLAGS
            registers.store(value, FirstLayout.Registers.values + 8 * register)
        }
        try pass(&registers, .setRegisters, handle, device)
    }

    private static func pass(
        _ record: inout Record, _ request: FirstRequest, _ handle: Handle, _ device: some FirstDevice
    ) throws(Errno) {
        var bytes = record.bytes
        // SAFETY: as many bytes as the request's number says, which live through the call.
        unsafe try bytes.withUnsafeMutableBufferPointer { (buffer) throws(Errno) in
            try device.ioctl(handle, request, UInt(bitPattern: buffer.baseAddress))
        }
        record = Record(bytes)
    }
}
