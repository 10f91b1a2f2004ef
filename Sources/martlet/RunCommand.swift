// `martlet run`: boots a kernel to a console on this terminal.

public import ArgumentParser
internal import Glibc
public import KVM
internal import Logging
internal import Synchronization
internal import VMM

extension Hypervisor: ExpressibleByArgument {}
extension Hypervisor.Executor: ExpressibleByArgument {}

extension Hypervisor {
    /// The kernel's has no executors of ours.
    func validate(_ executor: Executor) throws {
        guard self != .kernel || executor == .automatic else {
            throw ValidationError(
                "--executor \(executor.rawValue) is the software hypervisor's: leave out --hypervisor kernel")
        }
    }
}

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Boot a Linux kernel, with its serial port on this terminal.",
        discussion: """
            Keys on a terminal: Ctrl-A X leaves, Ctrl-A B sends a break, Ctrl-A Ctrl-A sends Ctrl-A.
            Exit status: 0 the guest powered off, 1 failed, 2 bad usage, 3 the guest crashed.
            """)

    @Option(help: "A bzImage, or an uncompressed ELF vmlinux.")
    var kernel: String

    @Option(help: "An initial RAM disk, handed to the kernel as it is.")
    var initrd: String?

    @Option(help: "The kernel's command line.")
    var cmdline = "console=ttyS0"

    @Option(help: "The machine's memory; K, M and G are powers of 1024.", transform: MemorySize.init(option:))
    var memory = MemorySize(bytes: 512 << 20)

    @Option(help: "How many virtual processors.")
    var cpus = 1

    @Option(help: "Which hypervisor: auto, kernel (/dev/kvm) or software.")
    var hypervisor = Hypervisor.automatic

    @Option(help: "What executes guest code in the software hypervisor: auto, interpreter or translator.")
    var executor = Hypervisor.Executor.automatic

    @Option(
        name: .customLong("protocol"),
        help: "The boot protocol: auto, linux64, linux32 (bzImage), pvh or elf (vmlinux).")
    var bootProtocol = ProtocolChoice.auto

    @Flag(help: "End with status 0 when the guest reboots, instead of starting it again.")
    var noReboot = false

    @Flag(help: "Say on standard error at the end what the hypervisor counted of each vCPU.")
    var stats = false

    @OptionGroup var tracing: TracingOptions

    @Flag(name: .shortAndLong, help: "Say on standard error what is being done.")
    var verbose = false

    /// A boot protocol, or the best that the kernel has.
    enum ProtocolChoice: String, ExpressibleByArgument, CaseIterable {
        case auto, linux64, linux32, pvh, elf
        var value: BootProtocol? { BootProtocol(rawValue: rawValue) }
    }

    private var machineConfiguration: MachineConfiguration {
        var hypervisor = hypervisor
        hypervisor.executor = executor
        return MachineConfiguration(
            kernel: kernel, initrd: initrd, commandLine: cmdline, memorySize: memory.bytes, cpus: cpus,
            hypervisor: hypervisor, bootProtocol: bootProtocol.value)
    }

    func validate() throws {
        try hypervisor.validate(executor)
        do { try machineConfiguration.validate() } catch let error where error.isUsage {
            throw ValidationError(error.description)
        } catch {
            // Not a mistake of usage, such as more memory than the host has: the run finds it again and ends with its status.
        }
        guard !cmdline.utf8.contains(0) else { throw ValidationError("--cmdline contains a zero byte") }
    }

    func run() throws {
        do throws(KVMError) { try tracing.begin() } catch {
            Diagnostics.error(error.description)
            throw ExitStatus.failed
        }
        TerminalGuard.guardAgainstCrashes()
        let session = RunSession(showsStatistics: stats)
        let watching = TerminationSignals.watch(goOn: { session.noteStopped() }) { name in
            TerminalGuard.exit(ExitStatus.failed.rawValue) {
                Diagnostics.error("stopped by \(name); the guest was cut off: let it power off to end it in order")
            }
        }
        guard watching else {
            Diagnostics.error("the host has no more threads to give: end other programs")
            throw ExitStatus.failed
        }
        let status = session.run(machineConfiguration, noReboot: noReboot, logger: logger)
        TerminalGuard.restore()
        throw status
    }

    private var logger: Logger {
        var logger = Logger(label: "martlet") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = verbose ? .debug : .warning
        return logger
    }
}

/// One run of the command: the console, and one machine after another as the guest reboots.
private final class RunSession: Sendable {
    private struct State {
        var machine: Machine?
        var ending: MachineOutcome?
    }

    private let state = Mutex(State())
    private let showsStatistics: Bool

    init(showsStatistics: Bool) { self.showsStatistics = showsStatistics }

    /// Ends the machine that runs, or the next one before it begins.
    private func end(_ outcome: MachineOutcome) {
        let machine = state.withLock { state in
            if state.ending == nil { state.ending = outcome }
            return state.machine
        }
        machine?.end(outcome)
    }

    /// The process was stopped, and goes on.
    func noteStopped() { state.withLock { $0.machine }?.noteStopped() }

    private func take(_ event: HostConsole.Event) {
        switch event {
        case .leave: end(.left)
        case .outputFailed(let errno):
            let why = unsafe String(cString: strerror(errno))
            let advice = errno == ENOSPC ? "free space on the disk" : "give it somewhere to write"
            end(.failed("standard output can't be written: \(why): \(advice)"))
        case .inputLost:
            Diagnostics.note("the guest takes no input: more than 1 MiB of it is not kept")
        }
    }

    func run(_ configuration: MachineConfiguration, noReboot: Bool, logger: Logger) -> ExitStatus {
        let isTerminal = TerminalGuard.isTerminal
        let console: HostConsole
        do {
            console = try HostConsole(interactive: isTerminal) { [self] in take($0) }
        } catch {
            Diagnostics.error("\(error)")
            return .failed
        }
        let outcome = runMachines(configuration, console, noReboot, logger) {
            guard isTerminal else { return console.start() }
            Diagnostics.note("Ctrl-A X leaves")
            TerminalGuard.enterRawMode()
            return console.start()
        }
        console.stop()
        TerminalGuard.restore()
        // What could not be written at the very end counts too.
        if let outcome { return report(state.withLock { $0.ending } ?? outcome) }
        return .failed
    }

    /// - Parameter begin: starts the console, once the first machine stands.
    /// - Returns: how the last machine ended; nil if one could not be built, which has been reported.
    private func runMachines(
        _ configuration: MachineConfiguration, _ console: HostConsole, _ noReboot: Bool, _ logger: Logger,
        begin: () -> Bool
    ) -> MachineOutcome? {
        var isFirst = true
        while true {
            let machine: Machine
            do {
                machine = try Machine(configuration, console: console, logger: logger)
            } catch {
                TerminalGuard.restore()
                Diagnostics.error(error.description)
                return nil
            }
            if isFirst {
                guard begin() else {
                    return .failed("the host has no more threads to give: end other programs")
                }
                isFirst = false
            }
            let ending = state.withLock { state in
                state.machine = machine
                return state.ending
            }
            if let ending { machine.end(ending) }
            let outcome = machine.run()
            state.withLock { $0.machine = nil }
            if showsStatistics { show(machine.statistics) }
            guard case .reset(let source) = outcome else { return outcome }
            logger.debug("the guest reset the machine by \(source)")
            if noReboot { return outcome }
        }
    }

    private func show(_ statistics: [(vcpu: UInt32, counters: [Statistic])]) {
        TerminalGuard.restore()
        for (vcpu, counters) in statistics {
            for counter in counters where counter.values.contains(where: { $0 != 0 }) {
                let values = counter.values.map(String.init).joined(separator: " ")
                Diagnostics.note("vCPU \(vcpu): \(counter.name) \(values)")
            }
        }
    }

    private func report(_ outcome: MachineOutcome) -> ExitStatus {
        switch outcome {
        case .poweredOff, .reset, .left: return .success
        case .failed(let text):
            Diagnostics.error(text)
            return .failed
        case .crashed(let report):
            Diagnostics.error("the guest crashed: \(report.cause)")
            for line in report.details { Diagnostics.note("  \(line)") }
            return .guestCrashed
        }
    }
}
