// The command: subcommands, exit status, and what goes to standard error.
//
// Exit status: 0 the guest powered off, 1 failed, 2 bad usage, 3 the guest crashed.

internal import ArgumentParser
internal import Glibc

@main
struct Martlet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract:
            "Boots Linux through the KVM interface, on /dev/kvm or on a hypervisor of its own, and runs other clients on it.",
        subcommands: [RunCommand.self, KVMCommand.self, InfoCommand.self])

    static func main() {
        StandardDescriptors.open()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let status as ExitStatus {
            Glibc.exit(status.rawValue)
        } catch {
            if exitCode(for: error) == .success {
                // Help that was asked for.
                print(fullMessage(for: error))
                Glibc.exit(ExitStatus.success.rawValue)
            }
            Diagnostics.error(message(for: error))
            Glibc.exit(ExitStatus.usage.rawValue)
        }
    }
}

/// How the program ends; thrown by subcommands that have said what there is to say.
enum ExitStatus: Int32, Error {
    case success = 0
    case failed = 1
    case usage = 2
    case guestCrashed = 3
}

/// Colour is for terminals whose user has not declined it (no-color.org).
enum Colour {
    static func isWanted(on descriptor: Int32) -> Bool {
        guard isatty(descriptor) == 1 else { return false }
        return unsafe getenv("NO_COLOR") == nil
    }
}

/// Lines on standard error.
enum Diagnostics {
    private static let isColoured = Colour.isWanted(on: STDERR_FILENO)

    /// What went wrong, in one line.
    static func error(_ text: String) { write("martlet: ", "31;1", oneLine(text)) }

    /// What is good to know.
    static func note(_ text: String) { write("martlet: ", "2", text) }

    private static func oneLine(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).joined(separator: " ")
    }

    private static func write(_ prefix: String, _ colour: String, _ text: String) {
        let line = isColoured ? "\u{1b}[\(colour)m\(prefix)\u{1b}[0m\(text)\n" : "\(prefix)\(text)\n"
        let bytes = Array(line.utf8)
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// Standard input, output and error, at least as descriptors that fail: otherwise the first file that is opened would
/// take their place.
enum StandardDescriptors {
    static func open() {
        // Read-only: reads are at their end, writes fail.
        while true {
            let descriptor = unsafe Glibc.open("/dev/null", O_RDONLY)
            guard descriptor <= STDERR_FILENO, descriptor >= 0 else {
                if descriptor >= 0 { close(descriptor) }
                return
            }
        }
    }
}
