import Foundation
import TestLimits
import TestSupport
import Testing

/// The command on a terminal of its own: raw while the guest runs, and as it was however the run ends.
@Suite(.within(minutes: 20)) struct TerminalTests {
    /// A pseudo-terminal; both ends are open as long as the object lives.
    final class Pair {
        let master: FileHandle
        let slave: FileHandle

        init() throws {
            // Unlock the other end and ask for its number (ioctl_tty(2): TIOCSPTLCK, TIOCGPTN).
            let descriptor = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY)
            try #require(descriptor >= 0)
            master = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
            var unlocked: Int32 = 0
            var number: Int32 = 0
            try #require(unsafe ioctl(descriptor, 0x4004_5431, &unlocked) == 0)
            try #require(unsafe ioctl(descriptor, 0x8004_5430, &number) == 0)
            let other = unsafe open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
            try #require(other >= 0)
            slave = FileHandle(fileDescriptor: other, closeOnDealloc: true)
        }

        /// Whether keys come through as they are typed.
        var isRaw: Bool {
            var settings = termios()
            guard unsafe tcgetattr(slave.fileDescriptor, &settings) == 0 else { return false }
            return settings.c_lflag & UInt32(ICANON | ECHO | ISIG) == 0
        }
    }

    /// Starts a guest that says "up" and goes on for ever, and waits until it has.
    func start(on pair: Pair, code: [UInt8]) throws -> (process: Process, error: Pipe, kernel: TemporaryFile) {
        guard FileManager.default.isExecutableFile(atPath: CommandTests.command.path) else {
            try Test.cancel("the command is not built beside the tests")
        }
        let kernel = try TemporaryFile(GuestBuilder.elf(code))
        let process = Process()
        let (output, error) = (Pipe(), Pipe())
        process.executableURL = CommandTests.command
        process.arguments = ["run", "--kernel", kernel.path, "--memory", "8M", "--hypervisor", "software"]
        process.standardInput = pair.slave
        process.standardOutput = output
        process.standardError = error
        try process.runWithDefaultSignals()
        _ = try output.fileHandleForReading.read(upToCount: 1)
        return (process, error, kernel)
    }

    static let forever = GuestBuilder.say("up\n") + [0xeb, 0xfe]

    @Test func controlALeaves() throws {
        let pair = try Pair()
        let (process, _, _) = try start(on: pair, code: Self.forever)
        #expect(pair.isRaw)
        // More than any FIFO holds, from a guest that reads nothing.
        pair.master.write(Data(repeating: 0x61, count: 500) + Data([0x01, 0x78]))
        Watchdog(process: process.processIdentifier, minutes: 10).watch { process.waitUntilExit() }
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
        #expect(!pair.isRaw)
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP, SIGQUIT]) func signalsRestoreTheTerminal(signal: Int32) throws {
        let pair = try Pair()
        let (process, _, _) = try start(on: pair, code: Self.forever)
        #expect(pair.isRaw)
        kill(process.processIdentifier, signal)
        Watchdog(process: process.processIdentifier, minutes: 10).watch { process.waitUntilExit() }
        #expect(process.terminationReason == .exit && process.terminationStatus == 1)
        #expect(!pair.isRaw)
    }

    @Test(arguments: [SIGABRT, SIGILL, SIGFPE]) func crashesRestoreTheTerminal(signal: Int32) throws {
        let pair = try Pair()
        let (process, _, _) = try start(on: pair, code: Self.forever)
        #expect(pair.isRaw)
        kill(process.processIdentifier, signal)
        Watchdog(process: process.processIdentifier, minutes: 10).watch { process.waitUntilExit() }
        #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == signal)
        #expect(!pair.isRaw)
    }

    @Test func powerOffRestoresTheTerminal() throws {
        let pair = try Pair()
        let (process, _, _) = try start(
            on: pair, code: GuestBuilder.say("up\n") + GuestBuilder.powerOff + GuestBuilder.halt)
        Watchdog(process: process.processIdentifier, minutes: 10).watch { process.waitUntilExit() }
        #expect(process.terminationStatus == 0)
        #expect(!pair.isRaw)
    }
}
