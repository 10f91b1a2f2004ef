import Foundation
import TestLimits
import Testing

/// Clients in C, written against <linux/kvm.h> alone: what each prints stands at its end, whoever answers it.
@Suite(.enabled(if: Client.compiler != nil, "no C compiler (cc) on this machine"), .within(minutes: 20))
struct ClientTests {
    @Test(arguments: Client.all) func onTheSoftwareHypervisor(_ client: Client) throws {
        let ended = try client.run(on: "software")
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output == client.expected)
    }

    /// The kernel's hypervisor judges the clients. What its own emulator gives up on is skipped.
    @Test(
        .enabled(if: FileManager.default.isWritableFile(atPath: "/dev/kvm"), "/dev/kvm can't be opened"),
        arguments: Client.all)
    func onTheKernelsHypervisor(_ client: Client) throws {
        let ended = try client.run(on: "kernel")
        if ended.status == 77 { try Test.cancel("\(client.name): this kernel gives up: \(ended.error)") }
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output == client.expected)
    }

    /// Clients of the interface of October 2006, written from its layouts alone.
    @Test(arguments: Client.first) func ofTheFirstInterface(_ client: Client) throws {
        let ended = try client.run(on: "software", ["--abi", "2006"])
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output == client.expected)
    }

    /// Debian's kernel, booted by a client of 2006, says its first line.
    @Test(.enabled(if: QEMU.guest("vmlinuz") != nil, "no guests: run scripts/fetch-guests"))
    func theFirstInterfaceBootsLinux() throws {
        let kernel = try #require(QEMU.guest("vmlinuz"))
        let boot = Client(name: "linux", source: Client.folder("FirstClients/Boot/linux.c"), expected: "")
        let ended = try boot.run(on: "software", ["--abi", "2006"], arguments: [kernel])
        #expect(ended.status == 0, "\(ended.error)")
        #expect(ended.output.contains("] Linux version "))
    }

    /// Each request of a conversation, by name, with its arguments, its answer and its time.
    @Test func theConversationIsLogged() throws {
        let log = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString).log")
        defer { try? FileManager.default.removeItem(at: log) }
        let client = try #require(Client.all.first { $0.name == "hello" })
        #expect(try client.run(on: "software", environment: ["MARTLET_LOG": log.path]).status == 0)
        let lines = try String(contentsOf: log, encoding: .utf8).split(separator: "\n")
        let wanted = [
            "open /dev/kvm = ", "KVM_GET_API_VERSION() = 12 ", "KVM_CREATE_VM() = ",
            "KVM_SET_USER_MEMORY_REGION({memory_size=0x10000 userspace_addr=0x",
            "KVM_SET_REGS({rsp=0x4000 rip=0x1000 rflags=2}) = 0 ",
            "KVM_RUN() = 0 KVM_EXIT_IO {direction=1 size=1 port=0x3f8 count=1 data_offset=0x1000} ",
            "KVM_RUN() = 0 KVM_EXIT_HLT ",
        ]
        for text in wanted { #expect(lines.contains { $0.contains(text) }, "\(text) is not in the log") }
        // That the small machine could not run first would be a line that ends otherwise.
        #expect(lines.allSatisfy { $0.hasSuffix("µs>") })
    }

    /// A log that can't be written is said to end, once; the client goes on.
    @Test(arguments: ["software", "kernel"]) func aLogThatEndsSaysSo(_ hypervisor: String) throws {
        if hypervisor == "kernel", !FileManager.default.isWritableFile(atPath: "/dev/kvm") {
            try Test.cancel("/dev/kvm can't be opened")
        }
        let client = try #require(Client.all.first { $0.name == "hello" })
        let ended = try client.run(on: hypervisor, environment: ["MARTLET_LOG": "/dev/full"])
        #expect(ended.status == 0 && ended.output == client.expected)
        #expect(ended.error.contains("MARTLET_LOG=/dev/full: No space left on device; the log ends here"))
        #expect(ended.error.split(separator: "\n").count == 1, "\(ended.error)")
    }
}

/// A client that does everything wrong is refused, and lives; so does the library in its process.
@Suite(.enabled(if: Client.compiler != nil, "no C compiler (cc) on this machine"), .within(minutes: 20))
struct PreloadedHostileClientTests {
    /// MARTLET_LONG_TESTS gives the seconds to go on for, MARTLET_SEED where to begin.
    @Test func anyClientLives() throws {
        let environment = ProcessInfo.processInfo.environment
        let client = try #require(Client.all(in: "HostileClients").first)
        let arguments = [environment["MARTLET_LONG_TESTS"] ?? "0", environment["MARTLET_SEED"] ?? "1"]
        let ended = try client.run(on: "software", arguments: arguments)
        #expect(ended.status == 0, "\(ended.output) \(ended.error)")
        #expect(ended.output == client.expected)
        print("preloaded hostile client: \(ended.error)")
    }
}

/// The linker hides what exports.map does not name.
@Test(.within(minutes: 20)) func everyFunctionThatStandsBeforeTheCLibrarysIsExported() throws {
    let folder = Client.folder("../../Sources/Preload").standardized
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
    let text = try files.filter { $0.pathExtension == "swift" }.map { try String(contentsOf: $0, encoding: .utf8) }
        .joined()
    let defined = Set(text.matches(of: /@c\((\w+)\)/).map { String($0.1) })
    let map = try String(contentsOf: folder.appendingPathComponent("exports.map"), encoding: .utf8)
    let exported = Set(map.matches(of: /(\w+);/).map { String($0.1) })
    #expect(!defined.isEmpty)
    #expect(defined == exported)
}

/// The command's own part.
@Suite(.within(minutes: 20)) struct KVMCommandTests {
    @Test func theStatusIsTheCommands() throws {
        #expect(try Client.run(["kvm", "--", "sh", "-c", "exit 7"]).status == 7)
        #expect(try Client.run(["kvm", "--", "sh", "-c", "echo $MARTLET_HYPERVISOR"]).output == "software\n")
    }

    @Test(
        arguments: [
            (["kvm"], 2, "command"), (["kvm", "--"], 2, "command"), (["kvm", "--bogus", "--", "true"], 2, "--bogus"),
            (["kvm", "--", "/nonexistent"], 1, "/nonexistent: No such file"),
            (["kvm", "--", "no-such-command"], 1, "not found in PATH"),
            (["kvm", "--", "/etc/passwd"], 1, "not an executable"),
        ] as [([String], Int32, String)])
    func refusals(_ arguments: [String], _ status: Int32, _ text: String) throws {
        let ended = try Client.run(arguments)
        #expect(ended.status == status)
        #expect(ended.error.contains(text), "\(ended.error)")
        #expect(ended.error.split(separator: "\n").count == 1)
    }

    @Test(.enabled(if: Client.compiler != nil, "no C compiler (cc) on this machine"))
    func staticProgramsAreRefused() throws {
        let program = try Client.compile("int main(void) { return 0; }", options: ["-static"])
        defer { try? FileManager.default.removeItem(at: program) }
        let ended = try Client.run(["kvm", "--", program.path])
        #expect(ended.status == 1 && ended.error.contains("linked statically"), "\(ended.error)")
        // Half a program, and one for another processor.
        var bytes = [UInt8](try Data(contentsOf: program))
        try Data(bytes.prefix(40)).write(to: program)
        #expect(try Client.run(["kvm", "--", program.path]).status == 1)
        bytes[18] = 183
        try Data(bytes).write(to: program)
        #expect(try Client.run(["kvm", "--", program.path]).error.contains("another processor"))
    }
}
