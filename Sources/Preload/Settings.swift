// What `martlet kvm` tells this library, through the environment that the command and its children inherit.

internal import Glibc
internal import Processor

/// The environment's words. Read once: a client that changes its environment changes nothing here.
struct Settings {
    /// Which hypervisor answers `/dev/kvm`.
    enum Hypervisor {
        case software
        /// The kernel's: calls pass through, and may be logged.
        case kernel
    }

    /// Which interface it has.
    enum Interface {
        case today
        /// That of October 2006.
        case first
    }

    let hypervisor: Hypervisor
    let interface: Interface
    /// What executes guest code.
    let executor: Executor
    /// Where translated code is written, and whether `perf` is told of it; with the names of this file, where one is given.
    let blockTrace: String?
    let wantsPerfMap: Bool
    let symbols: String?
    /// Where the conversation is written: a file's path, or `-` for standard error.
    let log: String?

    static let shared = Settings()

    private init() {
        hypervisor = Settings.value("MARTLET_HYPERVISOR") == "kernel" ? .kernel : .software
        interface = Settings.value("MARTLET_ABI") == "2006" ? .first : .today
        executor = Settings.value("MARTLET_EXECUTOR").flatMap(Executor.init) ?? .automatic
        blockTrace = Settings.value("MARTLET_TRACE_BLOCKS")
        wantsPerfMap = Settings.value("MARTLET_PERF_MAP") == "1"
        symbols = Settings.value("MARTLET_SYMBOLS")
        log = Settings.value("MARTLET_LOG")
    }

    private static func value(_ name: String) -> String? {
        guard let text = unsafe getenv(name), unsafe text[0] != 0 else { return nil }
        return unsafe String(cString: text)
    }
}
