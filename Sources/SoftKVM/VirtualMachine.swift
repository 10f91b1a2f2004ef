// One virtual machine: its memory, its vCPUs, its chipset, and the ioctls of its handle.
// Documentation/virt/kvm/api.rst, section 4, those of type "vm ioctl".

internal import Chipset
internal import GuestMemory
internal import KVMABI
internal import Locking
internal import Processor

/// What a VM's handle names. It owns its vCPUs; they refer to it without owning it, and a vCPU's handle keeps both.
final class VirtualMachine: Sendable {
    let addressSpace = AddressSpace()
    /// Of its vCPUs.
    let executor: ExecutorOptions
    let world = WorldStop()
    let runAreas: RunAreas
    let coalesced: CoalescedRing
    let ioEvents = IOEventFDs()
    let slots = Lock(MemorySlots(physicalAddressBits: SupportedCPUID.shared.physicalAddressBits))
    /// What KVM_ENABLE_CAP and other ioctls have set.
    let configuration = Lock(Configuration())
    let clock = Lock(GuestClock(now: HostTSC.now))
    let statistics = Lock(Statistics<MachineStatistic>())
    let controllers = Lock<Controllers?>(nil)
    private let vcpus = Lock<[UInt32: VirtualCPU]>([:])

    /// Interrupt controllers and what serves them.
    struct Controllers: Sendable {
        var chipset: Chipset
        var loop: EventLoop
        var irqfds: IRQFDs
        var bells: DoorbellDirectory

        var isFull: Bool { chipset.mode == .full }
    }

    struct Configuration {
        /// First arguments of KVM_ENABLE_CAP. One capability is on from the beginning.
        var enabled: [Capability: UInt64] = [.msrPlatformInfo: 1]
        var filter = MSRFilter()
        var bootVCPU: UInt32 = 0
        var tscKilohertz = HostTSC.kilohertz
        /// The TSC that a vCPU was given last, for others to agree with.
        var lastTSC: TimeStampCounter?
        /// A client has written a vCPU's TSC.
        var hasClientsTSC = false
    }

    init(_ executor: ExecutorOptions) throws(Errno) {
        self.executor = executor
        runAreas = try RunAreas()
        coalesced = unsafe CoalescedRing(runAreas.ring)
    }

    deinit {
        // The thread knows the chipset and the vCPUs' doorbells; it ends before they go.
        controllers.withLock { $0?.loop.end() }
    }

    var hasVCPUs: Bool { vcpus.withLock { !$0.isEmpty } }

    /// Does what has to come before the first vCPU; none is made meanwhile.
    /// - Throws: `error` where there are vCPUs, else what `body` throws.
    func withoutVCPUs(otherwise error: Errno, _ body: () throws(Errno) -> Void) throws(Errno) {
        let failure: Errno? = vcpus.withLock { vcpus in
            guard vcpus.isEmpty else { return error }
            do throws(Errno) {
                try body()
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    var allVCPUs: [VirtualCPU] { vcpus.withLock { Array($0.values) } }

    func vcpu(_ id: UInt32) -> VirtualCPU? { vcpus.withLock { $0[id] } }

    /// KVM_CREATE_VCPU.
    func createVirtualCPU(_ argument: UInt) throws(Errno) -> VirtualCPU {
        guard let id = UInt32(exactly: argument), configuration.withLock({ $0.takesVCPU(argument) }) else {
            throw .invalidArgument
        }
        // Only one at a time makes a vCPU of an id.
        let result: Result<VirtualCPU, Errno> = vcpus.withLock { vcpus in
            guard vcpus.count < Capabilities.maximumVCPUs else { return .failure(.invalidArgument) }
            guard vcpus[id] == nil else { return .failure(.fileExists) }
            do throws(Errno) {
                // It looks at guest memory before it has a place at the gate.
                let made: Result<VirtualCPU, Errno> = slots.withLock { _ in
                    do throws(Errno) {
                        return .success(try VirtualCPU(self, id: id, controllers: controllers.withLock { $0 }))
                    } catch {
                        return .failure(error)
                    }
                }
                let vcpu = try made.get()
                vcpus[id] = vcpu
                return .success(vcpu)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    func ioctl(_ request: Request, _ argument: ClientArgument) throws(Errno) -> Int32 {
        switch request {
        case .checkExtension: return Capabilities.value(argument.address)
        case .setUserMemoryRegion: try setMemoryRegion(argument, size: 32)
        case .setUserMemoryRegion2: try setMemoryRegion(argument, size: 160)
        case .getDirtyLog: try getDirtyLog(argument)
        case .clearDirtyLog: try clearDirtyLog(argument)
        case .getStatsFD: return try openStatistics()
        case .resetDirtyRings: return try resetDirtyRings()
        case .setTSSAddr:
            // Where VMX needs pages of its own; nothing here does.
            guard argument.address <= 0xFFFF_D000 else { throw .invalidArgument }
        case .setNrMMUPages:
            // Of shadow page tables, which are not made here. KVM_MIN_ALLOC_MMU_PAGES.
            guard argument.address >= 64 else { throw .invalidArgument }
        case .setIdentityMapAddr:
            guard !hasVCPUs else { throw .invalidArgument }
            _ = try argument.load(UInt64.self)
        case .enableCap: try enable(argument)
        case .irqLine, .irqLineStatus: try setLine(argument, wantsStatus: request == .irqLineStatus)
        case .signalMSI: return try signalMSI(argument)
        case .irqfd: try changeIRQFD(argument)
        case .ioeventfd: try ioEvents.change(argument)
        case .createIRQCHIP: try createChipset(.full)
        case .getIRQCHIP: try getIRQCHIP(argument)
        case .setIRQCHIP: try setIRQCHIP(argument)
        case .setGSIRouting: try setRouting(argument)
        case .createPIT: try createPIT(speaker: true)
        case .createPIT2:
            let record = Record(try argument.loadBytes(64))
            try createPIT(speaker: record.load(0, as: UInt32.self) & 1 != 0)
        case .getPIT: try getPIT(argument, withFlags: false)
        case .setPIT: try setPIT(argument, withFlags: false)
        case .getPIT2: try getPIT(argument, withFlags: true)
        case .setPIT2: try setPIT(argument, withFlags: true)
        case .reinjectControl: try setReinjection(argument)
        case .registerCoalescedMMIO: try coalesced.change(argument, register: true)
        case .unregisterCoalescedMMIO: try coalesced.change(argument, register: false)
        case .getClock: try getClock(argument)
        case .setClock: try setClock(argument)
        case .setTSCKHz: try setTSCKilohertz(argument.address)
        case .getTSCKHz: return Int32(clamping: configuration.withLock { $0.tscKilohertz })
        case .setBootCPUID:
            try withoutVCPUs(otherwise: .busy) { () throws(Errno) in try setBootVCPU(argument.address) }
        case .x86SetMSRFilter:
            let filter = try MSRFilter(argument)
            configuration.withLock { $0.filter = filter }
        case .createDevice:
            _ = try argument.loadBytes(12)
            throw .noSuchDevice
        default: throw .inappropriateRequest
        }
        return 0
    }
}

/// The doorbells of a VM by vCPU id, for the chipset's callbacks.
final class DoorbellDirectory: Sendable {
    private let bells = Lock<[Int: Doorbell]>([:])

    func add(_ id: Int, _ bell: Doorbell) { bells.withLock { $0[id] = bell } }
    func chipsetEvent(_ id: Int) { bells.withLock { $0[id] }?.chipsetEvent() }
    func timeStoodStill() { for bell in bells.withLock({ Array($0.values) }) { bell.timeStoodStill() } }
}
