// The rate of the host's time stamp counter. Intel SDM vol. 3, 18.7.3; CPUID leaves 15H and 40000010H.

internal import X86
internal import Glibc
internal import Processor

enum HostTSC {
    /// The frequency of the host's TSC in kHz, where the processor or a hypervisor under us states it, else what
    /// /proc/cpuinfo shows for the first processor, else 1 GHz.
    static let kilohertz: UInt32 = {
        if HostProcessor.cpuid(leaf: 0).eax >= 0x15 {
            let ratio = HostProcessor.cpuid(leaf: 0x15)
            if ratio.eax != 0, ratio.ebx != 0, ratio.ecx != 0 {
                let hertz = UInt64(ratio.ecx) * UInt64(ratio.ebx) / UInt64(ratio.eax)
                if hertz >= 100_000_000 { return UInt32(truncatingIfNeeded: hertz / 1000) }
            }
        }
        if HostProcessor.cpuid(leaf: 1).ecx >> 31 != 0, HostProcessor.cpuid(leaf: 0x4000_0000).eax >= 0x4000_0010 {
            let kilohertz = HostProcessor.cpuid(leaf: 0x4000_0010).eax
            if kilohertz >= 100_000 { return kilohertz }
        }
        return kilohertzFromKernel() ?? 1_000_000
    }()

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
