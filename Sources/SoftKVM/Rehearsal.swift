// A small machine that runs once before any client's.

internal import Glibc
public import KVMABI

/// What Swift's runtime makes at first use it makes under locks of its own, and the child of a fork amid that would wait for
/// them for ever. A machine that sees a little of everything makes it, while a fork can wait.
public enum Rehearsal {
    /// Integers, vectors, x87, strings, LOCK, a branch back, a call, CPUID, a load from a device, OUT; in 32-bit code at
    /// `start`, with a page of data behind it.
    private static let code: [UInt8] = [
        0xB8, 0x03, 0x00, 0x00, 0x00,  // mov eax, 3
        0x66, 0x0F, 0x6E, 0xC0, 0x66, 0x0F, 0xFE, 0xC0,  // movd xmm0, eax; paddd xmm0, xmm0
        0x66, 0x0F, 0x7E, 0xC1,  // movd ecx, xmm0
        0xA3, 0x00, 0x20, 0x00, 0x00, 0x01, 0x0D, 0x00, 0x20, 0x00, 0x00,  // again: mov [data], eax; add [data], ecx
        0xF0, 0xFF, 0x05, 0x00, 0x20, 0x00, 0x00,  // lock inc dword [data]
        0xBE, 0x00, 0x20, 0x00, 0x00, 0xBF, 0x10, 0x20, 0x00, 0x00, 0xF3, 0xA4,  // rep movsb from data to data + 16
        0x48, 0x75, 0xDF,  // dec eax; jnz again
        0xD9, 0xE8, 0xDD, 0x1D, 0x00, 0x20, 0x00, 0x00,  // fld1; fstp qword [data]
        0xE8, 0x0C, 0x00, 0x00, 0x00,  // call function
        0x0F, 0xA2, 0x0F, 0x31, 0xA1, 0x00, 0x00, 0x00, 0xF0,  // cpuid; rdtsc; mov eax, [F0000000H]
        0xE6, 0x10, 0xF4,  // out 10H, al; hlt
        0x50, 0x59, 0x0F, 0xAF, 0xC1, 0xC3,  // function: push eax; pop ecx; imul eax, ecx; ret
    ]
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
