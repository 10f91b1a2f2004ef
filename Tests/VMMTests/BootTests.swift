import Foundation
import KVM
import TestLimits
import TestSupport
import Testing

@testable import VMM

/// Guests, as `scripts/fetch-guests all` and `scripts/fetch-guests long` put them into guests/.
enum Guests {
    static let directory: String = {
        var directory = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { directory.deleteLastPathComponent() }
        return directory.appendingPathComponent("guests").path
    }()

    static func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// Cancels the test, by name and with the reason, if a guest has not been fetched.
    static func require(_ names: String..., on hypervisor: Hypervisor = .software) throws {
        for name in names where !FileManager.default.isReadableFile(atPath: path(name)) {
            try Test.cancel("guests/\(name) is not there: run scripts/fetch-guests all, or long for make test-long")
        }
        guard hypervisor == .software else { return }
        #if DEBUG
            try Test.cancel("a debug build interprets too slowly to boot a kernel: run swift test -c release")
        #endif
    }
}

@Suite(.serialized, .within(minutes: 60)) struct BootTests {
    /// Boots to /init, which powers off, and looks at what the kernel said.
    private func boot(
        _ kernel: String, _ initrd: String = "initramfs", cpus: Int = 1, by wanted: BootProtocol? = nil,
        memorySize: UInt64 = 512 << 20, commandLine: String = "martlet.then=poweroff",
        executor: Hypervisor.Executor = .automatic
    ) async throws -> (outcome: MachineOutcome, text: String) {
        try Guests.require(kernel, initrd)
        let console = CapturedConsole()
        let machine = try Machine(
            MachineConfiguration(
                kernel: Guests.path(kernel), initrd: Guests.path(initrd),
                // A panic must end the test, not hang it.
                commandLine: "console=ttyS0 panic=-1 \(commandLine)", memorySize: memorySize, cpus: cpus,
                hypervisor: .software(executor: executor), bootProtocol: wanted),
            console: console, logger: .quiet)
        return (await machine.run(minutes: 40), console.text)
    }

    static func expectHealthy(_ text: String, cpus: Int, machine: String = "x86_64") {
        #expect(text.contains("Martlet guest: init reached, \(cpus) CPU(s) online, \(machine)"), "\(text.suffix(2000))")
        let troubles = LinuxConsole.troubles(in: text, also: ["WARNING:"])
        #expect(troubles.isEmpty, "\(troubles)")
    }

    @Test(arguments: [1, 2, 4], [Hypervisor.Executor.interpreter, .translator])
    func cloudKernelReachesInit(cpus: Int, executor: Hypervisor.Executor) async throws {
        do { _ = try executor.choose() } catch { try Test.cancel("\(error)") }
        let (outcome, text) = try await boot("vmlinuz", cpus: cpus, executor: executor)
        Self.expectHealthy(text, cpus: cpus)
        #expect(outcome.isPowerOff, "\(outcome)")
    }

    @Test(arguments: [BootProtocol.pvh, .elf]) func vmlinuxReachesInit(wanted: BootProtocol) async throws {
        let (outcome, text) = try await boot("vmlinux", by: wanted)
        Self.expectHealthy(text, cpus: 1)
        #expect(outcome.isPowerOff, "\(outcome)")
    }

    @Test func i686KernelReachesInit() async throws {
        let (outcome, text) = try await boot("vmlinuz-i686", "initramfs-i686", by: .linux32)
        Self.expectHealthy(text, cpus: 1, machine: "i686")
        #expect(outcome.isPowerOff, "\(outcome)")
    }

    /// The kernel counts all of the memory, less what lies below 1 MiB and is not RAM.
    @Test func memoryOf4GiBIsSeen() async throws {
        let size: UInt64 = 4 << 30
        if MachineConfiguration.hostMemory < size { try Test.cancel("the host has less than 4 GiB") }
        let (outcome, text) = try await boot(
            "vmlinuz", memorySize: size, commandLine: "martlet.then=poweroff cryptomgr.notests")
        BootTests.expectHealthy(text, cpus: 1)
        #expect(text.contains("[mem 0x0000000100000000-0x000000013fffffff] usable"), "\(text.prefix(2000))")
        let line = text.split(whereSeparator: \.isNewline).first { $0.contains("Memory: ") } ?? ""
        let total = line.split(separator: "/").dropFirst().first?.prefix { $0.isNumber }
        let kibibytes = try #require(total.flatMap { UInt64($0) }, "\(line)")
        #expect(kibibytes <= size >> 10 && kibibytes > size >> 10 - 1024, "\(line)")
        #expect(outcome.isPowerOff, "\(outcome)")
    }

    /// Linux's `reboot=` letters, and by which way the machine then sees the reset.
    @Test(arguments: [
        ("reboot=a", "port 0xCF9"), ("reboot=k", "keyboard controller"), ("reboot=p", "port 0xCF9"),
        ("reboot=t", "triple fault"),
    ])
    func reboots(word: String, source: String) async throws {
        let (outcome, text) = try await boot("vmlinuz", commandLine: "martlet.then=reboot \(word)")
        Self.expectHealthy(text, cpus: 1)
        #expect(outcome.resetSource == source, "\(outcome)")
    }

    /// The kernel's hypervisor gets as far as the kernel's first line, if it is here and fast enough.
    @Test(arguments: [BootProtocol.pvh, .elf]) func earlyConsoleOnTheKernelsHypervisor(wanted: BootProtocol)
        async throws
    {
        try Guests.require("vmlinux", on: .kernel)
        try MachineTests.require(.kernel)
        let console = CapturedConsole()
        let machine = try Machine(
            MachineConfiguration(
                kernel: Guests.path("vmlinux"), commandLine: "earlyprintk=serial,ttyS0,115200 nokaslr",
                memorySize: 512 << 20, hypervisor: .kernel, bootProtocol: wanted),
            console: console, logger: .quiet)
        console.expect(["Linux version"]) { machine.end(.left) }
        let outcome = await machine.run(minutes: 2)
        if case .left = outcome {
            #expect(console.text.contains("Linux version"))
        } else {
            try Test.cancel("/dev/kvm does not get to the kernel's first line: \(outcome)")
        }
    }

    /// A script at the shell's prompt: reboots, is back at a prompt, powers off.
    @Test func aScriptDrivesTheShell() throws {
        try Guests.require("vmlinuz", "initramfs")
        let process = Process()
        let (input, output, error) = (Pipe(), Pipe(), Pipe())
        process.executableURL = CommandTests.command
        process.arguments = [
            "run", "--kernel", Guests.path("vmlinuz"), "--initrd", Guests.path("initramfs"),
            "--hypervisor", "software", "--cmdline", "console=ttyS0 quiet panic=-1 cryptomgr.notests",
        ]
        process.standardInput = input
        process.standardOutput = output
        process.standardError = error
        try process.run()
        let watchdog = Watchdog(process: process.processIdentifier, minutes: 40)
        watchdog.begin()
        defer { watchdog.end() }
        var text = ""
        func waitFor(_ prompt: String) throws {
            var seen = ""
            while !seen.contains(prompt) {
                let piece = output.fileHandleForReading.availableData
                try #require(!piece.isEmpty, "the output ended: \(text)\(seen)")
                seen += String(decoding: piece, as: UTF8.self)
            }
            text += seen
        }
        for line in ["echo first $((6 * 7)); reboot -f", "echo second $((6 * 9)); poweroff -f"] {
            try waitFor("martlet# ")
            input.fileHandleForWriting.write(Data((line + "\n").utf8))
        }
        text += String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(text.contains("first 42") && text.contains("second 54"), "\(text)")
        #expect(error.fileHandleForReading.readDataToEndOfFile().isEmpty)
    }
}
