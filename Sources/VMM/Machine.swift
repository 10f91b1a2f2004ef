// A virtual PC: memory, interrupt controllers and timers of the hypervisor, the devices of module Devices, a kernel in
// memory, and a thread for each vCPU. One object is one life: a reset ends it, and a new one is made.

public import Devices
public import KVM
internal import KVMABI
public import Logging
internal import Synchronization

/// What a machine's serial port is connected to.
public protocol MachineConsole: AnyObject, Sendable {
    /// The machine's COM1, once it exists.
    func connect(_ port: UART16550)
    /// The machine has gone; its COM1 must be let go, unless another machine's has taken its place.
    func disconnect(_ port: UART16550)
    /// A character that the guest sent.
    func transmit(_ byte: UInt8)
    /// COM1 has room to receive again.
    func roomAvailable()
}

/// Why a machine could not be built.
public enum MachineError: Error, Sendable, CustomStringConvertible {
    case configuration(ConfigurationError)
    case boot(BootError)
    case hypervisor(KVMError)
    /// The host would not give the memory.
    case memory(String)
    /// More vCPUs than the hypervisor can have.
    case tooManyCPUs(Int, limit: Int)
    case missingCapability(String)
    case wiring(String)

    public var description: String {
        switch self {
        case .configuration(let error): error.description
        case .boot(let error): error.description
        case .hypervisor(let error): error.description
        case .memory(let text): text
        case .tooManyCPUs(let count, let limit):
            "--cpus \(count) is more than this hypervisor has: give a number from 1 to \(limit)"
        case .missingCapability(let name):
            "the hypervisor lacks \(name), which a PC needs: try --hypervisor software"
        case .wiring(let text): "the machine's devices clash: \(text)"
        }
    }
}

/// A machine that is ready to run.
public final class Machine: Sendable {
    /// The hypervisor that was taken, and why.
    public let choice: Hypervisor.Choice
    private let board: Board
    private let timers: DeviceTimers
    private let cpus: [Slot]
    private let console: any MachineConsole
    private let logger: Logger

    /// Where a vCPU waits for its thread.
    private final class Slot: Sendable {
        let cpu: Mutex<VirtualCPU?>
        init(_ cpu: consuming VirtualCPU) { self.cpu = Mutex(cpu) }
    }

    /// Builds the machine and loads the kernel.
    public init(
        _ configuration: MachineConfiguration, console: any MachineConsole, logger: Logger
    ) throws(MachineError) {
        do { try configuration.validate() } catch { throw .configuration(error) }
        self.console = console
        self.logger = logger
        // Files first: what is wrong with them is the same on every hypervisor.
        let files = try BootFiles(configuration)
        let system = try Machine.open(configuration.hypervisor)
        choice = system.choice
        logger.debug("hypervisor: \(system.choice.hypervisor), because \(system.choice.reason)")
        do { timers = try DeviceTimers() } catch { throw .hypervisor(error) }
        try Machine.check(system, configuration)
        board = try Board(system, configuration, files, console, timers)
        var slots: [Slot] = []
        do {
            for id in 0..<UInt32(configuration.cpus) {
                slots.append(Slot(try board.makeCPU(id, of: UInt32(configuration.cpus), system, logger)))
            }
        } catch { throw .hypervisor(error) }
        cpus = slots
    }

    // The port has the console, and through its interrupt line the hypervisor's machine and its memory.
    deinit { console.disconnect(board.com1) }

    private static func open(_ hypervisor: Hypervisor) throws(MachineError) -> System {
        do { return try System(hypervisor) } catch { throw .hypervisor(error) }
    }

    /// What a PC can't do without.
    private static func check(
        _ system: borrowing System, _ configuration: MachineConfiguration
    ) throws(MachineError) {
        for needed in [Capability.userMemory, .irqchip, .pit2, .extCPUID, .mpState] {
            guard try offered(needed, system) != 0 else { throw .missingCapability(needed.name) }
        }
        let limit = max(1, try offered(.maxVcpus, system), try offered(.nrVcpus, system))
        guard configuration.cpus <= limit else { throw .tooManyCPUs(configuration.cpus, limit: limit) }
    }

    private static func offered(_ capability: Capability, _ system: borrowing System) throws(MachineError) -> Int {
        do { return try system.check(capability) } catch { throw .hypervisor(error) }
    }

    /// Runs until the guest or `end` ends it. To be called once.
    public func run() -> MachineOutcome {
        guard let clockwork = HostThread(name: "timers", { [timers] in timers.run() }) else {
            return .failed("the host has no more threads to give: end other programs")
        }
        var threads: [HostThread] = []
        for (index, slot) in cpus.enumerated() {
            guard let cpu = slot.cpu.withLock({ $0.take() }) else { continue }
            let handover = Slot(cpu)
            let thread = HostThread(name: "vcpu\(index)") { [board] in
                guard let cpu = handover.cpu.withLock({ $0.take() }) else { return }
                board.run(cpu)
            }
            guard let thread else {
                board.end.end(
                    .failed("the host has no thread for vCPU \(index): end other programs or give fewer --cpus"))
                break
            }
            threads.append(thread)
        }
        for thread in threads { thread.join() }
        timers.stop()
        clockwork.join()
        let outcome = board.end.outcome ?? .failed("every vCPU stopped without saying why")
        logger.debug("the machine ended: \(outcome)")
        return outcome
    }

    /// Ends the machine from any thread; `run()` returns soon. The first reason counts.
    public func end(_ outcome: MachineOutcome) { board.end.end(outcome) }

    /// The process has been stopped and goes on: the guest is told, whose clock has gone on meanwhile. From any thread.
    public func noteStopped() { board.end.interrupt() }

    /// `KVM_GET_STATS_FD`: the hypervisor's counters of each vCPU, once the machine has ended.
    public var statistics: [(vcpu: UInt32, counters: [Statistic])] {
        board.statistics.withLock { $0.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }

    /// What a machine is made of, as far as it could outlive it.
    var parts: [AnyObject] { [board, board.host, board.memory, board.com1, timers] }

    /// Presses the power button: a guest that listens shuts itself down.
    public func pressPowerButton() { board.powerManagement.pressPowerButton() }
}
