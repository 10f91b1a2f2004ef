internal import Locking

/// What executes guest code. Both do the same; they differ in speed.
public enum Executor: String, Hashable, Sendable, CaseIterable {
    /// The faster one that this host can run.
    case automatic = "auto"
    /// A handler for each instruction. Runs everywhere, and is complete.
    case interpreter
    /// Host code made of guest code that is executed often; what is rare is left to the interpreter.
    case translator
}

/// An executor and its measures.
public struct ExecutorOptions: Hashable, Sendable, CustomStringConvertible {
    public var executor: Executor
    /// Executions of a block after which it is translated. At 1 whatever can be is translated before it is first executed.
    public var threshold: UInt32
    /// Bytes of emitted code that a vCPU keeps: at least `leastCodeCache`.
    public var codeCacheSize: Int
    /// Whether emitted code counts the guest's instructions, which makes it slower.
    public var countsInstructions = false

    /// Times that an access's slot is found to know another range, away from what is looked for, before the access looks into the
    /// table of translations instead; 0: all of them do at once.
    var slotChanges: UInt8 = 240

    public static let leastCodeCache = 256 << 10

    public init(_ executor: Executor = .automatic, threshold: UInt32 = 40, codeCacheSize: Int = 48 << 20) {
        self.executor = executor
        self.threshold = max(threshold, 1)
        self.codeCacheSize = max(codeCacheSize, ExecutorOptions.leastCodeCache)
    }

    public var description: String { executor.rawValue }

    // MARK: What a choice comes to

    private static let preference = Lock(ExecutorOptions(.translator))

    /// What `automatic` stands for in this process where the host can run it.
    public static var preferred: ExecutorOptions {
        get { preference.withLock { $0 } }
        set { preference.withLock { $0 = newValue } }
    }

    /// The same with an executor that can run here, and one clause that says why that one.
    /// - Throws: where it was asked for by name, and can't.
    public func resolved() throws(ExecutorUnavailable) -> (options: ExecutorOptions, reason: String) {
        try resolved(on: .host)
    }

    func resolved(
        on host: TranslatorSupport
    ) throws(ExecutorUnavailable) -> (options: ExecutorOptions, reason: String) {
        guard executor == .automatic else {
            if executor == .translator, let missing = host.missing { throw ExecutorUnavailable(reason: missing) }
            return (self, "it was asked for")
        }
        let preferred = ExecutorOptions.preferred
        guard preferred.executor == .translator else {
            return (preferred, "the translator is taken by name alone")
        }
        guard let missing = host.missing else { return (preferred, "this host can run translated code") }
        return (ExecutorOptions(.interpreter), "the translator can't run here: \(missing)")
    }
}

/// The translator was asked for by name on a host that can't run what it makes.
public struct ExecutorUnavailable: Error, Hashable, Sendable, CustomStringConvertible {
    /// One clause that says what is missing.
    public let reason: String

    public var description: String { "the translator can't run here: \(reason); choose the interpreter, or auto" }
}

/// What emitted code needs of its host.
struct TranslatorSupport {
    /// RDGSBASE and its kin may be used.
    var hasFSGSBASE: Bool
    /// Memory can be mapped writable at one address and executable at another.
    var hasExecutableMemory: Bool

    /// Of this host. Asked once: what a process is forbidden later shows when a vCPU is made.
    static let host = TranslatorSupport(
        hasFSGSBASE: HostProcessor.hasFSGSBASE, hasExecutableMemory: (try? CodeCache(size: 4096)) != nil)

    /// What is not there, as a clause.
    var missing: String? {
        if !hasFSGSBASE { return "the host's system does not let programs use FSGSBASE" }
        if !hasExecutableMemory { return "the host's system refuses executable memory" }
        return nil
    }
}
