import Foundation
import TestSupport
import Testing

/// A client of the folder Clients, and how it is run by the command that lies beside the tests.
struct Client: CustomTestStringConvertible, Sendable {
    struct Ended {
        let status: Int32
        let output: String
        let error: String
    }

    let name: String
    let source: URL
    let expected: String

    var testDescription: String { name }

    static let compiler = ["/usr/bin/cc", "/usr/local/bin/cc", "/usr/bin/clang"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    /// Of today's interface, and of the first.
    static let all = all(in: "Clients")
    static let first = all(in: "FirstClients")

    static func folder(_ name: String) -> URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(name)
    }

    static func all(in name: String) -> [Client] {
        let folder = folder(name)
        let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        return files.filter { $0.pathExtension == "c" }.sorted { $0.path < $1.path }.map { file in
            let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
            let mark = "// expect: "
            let lines = text.split(separator: "\n").filter { $0.hasPrefix(mark) }.map {
                $0.dropFirst(mark.count) + "\n"
            }
            return Client(
                name: file.deletingPathExtension().lastPathComponent, source: file, expected: lines.joined())
        }
    }

    /// Compiles the client and runs it on a hypervisor.
    func run(
        on hypervisor: String, _ options: [String] = [], arguments: [String] = [], environment: [String: String] = [:]
    ) throws -> Ended {
        let program = try Client.compile(file: source)
        defer { try? FileManager.default.removeItem(at: program) }
        return try Client.run(
            ["kvm", "--hypervisor", hypervisor] + (hypervisor == "kernel" ? [] : TestExecutor.options) + options + [
                "--", program.path,
            ] + arguments, environment: environment)
    }

    // MARK: Programs

    private static func temporary(_ suffix: String = "") -> URL {
        FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)\(suffix)")
    }

    static func compile(_ text: String, options: [String]) throws -> URL {
        let source = temporary(".c")
        try Data(text.utf8).write(to: source)
        defer { try? FileManager.default.removeItem(at: source) }
        return try compile(file: source, options: options)
    }

    static func compile(file: URL, options: [String] = []) throws -> URL {
        let program = temporary()
        let arguments = ["-O1", "-Wall", "-Wextra", "-Werror"] + options
        let ended = try start(
            URL(fileURLWithPath: try #require(compiler)), arguments + ["-o", program.path, file.path, "-lpthread"])
        try #require(ended.status == 0, "\(ended.error)")
        return program
    }

    /// Runs the command with arguments.
    static func run(_ arguments: [String], environment: [String: String] = [:], input: String = "") throws -> Ended {
        try start(try command(), arguments, environment, input: input)
    }

    static func command() throws -> URL {
        let command = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
            .appendingPathComponent("martlet")
        guard FileManager.default.isExecutableFile(atPath: command.path) else {
            try Test.cancel("the command is not built beside the tests")
        }
        return command
    }

    static func start(
        _ program: URL, _ arguments: [String], _ environment: [String: String] = [:], input: String = ""
    ) throws -> Ended {
        let process = Process()
        // To files: a client that fills a pipe would wait for a reader.
        let files = [temporary(".in"), temporary(".out"), temporary(".err")]
        defer { for file in files { try? FileManager.default.removeItem(at: file) } }
        try Data(input.utf8).write(to: files[0])
        for file in files.dropFirst() { try Data().write(to: file) }
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = try FileHandle(forReadingFrom: files[0])
        process.standardOutput = try FileHandle(forWritingTo: files[1])
        process.standardError = try FileHandle(forWritingTo: files[2])
        try process.run()
        let watchdog = Watchdog(process: process.processIdentifier, minutes: 40)
        watchdog.begin()
        defer { watchdog.end() }
        process.waitUntilExit()
        let status = process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
        return Ended(
            status: status, output: String(decoding: try Data(contentsOf: files[1]), as: UTF8.self),
            error: String(decoding: try Data(contentsOf: files[2]), as: UTF8.self))
    }
}
