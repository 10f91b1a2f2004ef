internal import Glibc

/// Lines of `/tmp/perf-PID.map`: address, size, name. The kernel's tools/perf/Documentation/jit-interface.txt.
enum PerfMap {
    static var path: String { "/tmp/perf-\(getpid()).map" }

    /// The name is the guest's function; `perf` adds up what has one name.
    static func line(for code: TranslatedCode, _ symbols: GuestSymbols?) -> String {
        let name = symbols?.name(of: code.rip) ?? "guest_\(TranslatedCode.hex(code.rip))"
        return "\(TranslatedCode.hex(UInt64(code.address))) \(TranslatedCode.hex(UInt64(code.bytes.count))) \(name)\n"
    }
}
