// What is to be seen of the translator's work, in `martlet run`.

internal import ArgumentParser
internal import KVM

struct TracingOptions: ParsableArguments {
    @Option(help: "Write guest code and what the translator makes of it to this file, side by side.")
    var traceBlocks: String?

    @Flag(help: "Write /tmp/perf-PID.map, by which perf names translated code.")
    var perfMap = false

    @Option(help: "A System.map or an ELF file with the guest's symbols, for --perf-map.")
    var symbols: String?

    func validate() throws {
        guard symbols == nil || perfMap else { throw ValidationError("--symbols is for --perf-map: give that too") }
    }

    /// Opens the files.
    func begin() throws(KVMError) {
        if let traceBlocks { try Hypervisor.traceBlocks(to: traceBlocks) }
        if perfMap { try Hypervisor.writePerfMap(symbols: symbols) }
    }
}
