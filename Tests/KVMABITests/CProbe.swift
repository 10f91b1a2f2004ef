// Asks the C compiler what <linux/kvm.h> says: a program is generated, compiled and run at test time.

import Foundation

/// A C program that prints names and numbers.
struct CProbe {
    private var lines: [String] = []

    /// Whether there is a C compiler.
    static let isAvailable = ["/usr/bin/cc", "/usr/local/bin/cc", "/usr/bin/clang"].contains {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    /// Prints an expression under a name.
    mutating func print(_ name: String, _ expression: String) {
        lines.append("printf(\"%s %llu\\n\", \"\(name)\", (unsigned long long)(\(expression)));")
    }

    /// Prints a macro's value if the header has it.
    mutating func printMacro(_ macro: String) {
        lines.append("#ifdef \(macro)")
        print(macro, macro)
        lines.append("#endif")
    }

    /// Compiles and runs the program: what it printed.
    func run() throws -> [String: UInt64] {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let source = directory.appendingPathComponent("probe.c")
        let program = directory.appendingPathComponent("probe")
        let text = """
            #include <stdio.h>
            #include <errno.h>
            #include <linux/kvm.h>
            int main(void) {
            \(lines.joined(separator: "\n"))
            return 0;
            }

            """
        try text.write(to: source, atomically: true, encoding: .utf8)
        _ = try CProbe.output(of: "cc", ["-o", program.path, source.path])
        var answers: [String: UInt64] = [:]
        for line in try CProbe.output(of: program.path, []).split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2 { answers[String(words[0])] = UInt64(words[1]) }
        }
        return answers
    }

    struct Failure: Error { let command: String }

    private static func output(of command: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command.hasPrefix("/") ? command : "/usr/bin/env")
        process.arguments = command.hasPrefix("/") ? arguments : [command] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(command: command) }
        return String(decoding: data, as: UTF8.self)
    }
}
