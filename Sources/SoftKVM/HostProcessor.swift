// What the host's processor says of itself: CPUID, by a stub of fifteen instructions' bytes that is emitted for the purpose.
// Intel SDM vol. 2, CPUID. The one file of this module that makes memory executable.

internal import Glibc

/// The four registers of a CPUID leaf.
struct CPUIDRegisters: Equatable, Sendable {
    var eax: UInt32 = 0
    var ebx: UInt32 = 0
    var ecx: UInt32 = 0
    var edx: UInt32 = 0
}

/// The host's CPUID. Where the stub can't be made (a host that forbids executable memory) every leaf reads as zero.
@safe final class HostProcessor: Sendable {
    private typealias Stub = @convention(c) (UInt32, UInt32, UnsafeMutablePointer<UInt32>) -> Void

    // SAFETY: nil, or a page that is mapped read-execute from init to deinit and holds the stub below.
    private nonisolated(unsafe) let page: UnsafeMutableRawPointer?

    private static let code: [UInt8] = [
        0x53,  // push rbx
        0x49, 0x89, 0xD0,  // mov r8, rdx
        0x89, 0xF8,  // mov eax, edi
        0x89, 0xF1,  // mov ecx, esi
        0x0F, 0xA2,  // cpuid
        0x41, 0x89, 0x00,  // mov [r8], eax
        0x41, 0x89, 0x58, 0x04,  // mov [r8+4], ebx
        0x41, 0x89, 0x48, 0x08,  // mov [r8+8], ecx
        0x41, 0x89, 0x50, 0x0C,  // mov [r8+12], edx
        0x5B,  // pop rbx
        0xC3,  // ret
    ]

    init() {
        let mapped = unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
            unsafe page = nil
            return
        }
        unsafe UnsafeMutableRawBufferPointer(start: mapped, count: 4096).copyBytes(from: HostProcessor.code)
        guard unsafe mprotect(mapped, 4096, PROT_READ | PROT_EXEC) == 0 else {
            unsafe munmap(mapped, 4096)
            unsafe page = nil
            return
        }
        unsafe page = mapped
    }

    deinit {
        if let page = unsafe page { unsafe munmap(page, 4096) }
    }

    func cpuid(_ leaf: UInt32, _ subleaf: UInt32 = 0) -> CPUIDRegisters {
        guard let page = unsafe page else { return CPUIDRegisters() }
        let stub = unsafe unsafeBitCast(page, to: Stub.self)
        var words = InlineArray<4, UInt32>(repeating: 0)
        var span = words.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { buffer in
            if let base = buffer.baseAddress { unsafe stub(leaf, subleaf, base) }
        }
        return CPUIDRegisters(eax: words[0], ebx: words[1], ecx: words[2], edx: words[3])
    }

    /// The frequency of the host's TSC in kHz, where the processor or a hypervisor under us states it, else what
    /// /proc/cpuinfo shows for the first processor, else 1 GHz.
    var tscKilohertz: UInt32 {
        if cpuid(0).eax >= 0x15 {
            let ratio = cpuid(0x15)
            if ratio.eax != 0, ratio.ebx != 0, ratio.ecx != 0 {
                let hertz = UInt64(ratio.ecx) * UInt64(ratio.ebx) / UInt64(ratio.eax)
                if hertz >= 100_000_000 { return UInt32(truncatingIfNeeded: hertz / 1000) }
            }
        }
        if cpuid(1).ecx >> 31 != 0, cpuid(0x4000_0000).eax >= 0x4000_0010 {
            let kilohertz = cpuid(0x4000_0010).eax
            if kilohertz >= 100_000 { return kilohertz }
        }
        return HostProcessor.kilohertzFromKernel() ?? 1_000_000
    }

    /// `cpu MHz` of /proc/cpuinfo.
    private static func kilohertzFromKernel() -> UInt32? {
        let text = HostFile.read("/proc/cpuinfo", limit: 4096)
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("cpu MHz") }),
            let value = line.split(separator: ":").last?.split(separator: " ").first
        else { return nil }
        let parts = value.split(separator: ".")
        guard let megahertz = parts.first.flatMap({ UInt32($0) }), megahertz >= 100, megahertz < 100_000 else {
            return nil
        }
        let fraction = parts.count > 1 ? UInt32(parts[1].prefix(3)) ?? 0 : 0
        return megahertz * 1000 + fraction
    }
}

/// Small text files that the kernel makes.
enum HostFile {
    /// The first `limit` bytes; empty where the file can't be read.
    static func read(_ path: String, limit: Int) -> String {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            count = max(0, unsafe Glibc.read(file, buffer.baseAddress, limit))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
