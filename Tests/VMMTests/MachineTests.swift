import KVM
import Logging
import TestLimits
import Testing

@testable import VMM

/// Small guests that are made by hand, on every hypervisor that is here.
@Suite(.within(minutes: 20)) struct MachineTests {
    static func require(_ hypervisor: Hypervisor) throws {
        do { _ = try System(hypervisor) } catch {
            try Test.cancel("the \(hypervisor) hypervisor is not here: \(error)")
        }
    }

    func run(
        _ file: [UInt8], on hypervisor: Hypervisor, commandLine: String = "", memorySize: UInt64 = 8 << 20,
        cpus: Int = 1, typing: String = "", by wanted: BootProtocol? = nil
    ) throws -> (outcome: MachineOutcome, text: String) {
        try Self.require(hypervisor)
        let kernel = try TemporaryFile(file)
        let console = CapturedConsole(typing: typing)
        let machine = try Machine(
            MachineConfiguration(
                kernel: kernel.path, commandLine: commandLine, memorySize: memorySize, cpus: cpus,
                hypervisor: hypervisor, bootProtocol: wanted),
            console: console, logger: .quiet)
        let outcome = machine.run()
        return (outcome, console.text)
    }

    @Test(arguments: [Hypervisor.kernel, .software], [BootProtocol.linux64, .linux32, .pvh, .elf])
    func eachProtocolSaysHelloAndPowersOff(hypervisor: Hypervisor, wanted: BootProtocol) throws {
        let code = GuestBuilder.say("hello\n") + GuestBuilder.powerOff + GuestBuilder.halt
        let file =
            switch wanted {
            case .linux64: GuestBuilder.bzImage(GuestBuilder.halt, code64: code)
            case .linux32: GuestBuilder.bzImage(code)
            case .pvh: GuestBuilder.elf(code, pvhEntry: 0x10_0000)
            case .elf: GuestBuilder.elf(code)
            }
        let (outcome, text) = try run(file, on: hypervisor, by: wanted)
        #expect(outcome.isPowerOff, "\(outcome)")
        #expect(text == "hello\n")
    }

    /// The way and the bytes that ask for it.
    static let resets: [(String, [UInt8])] = [
        ("keyboard controller", GuestBuilder.out(0x64, 0xfe)),
        ("port 0xCF9", GuestBuilder.out(0xcf9, 0x06)),
    ]

    @Test(arguments: [Hypervisor.kernel, .software], 0..<2)
    func resets(hypervisor: Hypervisor, which: Int) throws {
        let (name, code) = Self.resets[which]
        let (outcome, _) = try run(GuestBuilder.elf(code + GuestBuilder.halt), on: hypervisor)
        #expect(outcome.resetSource == name, "\(outcome)")
    }

    @Test(arguments: [Hypervisor.kernel, .software])
    func tripleFaultIsACrashUnlessItWasAnnounced(hypervisor: Hypervisor) throws {
        let (outcome, _) = try run(GuestBuilder.elf(GuestBuilder.tripleFault), on: hypervisor)
        let report = try #require(outcome.crash, "\(outcome)")
        #expect(report.cause.contains("KVM_EXIT_SHUTDOWN"))
        #expect(report.details.contains { $0.hasPrefix("rip=") })

        let (byWord, _) = try run(
            GuestBuilder.elf(GuestBuilder.tripleFault), on: hypervisor, commandLine: "console=ttyS0 reboot=t")
        #expect(byWord.resetSource == "triple fault", "\(byWord)")

        // mov word [0x472], 0, with an absolute address in 64-bit mode
        let announce: [UInt8] = [0x66, 0xc7, 0x04, 0x25, 0x72, 0x04, 0x00, 0x00, 0x00, 0x00]
        let (byFlag, _) = try run(GuestBuilder.elf(announce + GuestBuilder.tripleFault), on: hypervisor)
        #expect(byFlag.resetSource == "triple fault", "\(byFlag)")
    }

    /// Polls LSR for a character, sends it back, and goes on after '!':
    /// mov dx,3fdh; in al,dx; test al,1; jz start; mov dx,3f8h; in al,dx; out dx,al; cmp al,'!'; jne start
    static let echo: [UInt8] =
        [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7]
        + [0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x21, 0x75, 0xed]

    @Test(arguments: [Hypervisor.kernel, .software])
    func readsItsSerialPort(hypervisor: Hypervisor) throws {
        let (outcome, text) = try run(
            GuestBuilder.elf(GuestBuilder.out(0x3fb, 0x03) + Self.echo + GuestBuilder.powerOff + GuestBuilder.halt),
            on: hypervisor, typing: "typed!")
        #expect(outcome.isPowerOff, "\(outcome)")
        #expect(text == "typed!")
    }

    @Test(arguments: [Hypervisor.kernel, .software])
    func losesNoInputToItsDriver(hypervisor: Hypervisor) throws {
        // Interrupts on, then a thousand resets of the FIFO; then it polls.
        // mov ecx,1000; mov dx,3fah; mov al,7; out dx,al; dec ecx; jnz
        let resets: [UInt8] =
            [0xb9, 0xe8, 0x03, 0x00, 0x00, 0x66, 0xba, 0xfa, 0x03, 0xb0, 0x07, 0xee, 0xff, 0xc9, 0x75, 0xf5]
        let setUp = [(UInt16(0x3fb), UInt8(0x03)), (0x3fc, 0x0b), (0x3f9, 0x01)].flatMap {
            GuestBuilder.out($0.0, $0.1)
        }
        let text = "a line that was there before the guest!"
        let (outcome, echo) = try run(
            GuestBuilder.elf(setUp + resets + Self.echo + GuestBuilder.powerOff + GuestBuilder.halt),
            on: hypervisor, typing: text)
        #expect(outcome.isPowerOff, "\(outcome)")
        #expect(echo == text)
    }

    @Test(arguments: [Hypervisor.kernel, .software])
    func unclaimedAddressesReadAllOnes(hypervisor: Hypervisor) throws {
        // mov eax,[0xd0000000]; mov dx,3f8h; out dx,al; then the same from port 0x2e8.
        let code: [UInt8] =
            [0xb8, 0x00, 0x00, 0x00, 0xd0, 0x8b, 0x00, 0x66, 0xba, 0xf8, 0x03, 0xee]
            + [0x66, 0xba, 0xe8, 0x02, 0xec, 0x66, 0xba, 0xf8, 0x03, 0xee]
        let (outcome, text) = try run(
            GuestBuilder.elf(GuestBuilder.out(0x3fb, 0x03) + code + GuestBuilder.powerOff + GuestBuilder.halt),
            on: hypervisor)
        #expect(outcome.isPowerOff, "\(outcome)")
        #expect(text.unicodeScalars.count == 2)
    }

    @Test(arguments: [Hypervisor.kernel, .software])
    func memoryGoesOnAbove4GiB(hypervisor: Hypervisor) throws {
        // 2 MiB of it: its first and last word hold what is written, are not memory at 0, and nothing lies behind them.
        let size: UInt64 = 3 << 30 + 2 << 20
        if MachineConfiguration.hostMemory < size { try Test.cancel("the host has less than 3 GiB") }
        let code: [UInt8] = [
            0xc7, 0x04, 0x25, 0x00, 0x00, 0x03, 0x00, 0x83, 0x00, 0x00, 0x00,  // mov dword [0x30000],0x83
            0xc7, 0x04, 0x25, 0x04, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00,  // mov dword [0x30004],0x1
            0xc7, 0x04, 0x25, 0x08, 0x00, 0x03, 0x00, 0x83, 0x00, 0x20, 0x00,  // mov dword [0x30008],0x200083
            0xc7, 0x04, 0x25, 0x0c, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00,  // mov dword [0x3000c],0x1
            0xc7, 0x04, 0x25, 0x20, 0xa0, 0x00, 0x00, 0x03, 0x00, 0x03, 0x00,  // mov dword [0xa020],0x30003
            0xc7, 0x04, 0x25, 0x24, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  // mov dword [0xa024],0x0
            0x48, 0xbb, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,  // mov rbx,0x100000000
            0xc7, 0x03, 0x26, 0x59, 0x41, 0x31,  // mov dword [rbx],0x31415926
            0xc7, 0x83, 0xfc, 0xff, 0x1f, 0x00, 0x18, 0x28, 0x18, 0x27,  // mov dword [rbx+0x1ffffc],0x27182818
            0x81, 0x3c, 0x25, 0x00, 0x00, 0x00, 0x00, 0x26, 0x59, 0x41, 0x31,  // cmp dword [0x0],0x31415926
            0x74, 0x1d,  // jz 0x86
            0x81, 0x3b, 0x26, 0x59, 0x41, 0x31,  // cmp dword [rbx],0x31415926
            0x75, 0x15,  // jnz 0x86
            0x81, 0xbb, 0xfc, 0xff, 0x1f, 0x00, 0x18, 0x28, 0x18, 0x27,  // cmp dword [rbx+0x1ffffc],0x27182818
            0x75, 0x09,  // jnz 0x86
            0x83, 0xbb, 0x00, 0x00, 0x20, 0x00, 0xff,  // cmp dword [rbx+0x200000],byte -0x1
            0x74, 0x02,  // jz 0x88
            0x0f, 0x0b,  // ud2
        ]
        let (outcome, text) = try run(
            GuestBuilder.elf(code + GuestBuilder.say("all there") + GuestBuilder.powerOff + GuestBuilder.halt),
            on: hypervisor, memorySize: size)
        #expect(outcome.isPowerOff, "\(outcome)")
        #expect(text == "all there")
    }

    @Test(arguments: [Hypervisor.kernel, .software])
    func severalCPUsAndAnEndFromOutside(hypervisor: Hypervisor) async throws {
        try Self.require(hypervisor)
        let kernel = try TemporaryFile(GuestBuilder.elf(GuestBuilder.say("x") + GuestBuilder.halt))
        let machine = try Machine(
            MachineConfiguration(kernel: kernel.path, memorySize: 8 << 20, cpus: 4, hypervisor: hypervisor),
            console: CapturedConsole(), logger: .quiet)
        let running = Task.detached { machine.run() }
        machine.end(.left)
        guard case .left = await running.value else {
            Issue.record("the machine ended for another reason")
            return
        }
    }

    /// As many times as a guest reboots, so many machines there have been: none may stay.
    @Test(arguments: [Hypervisor.kernel, .software])
    func nothingOfAMachineStaysBehind(hypervisor: Hypervisor) throws {
        try Self.require(hypervisor)
        let kernel = try TemporaryFile(GuestBuilder.elf(GuestBuilder.say("x") + GuestBuilder.tripleFault))
        let console = CapturedConsole()
        var parts: [() -> AnyObject?] = []
        for _ in 0..<2 {
            let machine = try Machine(
                MachineConfiguration(kernel: kernel.path, memorySize: 8 << 20, hypervisor: hypervisor),
                console: console, logger: .quiet)
            _ = machine.run()
            for part in machine.parts { parts.append({ [weak part] in part }) }
        }
        #expect(console.text == "xx")
        #expect(parts.count > 4 && parts.allSatisfy { $0() == nil })
    }

    @Test func sizesAreChecked() {
        func refusal(_ memory: UInt64, _ cpus: Int) -> ConfigurationError? {
            do {
                try MachineConfiguration(kernel: "k", memorySize: memory, cpus: cpus).validate()
                return nil
            } catch { return error }
        }
        #expect(refusal(0, 1) == .memoryTooSmall(0))
        #expect(refusal(1 << 20, 1) == .memoryTooSmall(1 << 20))
        #expect(refusal(4 << 20 + 1, 1) != nil)
        #expect(refusal(8 << 20 | 512, 1) == .memoryNotAligned(8 << 20 | 512))
        #expect(refusal(1 << 60, 1)?.isUsage == false)
        #expect(refusal(8 << 20, 0) == .cpuCount(0, limit: 254))
        #expect(refusal(8 << 20, 255) == .cpuCount(255, limit: 254))
        #expect(refusal(8 << 20, 4) == nil)
    }

    @Test func rebootByTripleFaultIsReadFromTheCommandLine() {
        #expect(Board.resetsByTripleFault("console=ttyS0 reboot=t"))
        #expect(Board.resetsByTripleFault("reboot=warm,triple"))
        #expect(!Board.resetsByTripleFault("reboot=pci noreboot=t"))
    }
}

extension Logger {
    /// Says nothing.
    static var quiet: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}

extension MachineOutcome {
    var isPowerOff: Bool { if case .poweredOff = self { true } else { false } }
    var resetSource: String? { if case .reset(let source) = self { source } else { nil } }
    var crash: CrashReport? { if case .crashed(let report) = self { report } else { nil } }
}
