// A small machine that runs once before any client's.

internal import Glibc
public import KVMABI
internal import X86

/// What Swift's runtime makes at first use it makes under locks of its own, and the child of a fork amid that would wait for
/// them for ever. A machine that sees a little of everything makes it, while a fork can wait.
public enum Rehearsal {
    /// Integers, vectors, x87, strings, LOCK, a branch back, a call, CPUID, a load from a device, OUT; in 32-bit code at
    /// `start`, with a page of data behind it.
    private static let code = Assembler.code(.bits32) { a in
        let function = a.label()
        a.mov(.rax, 3)
        a.movd(.xmm(0), .rax)
        a.paddd(.xmm(0), .xmm(0))
        a.movd(.rcx, .xmm(0))
        let again = a.here()
        a.mov(.absolute(data), .rax)
        a.add(.absolute(data), .rcx)
        a.lock()
        a.inc(.absolute(data))
        a.mov(.rsi, data)
        a.mov(.rdi, data + 16)
        a.rep()
        a.movs(.byte)
        a.dec(.rax)
        a.jcc(.nz, again)
        a.fld1()
        a.fstp(.absolute(data), .real64)
        a.call(function)
        a.cpuid()
        a.rdtsc()
        a.mov(.rax, .absolute(0xF000_0000))  // a device
        a.out(0x10, .byte)
        a.hlt()
        a.place(function)
        a.push(.rax)
        a.pop(.rcx)
        a.imul(.rax, .rcx)
        a.ret()
    }
    private static let data = 0x2000
    private static let start: UInt64 = 0x1000, size = 0x4000

    /// Whether the machine came to its end; it can't be made for want of descriptors, say.
    public static func perform(on endpoint: any Endpoint) -> Bool {
        let memory = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory = unsafe memory, unsafe memory != MAP_FAILED else { return false }
        defer { unsafe munmap(memory, size) }
        // SAFETY: `size` bytes, which the code and its page of data fit into.
        unsafe (memory + Int(start)).copyMemory(from: code, byteCount: code.count)
        var handles: [Handle] = []
        defer { for handle in handles.reversed() { endpoint.close(handle) } }
        do throws(Errno) {
            let system = try endpoint.open()
            handles.append(system)
            let machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
            handles.append(machine)
            var region = kvm_userspace_memory_region()
            region.memory_size = UInt64(size)
            region.userspace_addr = UInt64(UInt(bitPattern: memory))
            try pass(&region, .setUserMemoryRegion, machine, endpoint)
            _ = try endpoint.ioctl(machine, .createIRQCHIP, 0)
            let vcpu = Handle(rawValue: try endpoint.ioctl(machine, .createVCPU, 0))
            handles.append(vcpu)
            try setRegisters(of: vcpu, endpoint)
            let length = Int(try endpoint.ioctl(system, .getVCPUMmapSize, 0))
            let area = unsafe try endpoint.map(vcpu, length: length, offset: 0)
            defer { unsafe endpoint.unmap(area, length: length) }
            // The load from a device, then OUT.
            for _ in 0..<2 { _ = try endpoint.ioctl(vcpu, .run, 0) }
            return unsafe area.load(as: kvm_run.self).exit_reason == ExitReason.io.rawValue
        } catch {
            return false
        }
    }

    private static func setRegisters(of vcpu: Handle, _ endpoint: any Endpoint) throws(Errno) {
        var special = kvm_sregs()
        try pass(&special, .getSREGS, vcpu, endpoint)
        var segment = kvm_segment()
        (segment.limit, segment.present, segment.s, segment.db, segment.g) = (.max, 1, 1, 1, 1)
        (segment.selector, segment.type) = (16, 3)
        (special.ds, special.es, special.ss) = (segment, segment, segment)
        (segment.selector, segment.type) = (8, 11)
        special.cs = segment
        special.cr0 = 0x11
        special.cr4 = 0x200
        try pass(&special, .setSREGS, vcpu, endpoint)
        var registers = kvm_regs()
        (registers.rip, registers.rsp, registers.rflags) = (start, UInt64(size), 2)
        try pass(&registers, .setRegs, vcpu, endpoint)
    }

    private static func pass<T: BitwiseCopyable>(
        _ value: inout T, _ request: Request, _ handle: Handle, _ endpoint: any Endpoint
    ) throws(Errno) {
        // SAFETY: the request takes a structure of this type, which lives through the call.
        _ = unsafe try withUnsafeMutablePointer(to: &value) { (pointer) throws(Errno) in
            try endpoint.ioctl(handle, request, UInt(bitPattern: pointer))
        }
    }
}
