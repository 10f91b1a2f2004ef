// What the vCPUs of a machine share: the hypervisor's machine, RAM, the buses with their devices, the switch that ends it.

internal import Devices
internal import GuestMemory
internal import KVM
internal import KVMABI
internal import Logging
internal import Synchronization

/// The kernel file parsed and the initrd opened, before there is a machine.
struct BootFiles: Sendable {
    let kernel: KernelImage
    let initrd: ImageFile?

    init(_ configuration: MachineConfiguration) throws(MachineError) {
        do throws(BootError) {
            let file = try ImageFile(configuration.kernel)
            // By its beginning, so that no other file is read whole, however large it is.
            try KernelImage.recognise(try file.read(count: 4096, at: 0), file: file.path)
            guard file.size <= min(configuration.memorySize, MachineMemory.holeStart) else {
                if configuration.memorySize >= MachineMemory.holeStart {
                    throw BootError.beyondReach(file: file.path, size: file.size, below: MachineMemory.holeStart)
                }
                throw BootError.tooLarge(
                    file: file.path, needs: file.size &+ LowMemory.highMemory, memory: configuration.memorySize)
            }
            kernel = try KernelImage(try file.contents(), file: file.path)
            if let path = configuration.initrd { initrd = try ImageFile(path) } else { initrd = nil }
        } catch {
            throw .boot(error)
        }
    }
}

/// A machine's shared parts.
final class Board: Sendable {
    /// The hypervisor's machine, in an object because the devices' lines hold it too.
    final class Host: Sendable {
        let machine: VirtualMachine
        init(_ machine: consuming VirtualMachine) { self.machine = machine }

        func line(_ irq: UInt32) -> InterruptLine {
            // A machine that is being taken down refuses; there is nobody left to interrupt.
            { [self] asserted in try? machine.setLine(irq, to: asserted) }
        }
    }

    let host: Host
    let memory: MachineMemory
    let ports: PortBus
    let mmio = MMIOBus()
    let end = EndSwitch()
    /// The hypervisor's counters of each vCPU that has ended.
    let statistics = Mutex<[UInt32: [Statistic]]>([:])
    let powerManagement: ACPIPMBlock
    let com1: UART16550
    let entry: EntryState
    /// The guest said on its command line that it resets by triple fault.
    let resetsByTripleFault: Bool

    /// Where the hypervisor keeps its own pages, in the hole below 4 GiB.
    private static let identityMap: UInt64 = 0xfffb_c000
    private static let taskState: UInt32 = 0xfffb_d000

    init(
        _ system: borrowing System, _ configuration: MachineConfiguration, _ files: BootFiles,
        _ console: any MachineConsole, _ timers: DeviceTimers
    ) throws(MachineError) {
        do { memory = try MachineMemory(size: configuration.memorySize) } catch { throw .memory("\(error)") }
        let wiring: InterruptWiring
        do throws(KVMError) {
            host = Host(try system.makeVirtualMachine())
            try host.machine.setTSSAddress(Board.taskState)
            try host.machine.setIdentityMapAddress(Board.identityMap)
            try host.machine.createInterruptControllers()
            try host.machine.createPIT(speaker: true)
            wiring = try host.machine.check(.irqRouting) != 0 ? .pc : .straight
            if let routes = wiring.routes { try host.machine.setRouting(routes) }
            for region in memory.regions { try host.machine.addSlot(region.memory, at: region.base) }
        } catch { throw .hypervisor(error) }

        let end = end
        let request: @Sendable (PlatformRequest) -> Void = { request in
            switch request {
            case .powerOff: end.end(.poweredOff)
            case .reset(let source): end.end(.reset(source.rawValue))
            }
        }
        // The timers have the devices.
        let deadlineChanged: @Sendable () -> Void = { [weak timers] in timers?.noteChange() }
        powerManagement = ACPIPMBlock(
            sci: host.line(InterruptWiring.IRQ.sci), clock: HostClock.devices,
            deadlineChanged: deadlineChanged, request: request)
        let rtc = RTC(
            interrupt: host.line(InterruptWiring.IRQ.rtc), clock: HostClock.devices,
            memory: Board.cmos(memory), deadlineChanged: deadlineChanged)
        com1 = UART16550(
            interrupt: host.line(InterruptWiring.IRQ.com1), clock: HostClock.devices,
            transmit: { console.transmit($0) }, roomAvailable: { console.roomAvailable() },
            deadlineChanged: deadlineChanged)
        let keyboard = I8042(interrupt: host.line(InterruptWiring.IRQ.keyboard), request: request)
        var ports = PortBus()
        do {
            try ports.attach(keyboard, at: 0x60, count: I8042.portCount)
            try ports.attach(rtc, at: 0x70, count: 2)
            try ports.attach(POSTPort(), at: 0x80, count: 1)
            try ports.attach(com1, at: 0x3f8, count: 8)
            try ports.attach(powerManagement, at: ACPITables.pmBlock, count: ACPIPMBlock.portCount)
            try ports.attach(
                ResetControl(request: request), at: ResetControl.firstPort, count: ResetControl.portCount)
        } catch { throw .wiring("\(error)") }
        self.ports = ports
        timers.add(powerManagement)
        timers.add(rtc)
        timers.add(com1)

        resetsByTripleFault = Board.resetsByTripleFault(configuration.commandLine)
        do {
            let tables = ACPITables(cpus: configuration.cpus, wiring: wiring).image()
            try memory.write(tables.bytes, at: tables.base)
            let material = BootMaterial(
                commandLine: configuration.commandLine, initrd: files.initrd, rsdp: tables.rsdp)
            entry = try files.kernel.load(into: memory, material, by: configuration.bootProtocol)
            try entry.storeTables(into: memory)
            try memory.write(littleEndianBytes(Board.noResetYet), at: LowMemory.resetFlag)
        } catch { throw .boot(error) }
        console.connect(com1)
    }

    /// CMOS memory as a PC's firmware leaves it: memory sizes in KiB above 1 MiB and in 64 KiB above 16 MiB.
    private static func cmos(_ memory: MachineMemory) -> [Int: UInt8] {
        let extended = UInt16(clamping: (memory.lowEnd - LowMemory.highMemory) >> 10)
        let above16 = UInt16(clamping: memory.lowEnd > 16 << 20 ? (memory.lowEnd - 16 << 20) >> 16 : 0)
        var bytes: [Int: UInt8] = [0x15: 0x80, 0x16: 0x02]
        for (index, value) in [(0x17, extended), (0x30, extended), (0x34, above16)] {
            bytes[index] = UInt8(truncatingIfNeeded: value)
            bytes[index + 1] = UInt8(truncatingIfNeeded: value >> 8)
        }
        return bytes
    }

    // MARK: Triple faults

    /// What the BIOS data area's reset flag is until the guest writes it, as Linux does just before it resets.
    static let noResetYet: UInt16 = 0x4d4c

    /// Whether a triple fault is the guest's way to reset rather than its death.
    var tripleFaultIsReset: Bool {
        if resetsByTripleFault { return true }
        guard let flag = try? memory.read(count: 2, at: LowMemory.resetFlag) else { return false }
        return flag != littleEndianBytes(Board.noResetYet)
    }

    /// `reboot=t` among the words of a Linux command line, whose value is a list by commas of which only first letters
    /// count.
    static func resetsByTripleFault(_ commandLine: String) -> Bool {
        commandLine.split(separator: " ").contains { word in
            word.hasPrefix("reboot=") && word.dropFirst(7).split(separator: ",").contains { $0.hasPrefix("t") }
        }
    }
}
