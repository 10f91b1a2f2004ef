import Glibc
public import Processor

/// What executes guest code in tests that don't choose: MARTLET_TEST_EXECUTOR, `interpreter` or `translator`, this with code that is
/// translated at its first execution. Without it what programs take.
public enum TestExecutor {
    private static let isSettled: Bool = {
        guard let text = unsafe getenv("MARTLET_TEST_EXECUTOR") else { return true }
        let name = unsafe String(cString: text)
        guard let executor = Executor(rawValue: name) else {
            fatalError("MARTLET_TEST_EXECUTOR=\(name) is none of auto, interpreter, translator")
        }
        guard executor != .automatic else { return true }
        let options = ExecutorOptions(executor, threshold: 1, codeCacheSize: 8 << 20)
        do { ExecutorOptions.preferred = try options.resolved().options } catch {
            print("MARTLET_TEST_EXECUTOR=\(name): \(error); tests that don't choose run on the interpreter")
        }
        return true
    }()

    /// The same for a command of `martlet`: its options.
    public static var options: [String] {
        guard let name = unsafe getenv("MARTLET_TEST_EXECUTOR") else { return [] }
        return unsafe ["--executor", String(cString: name)]
    }

    /// Before a test makes a processor.
    public static func settle() { _ = isSettled }

    /// Those that this host can run.
    public static let present: [ExecutorOptions] = {
        let all = [ExecutorOptions(.interpreter), ExecutorOptions(.translator, threshold: 1, codeCacheSize: 8 << 20)]
        return all.filter { (try? $0.resolved()) != nil }
    }()
}
