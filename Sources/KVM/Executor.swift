// What executes guest code in the software hypervisor.

internal import Processor

extension Hypervisor {
    /// One of the software hypervisor's two executors. They do the same, at different speeds.
    public enum Executor: String, Hashable, Sendable, CaseIterable {
        /// The one that suits this host.
        case automatic = "auto"
        /// Executes guest code instruction by instruction; on every host.
        case interpreter
        /// Makes host code of guest code that is executed often.
        case translator

        /// What an executor comes to on this host, and why.
        public struct Choice: Hashable, Sendable {
            /// `.interpreter` or `.translator`.
            public let executor: Executor
            /// One clause that says why.
            public let reason: String
        }

        /// Decides among the executors for this host.
        /// - Throws: `KVMError.noExecutor` where the translator is asked for by name and can't run here.
        public func choose() throws(KVMError) -> Choice {
            do throws(ExecutorUnavailable) {
                let (options, reason) = try ExecutorOptions(processors).resolved()
                return Choice(executor: options.executor == .translator ? .translator : .interpreter, reason: reason)
            } catch {
                throw .noExecutor(error.description)
            }
        }

        var processors: Processor.Executor {
            switch self {
            case .automatic: .automatic
            case .interpreter: .interpreter
            case .translator: .translator
            }
        }
    }
}

extension Hypervisor {
    /// From here on what translators of this process make is written to a file: guest code and emitted code, side by side.
    /// - Throws: `KVMError.file`.
    public static func traceBlocks(to path: String) throws(KVMError) {
        do throws(TranslationTrace.Failure) { try TranslationTrace.writeListing(to: path) } catch {
            throw .file(error.description)
        }
    }

    /// From here on `/tmp/perf-PID.map` names translated code for `perf`.
    /// - Parameter symbols: a System.map or an ELF file of the guest's; without it the names are the guest's addresses.
    /// - Throws: `KVMError.file`.
    public static func writePerfMap(symbols: String? = nil) throws(KVMError) {
        do throws(TranslationTrace.Failure) { try TranslationTrace.writePerfMap(symbols: symbols) } catch {
            throw .file(error.description)
        }
    }
}
