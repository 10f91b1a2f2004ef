// One vCPU: what a vCPU's handle names, and the ioctls of it. Documentation/virt/kvm/api.rst, section 4, those of type
// "vcpu ioctl".

internal import Chipset
internal import GuestMemory
internal import KVMABI
internal import Locking
internal import Processor

/// A vCPU. Its machine owns it; a vCPU's handle keeps both.
///
/// SAFETY: everything mutable is touched under `mutex` only, which KVM_RUN holds all the time that it runs, as the kernel
/// holds `vcpu->mutex`; other threads use `doorbell` alone.
final class VirtualCPU: @unchecked Sendable {
    // SAFETY: the machine owns this object and ends no sooner than KVM_RUN and every ioctl here, whose handle keeps it.
    private unowned(unsafe) let owner: VirtualMachine
    var machine: VirtualMachine { unsafe owner }
    // The parts of the machine that guest code meets often.
    let world: WorldStop
    let ioEvents: IOEventFDs
    let coalesced: CoalescedRing
    let id: UInt32
    let area: VirtualCPUArea
    let dirtyRing: DirtyRing?
    let chipset: Chipset?
    private let mutex = Lock<Void>(())
    // Both are made at the end of init, as they refer to this object, and never change.
    private(set) var processor: VirtualProcessor!
    private(set) var doorbell: Doorbell!

    // MARK: State beside the processor's
    var cpuid = GuestCPUID()
    var msrs = ModelSpecificRegisters()
    var machineCheck = MachineCheck()
    var tsc: TimeStampCounter
    var mpState = MPState.runnable
    /// KVM_HC_KICK_CPU has come while the vCPU did not wait: its next HLT ends at once. What the kick was for may have been
    /// looked at before it came, and IF be 0.
    var isUnhalted = false
    /// A vector of KVM_INTERRUPT or KVM_SET_VCPU_EVENTS that is still to be delivered.
    var queuedInterrupt: UInt8?
    var pendingNMIs: UInt8 = 0
    var pendingTripleFault = false
    var startUpVector: UInt8 = 0
    var hasRun = false
    var signalMask: UInt64?
    var guestDebug: UInt32 = 0
    var taskPrioritySharing = TaskPrioritySharing()
    var statistics = Statistics<VirtualCPUStatistic>()
    var enforcesParavirtualFeatures = false
    /// Without a local APIC here: the client's.
    var clientCR8: UInt8 = 0
    var clientAPICBase: UInt64
    /// CR8 as the client last saw it.
    var reportedCR8: UInt8 = 0

    /// KVM_MP_STATE_*.
    enum MPState: UInt32 {
        case runnable = 0
        case uninitialized = 1
        case initReceived = 2
        case halted = 3
        case startUpReceived = 4
        case resetHold = 9
    }

    init(_ machine: VirtualMachine, id: UInt32, controllers: VirtualMachine.Controllers?) throws(Errno) {
        unsafe owner = machine
        world = machine.world
        ioEvents = machine.ioEvents
        coalesced = machine.coalesced
        self.id = id
        let ringSize = Int(machine.dirtyRingSize)
        dirtyRing = ringSize != 0 ? try DirtyRing(size: ringSize) : nil
        area = try machine.runAreas.addArea()
        let configuration = machine.configuration.withLock { $0 }
        let isBoot = id == configuration.bootVCPU
        tsc = machine.configuration.withLock { $0.newTSC(at: HostTSC.now) }
        clientAPICBase = 0xFEE0_0000 | 1 << 11 | (isBoot ? 1 << 8 : 0)
        chipset = controllers?.chipset
        let status = chipset?.addVirtualCPU(Int(id))
        if chipset != nil, !isBoot { mpState = .uninitialized }
        processor = VirtualProcessor(memory: machine.addressSpace, host: self, executor: machine.executor)
        // Never in silence another one than was asked for.
        if let failure = processor.executorFailure { throw Errno(rawValue: failure) }
        processor.state.registers[2] = 0x600
        doorbell = Doorbell(processor, status: status)
        controllers?.bells.add(Int(id), doorbell)
        world.add(doorbell)
        chipset?.setTSC(Int(id), timeStampCounter, kilohertz: tsc.kilohertz)
    }

    var isBoot: Bool { machine.configuration.withLock { $0.bootVCPU } == id }

    /// KVM_RUN.
    func run(_ window: RunWindow?) throws(Errno) -> Int32 {
        try mutex.withLock { _ throws(Errno) in
            doorbell.forgetKick()
            guard let window else { return try runLocked() }
            defer { window.leave() }
            guard window.enter(doorbell) else {
                area.run.leave(with: ExitWitness(.intr))
                throw .interrupted
            }
            return try runLocked()
        }
    }

    func ioctl(_ request: Request, _ argument: ClientArgument) throws(Errno) -> Int32 {
        // Inside guest code's gate, since registers are checked against guest memory, and clocks are written to it.
        try mutex.withLock { _ throws(Errno) in
            world.enter(doorbell)
            defer { world.leave(doorbell) }
            return try locked(request, argument)
        }
    }

    /// Which instructions end KVM_RUN before they have an effect.
    func intercept(_ instructions: InstructionIntercepts) {
        mutex.withLock { _ in
            processor.intercepts = []
            if instructions.contains(.ports) { processor.intercepts.insert(.ports) }
            if instructions.contains(.cpuid) { processor.intercepts.insert(.cpuid) }
        }
    }

    /// Forgets the instruction that waits for the client's answer.
    func abandonInstruction() {
        mutex.withLock { _ in processor.abandonInstruction() }
    }

    private func locked(_ request: Request, _ argument: ClientArgument) throws(Errno) -> Int32 {
        switch request {
        case .getStatsFD: return try openStatistics()
        case .getRegs: try argument.store(registers)
        case .setRegs: setRegisters(try argument.load())
        case .getSREGS: try argument.storeBytes(specialRegisters(isSecond: false).bytes)
        case .setSREGS: try setSpecialRegisters(Record(try argument.loadBytes(SpecialRegisters.size)), isSecond: false)
        case .getSREGS2: try argument.storeBytes(specialRegisters(isSecond: true).bytes)
        case .setSREGS2: try setSpecialRegisters(Record(try argument.loadBytes(SpecialRegisters.size2)), isSecond: true)
        case .getFPU: try argument.storeBytes(floatingPoint.bytes)
        case .setFPU: setFloatingPoint(Record(try argument.loadBytes(416)))
        case .getXSAVE, .getXSAVE2: try argument.storeBytes(extendedState.bytes)
        case .setXSAVE: try setExtendedState(Record(try argument.loadBytes(4096)))
        case .getXCRS: try argument.storeBytes(extendedControl.bytes)
        case .setXCRS: try setExtendedControl(Record(try argument.loadBytes(392)))
        case .getDebugregs: try argument.storeBytes(debugRegisters.bytes)
        case .setDebugregs: try setDebugRegisters(Record(try argument.loadBytes(128)))
        case .getVCPUEvents: try argument.storeBytes(events.bytes)
        case .setVCPUEvents: try setEvents(Record(try argument.loadBytes(64)))
        case .getMSRS: return try MSRList.get(argument) { readMSR($0, fromHost: true) }
        case .setMSRS: return try MSRList.set(argument) { writeMSR($0, $1, fromHost: true) }
        case .setCPUID: try setOldCPUID(argument)
        case .setCPUID2: try setCPUID(argument)
        case .getCPUID2: try getCPUID(argument)
        case .getLAPIC:
            guard let page = chipset?.localAPICPage(Int(id)) else { throw .invalidArgument }
            try argument.storeBytes(page)
        case .setLAPIC:
            guard let chipset else { throw .invalidArgument }
            let page = try argument.loadBytes(1024)
            guard chipset.setLocalAPICPage(Int(id), page, tsc: timeStampCounter) else { throw .invalidArgument }
        case .getMPState: try argument.store(currentMPState)
        case .setMPState: try setMPState(try argument.load())
        case .interrupt: try interrupt(try argument.load())
        case .nmi: queueNMI()
        case .translate: try translate(argument)
        case .setSignalMask: try setSignalMask(argument)
        case .setGuestDebug: try setGuestDebug(Record(try argument.loadBytes(72)))
        case .tprAccessReporting: try setTaskPriorityReporting(argument)
        case .setVAPICAddr: try setTaskPriorityWord(argument)
        case .setTSCKHz: try setTSCKilohertz(argument.address)
        case .getTSCKHz: return Int32(clamping: tsc.kilohertz)
        case .getDeviceAttr, .setDeviceAttr, .hasDeviceAttr: try deviceAttribute(request, argument)
        case .x86SetupMCE: try machineCheck.setUp(try argument.load())
        case .x86SetMCE: try setMachineCheck(Record(try argument.loadBytes(64)))
        case .kvmclockCtrl:
            guard msrs.systemTime & 1 != 0 else { throw .invalidArgument }
            doorbell.timeStoodStill()
        case .enableCap:
            let (capability, value) = try Capabilities.enabling(argument, on: .vcpu)
            if capability == .enforcePVFeatureCPUID { enforcesParavirtualFeatures = value != 0 }
        // Where there is neither SMM nor encryption, the kernel still knows their requests.
        case .smi, .memoryEncryptOp: throw .inappropriateRequest
        default: throw .invalidArgument
        }
        return 0
    }
}
