// Guests that check the processor they run on, and that nobody here wrote: other kernels of Debian's, memtest86+, Linux's own
// self-tests, openssl and stress-ng. `make test-long` runs all of it; each takes minutes.

import Foundation
import KVM
import TestLimits
import TestSupport
import Testing
import VMM

@Suite(.serialized, .within(minutes: 20, long: 130)) struct WitnessTests {
    /// Cancels the test, by name and with the reason, unless the heavy ones are asked for.
    private func requireLongTests() throws {
        if ProcessInfo.processInfo.environment["MARTLET_LONG_TESTS"] == nil {
            try Test.cancel("it takes minutes: run make test-long")
        }
    }

    private func run(
        _ kernel: String, _ initrd: String? = nil, memory: UInt64 = 512 << 20, cpus: Int = 1,
        by wanted: BootProtocol? = nil,
        _ commandLine: String, minutes: Int = 60, until signs: [String] = []
    ) async throws -> (outcome: MachineOutcome, text: String) {
        let console = CapturedConsole()
        let machine = try Machine(
            MachineConfiguration(
                kernel: Guests.path(kernel), initrd: initrd.map { Guests.path($0) }, commandLine: commandLine,
                memorySize: memory, cpus: cpus, hypervisor: .software, bootProtocol: wanted),
            console: console, logger: .quiet)
        if !signs.isEmpty { console.expect(signs) { machine.end(.left) } }
        return (await machine.run(minutes: minutes), console.text)
    }

    // MARK: Kernels

    @Test(arguments: [
        ("vmlinuz-amd64", "initramfs", 1, "x86_64"), ("vmlinuz-amd64", "initramfs", 4, "x86_64"),
        ("vmlinuz-686-pae", "initramfs-i686", 1, "i686"), ("vmlinuz-686-pae", "initramfs-i686", 2, "i686"),
    ])
    func kernelReachesInit(kernel: String, initrd: String, cpus: Int, machine: String) async throws {
        try requireLongTests()
        try Guests.require(kernel, initrd)
        let (outcome, text) = try await run(
            kernel, initrd, cpus: cpus, "console=ttyS0 panic=-1 martlet.then=poweroff")
        BootTests.expectHealthy(text, cpus: cpus, machine: machine)
        #expect(outcome.isPowerOff, "\(outcome)")
    }

    // MARK: memtest86+

    /// One pass over 8 MiB, by the 64-bit and the 32-bit program, each by the entry that it has, and by several vCPUs.
    @Test(arguments: [
        ("memtest86+x64.bin", BootProtocol.linux64, 1), ("memtest86+x64.bin", .linux32, 4),
        ("memtest86+ia32.bin", .linux32, 2),
    ])
    func memtestFindsNoError(program: String, wanted: BootProtocol, cpus: Int) async throws {
        try requireLongTests()
        try Guests.require(program)
        let (outcome, text) = try await run(
            program, memory: 8 << 20, cpus: cpus, by: wanted, "console=ttyS0,115200 nopause nobench",
            until: ["Pass:  1 ", "Errors: ", "\u{1b}"])
        guard case .left = outcome else {
            Issue.record("no pass: \(outcome), \(text.suffix(500))")
            return
        }
        let errors = text.components(separatedBy: "Errors: ").dropFirst().map { $0.prefix { $0.isNumber } }
        #expect(!errors.isEmpty)
        #expect(errors.allSatisfy { $0 == "0" }, "\(Set(errors))")
    }

    // MARK: Checks under Linux

    private func check(_ name: String, cpus: Int, _ more: String = "") async throws -> String {
        try requireLongTests()
        try Guests.require("vmlinuz-amd64", "initramfs-witness")
        let (outcome, text) = try await run(
            "vmlinuz-amd64", "initramfs-witness", memory: 1 << 30, cpus: cpus,
            "console=ttyS0 panic=-1 martlet.then=witness-\(name) \(more)", minutes: 120)
        BootTests.expectHealthy(text, cpus: cpus)
        #expect(outcome.isPowerOff, "\(outcome)")
        let lines = text.split(whereSeparator: \.isNewline).filter { $0.contains("witness:") }
        #expect(text.contains("witness: \(name) passed"), "\(lines)")
        print("witness \(name) with \(cpus) vCPU(s): \(lines)")
        return text
    }

    /// Linux's modules of tests, and the self-tests of every cryptographic algorithm that Debian builds.
    @Test(arguments: [1, 4]) func linuxTestsItself(cpus: Int) async throws {
        _ = try await check("modules", cpus: cpus)
    }

    /// Published vectors, and long inputs on which the guest and the host must agree.
    @Test func opensslComputesWhatTheHostDoes() async throws {
        let text = try await check("openssl", cpus: 2, "cryptomgr.notests")
        let guest = text.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("paths: ") }.map(String.init)
        #expect(guest == (try OpenSSLOnTheHost.paths()))
        #expect(guest.count > 20)
    }

    /// Its stressors of RDRAND, RDTSC and SYSCALL are for Intel's processors alone.
    @Test func stressVerifiesOnOne() async throws { try await stress(cpus: 1) }
    @Test func stressVerifiesOnFour() async throws { try await stress(cpus: 4) }

    private func stress(cpus: Int) async throws {
        let text = try await check("stress", cpus: cpus, "cryptomgr.notests martlet.for=10")
        let left = text.split(whereSeparator: \.isNewline).compactMap { line in
            line.components(separatedBy: "witness: left out: ").dropFirst().first?.prefix { $0 != ":" }
        }
        #expect(Set(left).isSubset(of: ["rdrand", "tsc", "x86syscall"]), "\(left)")
    }
}

/// The guest's own openssl, run by the host's processor.
private enum OpenSSLOnTheHost {
    static func paths() throws -> [String] {
        let root = Guests.path(".work/root-witness")
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = [Guests.path("../scripts/guest-witness"), "paths"]
        let libraries = "\(root)/usr/lib/x86_64-linux-gnu:\(root)/lib/x86_64-linux-gnu"
        process.environment = [
            "PATH": "/usr/bin:/bin", "TMPDIR": directory.path, "OPENSSL_CONF": "/dev/null",
            "OPENSSL": "\(root)/lib64/ld-linux-x86-64.so.2 --library-path \(libraries) \(root)/usr/bin/openssl",
        ]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let watchdog = Watchdog(process: process.processIdentifier, minutes: 40)
        watchdog.begin()
        defer { watchdog.end() }
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return text.split(whereSeparator: \.isNewline).map(String.init)
    }
}
