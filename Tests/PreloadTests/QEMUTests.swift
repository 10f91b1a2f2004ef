import Foundation
import Glibc
import TestLimits
import TestSupport
import Testing

/// QEMU, as Debian has it, on the software hypervisor: a client that nobody here wrote.
@Suite(.enabled(if: QEMU.isThere, "no qemu-system-x86_64 on this machine"), .serialized, .within(minutes: 30, long: 60))
struct QEMUTests {
    /// All that QEMU asks a hypervisor before a guest runs.
    @Test(arguments: ["on", "split", "off"]) func startsUp(_ chips: String) throws {
        let questions = ["qmp_capabilities", "query-status", "query-kvm", "quit"].map { #"{"execute":"\#($0)"}"# }
        let ended = try QEMU.run(
            ["-machine", "pc,kernel-irqchip=\(chips)", "-S", "-m", "128", "-qmp", "stdio"],
            input: questions.joined(separator: "\n"))
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output.contains(#""status": "prelaunch""#))
        #expect(ended.output.contains(#"{"enabled": true, "present": true}"#))
    }

    /// SeaBIOS finds nothing to boot from, says so, and resets the machine.
    @Test(arguments: ["on", "split", "off"]) func runsSeaBIOS(_ chips: String) throws {
        let ended = try QEMU.run([
            "-machine", "pc,kernel-irqchip=\(chips)", "-m", "64", "-debugcon", "stdio", "-global",
            "isa-debugcon.iobase=0x402", "-no-reboot", "-boot", "reboot-timeout=100",
        ])
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output.contains("No bootable device.") && ended.output.contains("Attempting a hard reboot"))
    }

    /// Debian's kernel on two processors, in QEMU's machine, to its shell.
    @Test(.enabled(if: QEMU.guest("vmlinuz") != nil, "no guests: run scripts/fetch-guests"))
    func bootsLinux() throws {
        let kernel = try #require(QEMU.guest("vmlinuz")), disk = try #require(QEMU.guest("initramfs"))
        let output = try QEMU.run(
            [
                "-cpu", "max", "-smp", "2", "-m", "512", "-kernel", kernel, "-initrd", disk, "-append",
                "console=ttyS0 panic=-1", "-no-reboot", "-serial", "stdio",
            ], until: "martlet# ")
        #expect(output.contains("init reached, 2 CPU(s) online"))
        #expect(LinuxConsole.troubles(in: output) == [])
    }

    /// QEMU's models of processors of both vendors: each has Linux choose other ways.
    @Test(.enabled(if: QEMU.isLong, "long: MARTLET_LONG_TESTS=1"), arguments: QEMU.models)
    func linuxBootsOnEveryModel(_ model: QEMU.Model) throws {
        guard let kernel = QEMU.guest(model.kernel), let disk = QEMU.guest(model.disk) else {
            try Test.cancel("no guests: run scripts/fetch-guests long")
        }
        let ended = try QEMU.run([
            "-cpu", model.name, "-smp", "\(model.cpus)", "-m", "512", "-kernel", kernel, "-initrd", disk, "-append",
            "console=ttyS0 panic=-1 martlet.then=poweroff", "-no-reboot", "-serial", "stdio",
        ])
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output.contains("init reached, \(model.cpus) CPU(s) online"))
        #expect(ended.output.contains("reboot: Power down"))
        #expect(LinuxConsole.troubles(in: ended.output) == [])
    }

    /// Debian's kernels for i686 say in real mode what a processor lacks for them.
    @Test(
        .enabled(if: QEMU.guest("vmlinuz-i686") != nil, "no guests: run scripts/fetch-guests all"),
        arguments: [("486", "requires an i586 CPU, but only detected an i486 CPU"), ("pentium", "cmov")])
    func linuxWantsMore(_ model: String, reason: String) throws {
        let kernel = try #require(QEMU.guest("vmlinuz-i686"))
        let output = try QEMU.run(
            ["-cpu", model, "-m", "128", "-kernel", kernel, "-append", "earlyprintk=ttyS0,115200", "-serial", "stdio"],
            until: "Unable to boot")
        #expect(output.contains(reason))
    }

    @Test(.enabled(if: QEMU.isLong, "long: MARTLET_LONG_TESTS=1"), .enabled(if: QEMU.firmware != nil, "no OVMF"))
    func runsOVMFToItsShell() throws {
        let firmware = try #require(QEMU.firmware)
        let drive = "if=pflash,format=raw,readonly=on,file=\(firmware)"
        let output = try QEMU.run(
            ["-machine", "q35", "-m", "256", "-drive", drive, "-serial", "stdio"], until: "Shell> ")
        #expect(output.contains("UEFI Interactive Shell"))
    }

    @Test(.enabled(if: QEMU.isLong, "long: MARTLET_LONG_TESTS=1"), .enabled(if: QEMU.makesGRUB, "no grub-mkrescue"))
    func runsGRUBToItsMenu() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let grub = folder.appendingPathComponent("tree/boot/grub")
        try FileManager.default.createDirectory(at: grub, withIntermediateDirectories: true)
        try Data(QEMU.menu.utf8).write(to: grub.appendingPathComponent("grub.cfg"))
        let image = folder.appendingPathComponent("grub.iso")
        let made = try Client.start(
            URL(fileURLWithPath: "/usr/bin/grub-mkrescue"),
            ["-o", image.path, folder.appendingPathComponent("tree").path])
        try #require(made.status == 0, "\(made.error)")
        let ended = try QEMU.run(["-m", "128", "-cdrom", image.path, "-boot", "d", "-serial", "stdio", "-no-reboot"])
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output.contains("GNU GRUB") && ended.output.contains("Martlet witness"))
        #expect(ended.output.contains("chosen"))
    }
}

/// QEMU under the command.
enum QEMU {
    static let isThere = FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-system-x86_64")
    static let makesGRUB = FileManager.default.isExecutableFile(atPath: "/usr/bin/grub-mkrescue")
    static let isLong = ProcessInfo.processInfo.environment["MARTLET_LONG_TESTS"] != nil
    static let firmware = ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"].first {
        FileManager.default.isReadableFile(atPath: $0)
    }

    /// A model of QEMU's and the guest that it can run.
    struct Model: CustomTestStringConvertible {
        enum Guest { case amd64, i686, i686PAE }

        /// As `-cpu` takes it; the vendor is the host's unless it is said.
        var name: String
        var guest = Guest.amd64
        var cpus = 2
        var testDescription: String { name }

        static func amd(_ name: String) -> Model { Model(name: "\(name),vendor=AuthenticAMD") }

        static func intel(_ name: String, _ guest: Guest = .amd64) -> Model {
            Model(name: "\(name),vendor=GenuineIntel", guest: guest)
        }

        var kernel: String {
            switch guest {
            case .amd64: "vmlinuz"
            case .i686: "vmlinuz-i686"
            case .i686PAE: "vmlinuz-686-pae"
            }
        }
        var disk: String { guest == .amd64 ? "initramfs" : "initramfs-i686" }
    }

    static let models: [Model] =
        [Model(name: "host"), Model(name: "qemu64"), Model(name: "kvm32", guest: .i686PAE)]
        + ["phenom", "Opteron_G1", "Opteron_G5", "EPYC", "EPYC-Milan"].map { .amd($0) }
        + ["core2duo", "Conroe", "Nehalem", "SandyBridge", "Haswell-noTSX", "Skylake-Client", "Icelake-Server"].map {
            .intel($0)
        }
        + ["pentium2", "pentium3"].map { .intel($0, .i686) } + ["coreduo", "n270"].map { .intel($0, .i686PAE) }
        // AMD's family 6 was not made for two, and Linux warns of it.
        + ["athlon", "qemu32"].map { Model(name: "\($0),vendor=AuthenticAMD", guest: .i686, cpus: 1) }

    static let menu = """
        serial --unit=0
        terminal_input serial
        terminal_output serial
        set timeout=1
        menuentry 'Martlet witness' { echo 'chosen'; halt; }

        """

    /// A fetched guest, by its name.
    static func guest(_ name: String) -> String? {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("guests/\(name)").path
        return FileManager.default.isReadableFile(atPath: path) ? path : nil
    }

    private static func arguments(_ more: [String]) -> [String] {
        ["kvm"] + TestExecutor.options + [
            "--", "qemu-system-x86_64", "-accel", "kvm", "-display", "none", "-monitor", "none", "-net", "none",
        ]
            + more
    }

    static func run(_ more: [String], input: String = "") throws -> Client.Ended {
        try Client.run(arguments(more), input: input)
    }

    /// Runs until the output has a text, and ends it there.
    static func run(_ more: [String], until text: String) throws -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = try Client.command()
        process.arguments = arguments(more)
        process.standardInput = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let watchdog = Watchdog(process: process.processIdentifier, minutes: 40)
        watchdog.begin()
        defer { watchdog.end() }
        var seen = ""
        while !seen.contains(text) {
            let part = output.fileHandleForReading.availableData
            if part.isEmpty { break }
            seen += String(decoding: part, as: UTF8.self)
        }
        // Whoever started it may have SIGTERM blocked, and so has QEMU then.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        #expect(seen.contains(text), "it ended before")
        return seen
    }
}
