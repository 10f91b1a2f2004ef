// What a machine is made of, and what sizes make sense.

internal import Glibc
public import KVM

/// What to build a machine from.
public struct MachineConfiguration: Sendable {
    /// Paths on the host.
    public var kernel: String
    public var initrd: String?
    public var commandLine: String
    /// Bytes of RAM.
    public var memorySize: UInt64
    public var cpus: Int
    public var hypervisor: Hypervisor
    /// The boot protocol; the best that the kernel offers if not given.
    public var bootProtocol: BootProtocol?

    public init(
        kernel: String, initrd: String? = nil, commandLine: String = "", memorySize: UInt64 = 512 << 20,
        cpus: Int = 1, hypervisor: Hypervisor = .automatic, bootProtocol: BootProtocol? = nil
    ) {
        self.kernel = kernel
        self.initrd = initrd
        self.commandLine = commandLine
        self.memorySize = memorySize
        self.cpus = cpus
        self.hypervisor = hypervisor
        self.bootProtocol = bootProtocol
    }

    /// Less than this can't even hold the boot data and a kernel.
    public static let leastMemory: UInt64 = 2 << 20
    /// As many local APIC ids as an xAPIC can name, less the broadcast id.
    public static let mostCPUs = 254

    /// Refuses what no host could give.
    public func validate() throws(ConfigurationError) {
        guard !kernel.isEmpty else { throw .emptyPath("--kernel") }
        guard initrd?.isEmpty != true else { throw .emptyPath("--initrd") }
        guard memorySize % 4096 == 0 else { throw .memoryNotAligned(memorySize) }
        guard memorySize >= Self.leastMemory else { throw .memoryTooSmall(memorySize) }
        guard cpus >= 1, cpus <= Self.mostCPUs else { throw .cpuCount(cpus, limit: Self.mostCPUs) }
        let installed = Self.hostMemory
        guard memorySize <= installed else { throw .memoryBeyondHost(memorySize, installed: installed) }
    }

    /// The host's RAM in bytes.
    static var hostMemory: UInt64 {
        UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES)))) * UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
    }
}

/// What makes no machine.
public enum ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    /// An option's path is empty.
    case emptyPath(String)
    case memoryTooSmall(UInt64)
    case memoryNotAligned(UInt64)
    case memoryBeyondHost(UInt64, installed: UInt64)
    case cpuCount(Int, limit: Int)

    /// Whether it is wrong on every host, not just on this one.
    public var isUsage: Bool {
        if case .memoryBeyondHost = self { false } else { true }
    }

    public var description: String {
        switch self {
        case .emptyPath(let option): "\(option) is an empty path: give the path of a file"
        case .memoryTooSmall(let size):
            "--memory of \(size) bytes is too little for any kernel: give at least 2M, for Debian's 512M"
        case .memoryNotAligned(let size):
            "--memory of \(size) bytes is not a multiple of the page size, 4096: give for example 512M"
        case .memoryBeyondHost(let size, let installed):
            "--memory of \(size >> 20) MiB is more than this host has, \(installed >> 20) MiB: give less"
        case .cpuCount(let count, let limit):
            "--cpus \(count) is not possible: give a number from 1 to \(limit)"
        }
    }
}
