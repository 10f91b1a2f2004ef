// Turns a guest's source into bytes with nasm, at test time.

import Foundation

/// A guest's code, and where its labels are.
struct AssembledCode {
    let bytes: [UInt8]
    let labels: [String: UInt64]
}

enum Assembler {
    /// Whether nasm is there; tests that need it are skipped by name if not.
    static let isAvailable = ["/usr/bin/nasm", "/usr/local/bin/nasm"].contains {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    /// The folder of the guests that have a file of their own.
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Guests")

    struct Failure: Error { let messages: String }

    /// Assembles a flat binary; `prelude.inc` comes first.
    static func assemble(_ source: String) throws -> AssembledCode {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let map = directory.appendingPathComponent("map").path
        let input = directory.appendingPathComponent("guest.nasm")
        let output = directory.appendingPathComponent("guest.bin")
        try "[map symbols \(map)]\n%include \"prelude.inc\"\n\(source)\n".write(
            to: input, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["nasm", "-w-all", "-f", "bin", "-I", folder.path + "/", "-o", output.path, input.path]
        let pipe = Pipe()
        process.standardError = pipe
        try process.run()
        let messages = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(messages: messages) }
        var labels: [String: UInt64] = [:]
        for line in try String(contentsOfFile: map, encoding: .utf8).split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 3, let address = UInt64(words[0], radix: 16) { labels[String(words[2])] = address }
        }
        return AssembledCode(bytes: [UInt8](try Data(contentsOf: output)), labels: labels)
    }
}
