import Foundation
import KVM
import TestLimits
import TestSupport
import Testing

/// The built command, run as a user runs it.
@Suite(.within(minutes: 20)) struct CommandTests {
    struct Ended {
        let status: Int32
        let output: String
        let error: String
        var lines: [Substring] { error.split(separator: "\n") }
    }

    /// The command lies beside the tests.
    static let command: URL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("martlet")

    func run(_ arguments: [String], input: String = "", output: FileHandle? = nil) throws -> Ended {
        guard FileManager.default.isExecutableFile(atPath: Self.command.path) else {
            try Test.cancel("the command is not built beside the tests")
        }
        let process = Process()
        let (standardInput, standardOutput, standardError) = (Pipe(), Pipe(), Pipe())
        process.executableURL = Self.command
        process.arguments = arguments
        process.standardInput = standardInput
        process.standardOutput = output ?? standardOutput
        process.standardError = standardError
        try process.run()
        let watchdog = Watchdog(process: process.processIdentifier, minutes: 40)
        watchdog.begin()
        defer { watchdog.end() }
        standardInput.fileHandleForWriting.write(Data(input.utf8))
        try standardInput.fileHandleForWriting.close()
        let text = output == nil ? standardOutput.fileHandleForReading.readDataToEndOfFile() : Data()
        let error = standardError.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationReason == .exit)
        return Ended(
            status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
            error: String(decoding: error, as: UTF8.self))
    }

    /// Arguments, the status, and what the one line says.
    static let refusals: [(String, Int32, String)] = [
        ("run", 2, "--kernel"),
        ("bogus", 2, "bogus"),
        ("run --kernel /nonexistent", 1, "/nonexistent: no such file"),
        ("run --kernel /tmp", 1, "not a regular file"),
        ("run --kernel /etc/passwd", 1, "not a kernel"),
        ("run --kernel /nonexistent --memory 0", 2, "--memory"),
        ("run --kernel /nonexistent --memory 1M", 2, "2M"),
        ("run --kernel /nonexistent --memory 5000001", 2, "page"),
        ("run --kernel /nonexistent --memory 1000000G", 1, "more than this host has"),
        ("run --kernel /nonexistent --memory 99999999999999999999", 2, "--memory"),
        ("run --kernel /nonexistent --memory -1", 2, "--memory"),
        ("run --kernel /nonexistent --memory M", 2, "--memory"),
        ("run --kernel /nonexistent --memory 1.5G", 2, "give for example"),
        ("run --kernel /nonexistent --cpus 0", 2, "--cpus"),
        ("run --kernel /nonexistent --cpus 100000", 2, "--cpus"),
        ("run --kernel /nonexistent --cpus x", 2, "--cpus"),
        ("run --kernel /nonexistent --hypervisor qemu", 2, "--hypervisor"),
        ("run --kernel /nonexistent --executor jit", 2, "--executor"),
        ("run --kernel /nonexistent --hypervisor kernel --executor translator", 2, "--executor"),
        ("kvm --hypervisor kernel --executor interpreter -- true", 2, "--executor"),
        ("run --kernel /nonexistent --symbols /etc/passwd", 2, "--perf-map"),
        ("info --bogus", 2, "--bogus"),
    ]

    @Test(arguments: refusals.indices) func refusesInOneLine(which: Int) throws {
        let (words, status, text) = Self.refusals[which]
        let ended = try run(words.split(separator: " ").map(String.init))
        #expect(ended.status == status, "\(words): \(ended.error)")
        #expect(ended.lines.count == 1, "\(words): \(ended.error)")
        #expect(ended.error.contains(text), "\(words): \(ended.error)")
        #expect(ended.output.isEmpty)
        #expect(!ended.error.contains("\u{1b}"), "colour is for terminals")
    }

    @Test func initrdAndMemoryAreChecked() throws {
        let kernel = try TemporaryFile(GuestBuilder.bzImage([0xf4], initSize: 0x400_0000))
        let small = try run(["run", "--kernel", kernel.path, "--memory", "16M", "--hypervisor", "software"])
        #expect(small.status == 1 && small.lines.count == 1 && small.error.contains("--memory"), "\(small.error)")
        let absent = try run(["run", "--kernel", kernel.path, "--initrd", "/nonexistent"])
        #expect(absent.status == 1 && absent.error.contains("/nonexistent"), "\(absent.error)")
        let empty = try TemporaryFile([])
        let none = try run(["run", "--kernel", kernel.path, "--initrd", empty.path])
        #expect(none.status == 1 && none.error.contains("empty"), "\(none.error)")
    }

    @Test func emptyPathsAreNamed() throws {
        for (arguments, option) in [(["--kernel", ""], "--kernel"), (["--kernel", "/k", "--initrd", ""], "--initrd")] {
            let ended = try run(["run"] + arguments)
            #expect(ended.status == 2 && ended.lines.count == 1, "\(ended.error)")
            #expect(ended.error.contains("\(option) is an empty path"), "\(ended.error)")
        }
    }

    /// Files of holes, larger than what can be read in a moment.
    @Test func enormousFilesAreRefusedByTheirBeginning() throws {
        let kernel = try TemporaryFile(GuestBuilder.bzImage([0xf4]))
        let huge = try TemporaryFile([])
        #expect(unsafe truncate(huge.path, 1 << 40) == 0)
        let none = try run(["run", "--kernel", huge.path])
        #expect(none.status == 1 && none.error.contains("not a kernel"), "\(none.error)")
        let initrd = try run(["run", "--kernel", kernel.path, "--initrd", huge.path, "--memory", "8M"])
        #expect(initrd.status == 1 && initrd.lines.count == 1, "\(initrd.error)")
        #expect(initrd.error.contains("have to lie below 2048 MiB"), "\(initrd.error)")
    }

    func runGuest(
        _ code: [UInt8], _ more: [String] = [], input: String = "", output: FileHandle? = nil
    ) throws -> Ended {
        let kernel = try TemporaryFile(GuestBuilder.elf(code))
        return try run(
            ["run", "--kernel", kernel.path, "--memory", "8M", "--hypervisor", "software"] + more, input: input,
            output: output)
    }

    @Test func powerOffIsStatus0() throws {
        let ended = try runGuest(GuestBuilder.say("done\n") + GuestBuilder.powerOff + GuestBuilder.halt)
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output == "done\n")
        #expect(ended.error.isEmpty)
    }

    @Test func countersAreShownWhereTheyAreWanted() throws {
        let ended = try runGuest(GuestBuilder.say("done\n") + GuestBuilder.powerOff + GuestBuilder.halt, ["--stats"])
        #expect(ended.status == 0 && ended.output == "done\n")
        #expect(ended.error.contains("vCPU 0: io_exits "), "\(ended.error)")
    }

    @Test func filesOfTheTranslatorsThatCannotBeWritten() throws {
        for more in [["--trace-blocks", "/nonexistent/file"], ["--perf-map", "--symbols", "/nonexistent"]] {
            let ended = try runGuest(GuestBuilder.halt, more)
            #expect(ended.status == 1 && ended.lines.count == 1, "\(ended.error)")
            #expect(ended.error.contains("/nonexistent"), "\(ended.error)")
        }
    }

    @Test func rebootIsStatus0WhenItIsNotWanted() throws {
        let ended = try runGuest(GuestBuilder.out(0x64, 0xfe) + GuestBuilder.halt, ["--no-reboot"])
        #expect(ended.status == 0, "\(ended.error)")
    }

    /// What a machine has not read when it resets is the next one's: each of these echoes one character, and resets unless
    /// it was an exclamation mark.
    @Test func inputOutlivesTheMachine() throws {
        // mov dx,3fdh; in al,dx; test al,1; jz start; mov dx,3f8h; in al,dx; out dx,al; cmp al,'!'; je off
        let echo: [UInt8] =
            [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7]
            + [0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x21, 0x74]
        let reset = GuestBuilder.out(0x64, 0xfe) + GuestBuilder.halt
        let setUp = GuestBuilder.out(0x3fb, 0x03) + GuestBuilder.out(0x3fa, 0x01)
        let ended = try runGuest(
            setUp + echo + [UInt8(reset.count)] + reset + GuestBuilder.powerOff + GuestBuilder.halt, input: "abcdefg!")
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output == "abcdefg!")
    }

    @Test func crashIsStatus3() throws {
        let ended = try runGuest(GuestBuilder.tripleFault)
        #expect(ended.status == 3)
        #expect(ended.error.contains("KVM_EXIT_SHUTDOWN") && ended.error.contains("rip="), "\(ended.error)")
        #expect(ended.error.contains("code at rip: "), "\(ended.error)")
    }

    @Test func fullDiskIsStatus1() throws {
        let full = try #require(FileHandle(forWritingAtPath: "/dev/full"))
        let endless = GuestBuilder.say("x") + [0xeb, UInt8(bitPattern: Int8(-(GuestBuilder.say("x").count + 2)))]
        let ended = try runGuest(endless, output: full)
        #expect(ended.status == 1)
        #expect(ended.lines.count == 1 && ended.error.contains("No space left"), "\(ended.error)")
    }

    @Test func infoNamesBothHypervisors() throws {
        let text = try run(["info"])
        #expect(text.status == 0)
        #expect(text.output.contains("auto takes") && text.output.contains("software"))
        let json = try run(["info", "--json"])
        let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
        let software = try #require(object?["software"] as? [String: Any])
        let executor = try #require(object?["executor"] as? [String: String])
        #expect(["interpreter", "translator"].contains(executor["executor"]) && executor["reason"]?.isEmpty == false)
        #expect(text.output.contains("the \(executor["executor"] ?? "-")"))
        #expect(object?["kernel"] != nil && object?["auto"] != nil)
        #expect(software["available"] as? Bool == true && software["version"] as? Int == 12)
    }

    /// A guest whose process was stopped is told so by its clock.
    @Test(arguments: [Hypervisor.kernel, .software])
    func aGuestThatWasStoppedIsToldSo(_ hypervisor: Hypervisor) throws {
        try MachineTests.require(hypervisor)
        guard FileManager.default.isExecutableFile(atPath: Self.command.path) else {
            try Test.cancel("the command is not built beside the tests")
        }
        // mov ecx, KVM_SYSTEM_TIME_NEW; mov eax, 200001h; xor edx, edx; wrmsr
        let clock: [UInt8] = [0xb9, 0x01, 0x4d, 0x56, 0x4b, 0xb8, 0x01, 0x00, 0x20, 0x00, 0x31, 0xd2, 0x0f, 0x30]
        // again: test byte [20001dh], PVCLOCK_GUEST_STOPPED; jz again
        let wait: [UInt8] = [0xf6, 0x04, 0x25, 0x1d, 0x00, 0x20, 0x00, 0x02, 0x74, 0xf6]
        let code = clock + GuestBuilder.say("up\n") + wait + GuestBuilder.say("told\n") + GuestBuilder.powerOff
        let kernel = try TemporaryFile(GuestBuilder.elf(code + GuestBuilder.halt))
        let process = Process()
        let output = Pipe()
        process.executableURL = Self.command
        process.arguments = [
            "run", "--kernel", kernel.path, "--memory", "8M", "--hypervisor", "\(hypervisor)",
        ]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        try process.run()
        defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        // It has its clock once it has said so.
        _ = try output.fileHandleForReading.read(upToCount: 1)
        kill(process.processIdentifier, SIGSTOP)
        kill(process.processIdentifier, SIGCONT)
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(text.hasSuffix("told\n"), "\(text)")
    }

    @Test func signalsEndItInOrder() throws {
        guard FileManager.default.isExecutableFile(atPath: Self.command.path) else {
            try Test.cancel("the command is not built beside the tests")
        }
        let kernel = try TemporaryFile(GuestBuilder.elf(GuestBuilder.say("up\n") + [0xeb, 0xfe]))
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let process = Process()
            let (output, error) = (Pipe(), Pipe())
            process.executableURL = Self.command
            process.arguments = ["run", "--kernel", kernel.path, "--memory", "8M", "--hypervisor", "software"]
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = output
            process.standardError = error
            try process.runWithDefaultSignals()
            let watchdog = Watchdog(process: process.processIdentifier, minutes: 40)
            watchdog.begin()
            defer { watchdog.end() }
            // The guest is running once it has said so.
            _ = try output.fileHandleForReading.read(upToCount: 1)
            kill(process.processIdentifier, signal)
            process.waitUntilExit()
            let text = String(decoding: error.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            #expect(process.terminationReason == .exit && process.terminationStatus == 1)
            #expect(text.split(separator: "\n").count == 1 && text.contains("SIG"), "\(text)")
        }
    }
}
