import Foundation

/// `nasm`'s opinion of source text.
enum Nasm {
    static let path = "/usr/bin/nasm"
    static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: path) }

    struct Refused: Error { var message: String }

    /// The bytes of a source, which is assembled as it stands.
    static func assemble(_ source: String) throws -> [UInt8] {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("nasm-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let input = folder.appendingPathComponent("code.asm"), output = folder.appendingPathComponent("code")
        try source.write(to: input, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = ["-w-all", "-f", "bin", "-o", output.path, input.path]
        let pipe = Pipe()
        process.standardError = pipe
        try process.run()
        let message = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Refused(message: String(decoding: message.prefix(2000), as: UTF8.self))
        }
        return [UInt8](try Data(contentsOf: output))
    }

    /// The bytes of each line by itself, as code of so many bits.
    static func assemble(lines: [String], bits: Int = 64) throws -> [ArraySlice<UInt8>] {
        // Each in a slot of 32 bytes: its length, and then itself.
        var source = "bits \(bits)\n"
        for (number, line) in lines.enumerated() {
            source += "db end\(number) - start\(number)\nstart\(number):\n\(line)\nend\(number):\n"
            source += "times (32 - ($ - $$) % 32) % 32 db 0\n"
        }
        let bytes = try assemble(source)
        return lines.indices.map { bytes[($0 * 32 + 1)...].prefix(Int(bytes[$0 * 32])) }
    }
}
