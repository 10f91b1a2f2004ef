internal import Locking
internal import Synchronization

/// What the translators of this process make, written down as it is made: for people and for `perf`. Nothing is, until it is asked
/// for.
public enum TranslationTrace {
    /// What was asked for can't be had; one clause that says why.
    public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    private struct Writers {
        var listing: TextFile?
        var map: TextFile?
        var symbols: GuestSymbols?
    }

    private static let writers = Lock(Writers())
    private static let isWanted = Atomic<Bool>(false)

    /// Translators made from here on note where in emitted code each instruction begins.
    static var isOn: Bool { isWanted.load(ordering: .relaxed) }

    /// Guest code and emitted code of each piece, side by side, into a file that is made or emptied.
    public static func writeListing(to path: String) throws(Failure) {
        let file = try TextFile(path)
        writers.withLock { $0.listing = file }
        isWanted.store(true, ordering: .relaxed)
    }

    /// `/tmp/perf-PID.map`, where `perf` looks for the names of code that was made at run time.
    /// - Parameter symbols: a System.map or an ELF file of the guest's; without it the names are the guest's addresses.
    public static func writePerfMap(symbols path: String?) throws(Failure) {
        var symbols: GuestSymbols?
        if let path { symbols = try GuestSymbols(file: path) }
        let file = try TextFile(PerfMap.path)
        writers.withLock { writers in
            writers.map = file
            writers.symbols = symbols
        }
        isWanted.store(true, ordering: .relaxed)
    }

    /// A piece of code has been made. From any vCPU's thread.
    static func record(_ code: TranslatedCode) {
        writers.withLock { writers in
            writers.listing?.write(code.listing)
            writers.map?.write(PerfMap.line(for: code, writers.symbols))
        }
    }
}

/// A piece of translated code.
struct TranslatedCode {
    /// Of its entry when it was translated; another address space may execute it elsewhere.
    var rip: UInt64
    var mode: CodeMode
    /// Where it is executed.
    var address: UInt
    var bytes: [UInt8]
    /// Where in the bytes what was made of an instruction begins, in order; a basic block may be there several times.
    var marks: [(offset: Int, step: Superblock.Step)]
    /// Where what is rarely executed begins.
    var tail: Int
}
