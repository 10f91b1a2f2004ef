import Glibc
import Processor

/// `make fuzz-cpu`: random sequences on the host's CPU and on the software hypervisor for a while; findings are shrunk and
/// written as files.
public struct CPUFuzzer {
    private var seconds = 60.0
    private var cases = Int.max
    private var seed: UInt64 = 0
    private var folder = "."
    private var limit = 200
    private var replay: [String] = []
    private var executor = ExecutorOptions()

    public enum Mistake: Error, CustomStringConvertible {
        case unknown(String)
        case unreadable(String)
        public var description: String {
            switch self {
            case .unknown(let argument):
                """
                \(argument)? usage: cpu-oracle [--seconds N] [--cases N] [--seed N] [--folder PATH] [--limit N] \
                [--executor auto|interpreter|translator] [CASE …]
                """
            case .unreadable(let path): "\(path) is not a case"
            }
        }
    }

    public init(_ arguments: [String]) throws {
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        seed = UInt64(truncatingIfNeeded: now.tv_sec)
        var rest = arguments[...]
        while let name = rest.popFirst() {
            func value<T: LosslessStringConvertible>(_ type: T.Type = T.self) throws -> T {
                guard let text = rest.popFirst(), let value = T(text) else { throw Mistake.unknown(name) }
                return value
            }
            switch name {
            case "--seconds": seconds = try value()
            case "--cases":
                cases = try value()
                seconds = .infinity
            case "--seed": seed = try value()
            case "--folder": folder = try value()
            case "--limit": limit = try value()
            case "--executor":
                guard let word = rest.popFirst(), let chosen = Executor(rawValue: word) else {
                    throw Mistake.unknown(name)
                }
                // What there is of it is executed translated, however rarely.
                executor = ExecutorOptions(chosen, threshold: 1, codeCacheSize: 8 << 20)
            default:
                guard !name.hasPrefix("-") else { throw Mistake.unknown(name) }
                replay.append(name)
            }
        }
    }

    /// Whether nothing was found.
    public func run() throws -> Bool {
        let runner = try OracleRunner(executor)
        guard replay.isEmpty else { return try runCases(runner) }
        var generator = SequenceGenerator(seed: seed)
        var made = 0
        let start = CPUFuzzer.now
        var findings: [Finding] = []
        var report = start
        print("seed \(seed)")
        try runner.run(
            {
                let now = CPUFuzzer.now
                if now - report > 10 {
                    print(
                        "\(made) sequences, \(Int(Double(made) / (now - start))) a second, \(findings.count) findings")
                    fflush(nil)
                    report = now
                }
                guard made < cases, now - start < seconds else { return nil }
                made += 1
                return generator.next()
            },
            found: { finding in
                findings.append(finding)
                // Shrinking waits for the end; what was found is not lost if that never comes.
                write(finding, "whole-\(seed)-\(findings.count - 1)")
                return findings.count < limit
            })
        let tally = runner.tally
        let ends = tally.vectors.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
        print(
            "\(tally.cases) sequences in \(Int(CPUFuzzer.now - start)) s, \(tally.inconclusive) inconclusive; ends by vector: \(ends)"
        )
        print("instructions that began translated: \(try runner.guest.translatedInstructions())")
        print("native process ended by a sequence: \(runner.native.deaths)")
        var kinds: Set<String> = []
        for (number, finding) in findings.enumerated() {
            let small = try runner.shrink(finding)
            // One of a kind is enough to look at.
            guard kinds.insert(small.kind).inserted else { continue }
            write(small, "finding-\(seed)-\(number)")
        }
        return findings.isEmpty
    }

    private func write(_ finding: Finding, _ name: String) {
        let path = "\(folder)/\(name).case"
        print("\(path):\n\(finding.text)")
        guard let file = unsafe fopen(path, "w") else { return }
        unsafe fputs(finding.text, file)
        unsafe fclose(file)
    }

    private func runCases(_ runner: OracleRunner) throws -> Bool {
        var agrees = true
        for path in replay {
            // What ran before a finding is left out: most fail alone.
            let lines = CPUFuzzer.contents(path)?.split(separator: "\n").split(separator: "then").last
            guard let lines, let test = CaseText.read(lines.joined(separator: "\n")) else {
                throw Mistake.unreadable(path)
            }
            guard OracleCase.Mode.offered.contains(test.mode) else {
                print("\(path): the host's system has no \(test.mode.codeSize * 8)-bit code for processes")
                continue
            }
            let differences = try runner.differences(of: test)
            print("\(path): \(differences.isEmpty ? "agrees" : differences.joined(separator: "; "))")
            print("natively: \(try runner.nativeEnd(of: test).text); in the guest: \(runner.guest.run(test).text)")
            guard !differences.isEmpty else { continue }
            agrees = false
            print(try runner.shrink(Finding(test: test, differences: differences)).text)
        }
        return agrees
    }

    private static func contents(_ path: String) -> String? {
        guard let file = unsafe fopen(path, "r") else { return nil }
        defer { unsafe fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    private static var now: Double {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
