// Interrupt controllers, lines, routing and the 8254 of a VM. Documentation/virt/kvm/api.rst, sections 4.24 to 4.28, 4.52,
// 4.70, 4.71, 4.75.

internal import Chipset
internal import KVMABI
internal import Locking

extension VirtualMachine {
    /// KVM_CREATE_IRQCHIP, and KVM_CAP_SPLIT_IRQCHIP.
    func createChipset(_ mode: Chipset.Mode) throws(Errno) {
        guard chipset == nil else { throw .fileExists }
        // No vCPU comes meanwhile, nor another chipset.
        try withoutVCPUs(otherwise: mode == .full ? .invalidArgument : .fileExists) { () throws(Errno) in
            guard controllers.withLock({ $0 == nil }) else { throw .fileExists }
            let made = try makeControllers(mode)
            controllers.withLock { $0 = made }
        }
    }

    private func makeControllers(_ mode: Chipset.Mode) throws(Errno) -> Controllers {
        let bells = DoorbellDirectory()
        let loop = try EventLoop { bells.timeStoodStill() }
        let resamplers = Resamplers()
        let chipset = Chipset(
            mode: mode, clock: { HostClock.now }, wake: { bells.chipsetEvent($0) },
            deadlineChanged: { [weak loop] in loop?.deadlineChanged() }, endOfInterrupt: { resamplers.signal($0) })
        chipset.setBootProcessor(Int(configuration.withLock { $0.bootVCPU }))
        configure(chipset)
        try loop.start(chipset)
        return Controllers(chipset: chipset, loop: loop, irqfds: IRQFDs(chipset, loop, resamplers), bells: bells)
    }

    var chipset: Chipset? { controllers.withLock { $0?.chipset } }

    private func fullChipset(otherwise error: Errno) throws(Errno) -> Chipset {
        guard let chipset, chipset.mode == .full else { throw error }
        return chipset
    }

    /// KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS: struct kvm_irq_level { irq or status, level }.
    func setLine(_ argument: ClientArgument, wantsStatus: Bool) throws(Errno) {
        let level: UInt64 = try argument.load()
        guard let chipset else { throw .noSuchDeviceOrAddress }
        let status = chipset.setLine(
            UInt32(truncatingIfNeeded: level), level: level >> 32 != 0, source: .userspace, wantsStatus: wantsStatus)
        if wantsStatus { try argument.store(Int32(clamping: status)) }
    }

    /// KVM_SIGNAL_MSI: struct kvm_msi { address_lo, address_hi, data, flags, devid }.
    func signalMSI(_ argument: ClientArgument) throws(Errno) -> Int32 {
        let record = Record(try argument.loadBytes(32))
        // KVM_MSI_VALID_DEVID: who sends it, which matters to other architectures.
        guard let chipset, record.load(12, as: UInt32.self) & ~1 == 0 else { throw .invalidArgument }
        let delivered = chipset.deliverMSI(address: record.load(0), data: record.load(8))
        guard delivered != MSI.invalid else { throw .invalidArgument }
        // What the kernel hands to user space as it is: −1 is EPERM there.
        guard delivered >= 0 else { throw .notPermitted }
        return Int32(clamping: delivered)
    }

    func changeIRQFD(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(32))
        guard record.load(8, as: UInt32.self) & ~3 == 0, let controllers = controllers.withLock({ $0 }) else {
            throw .invalidArgument
        }
        try controllers.irqfds.change(record, isFull: controllers.isFull)
    }

    /// KVM_SET_GSI_ROUTING: struct kvm_irq_routing { nr, flags } and entries of 48 bytes.
    func setRouting(_ argument: ClientArgument) throws(Errno) {
        let header = Record(try argument.loadBytes(8))
        guard let chipset else { throw .invalidArgument }
        let count: UInt32 = header.load(0)
        guard count <= GSIRouting.limit, header.load(4, as: UInt32.self) == 0 else { throw .invalidArgument }
        let record = Record(try argument.advanced(by: 8).loadBytes(Int(count) * 48))
        var entries: [GSIRouting.Entry] = []
        for at in stride(from: 0, to: Int(count) * 48, by: 48) {
            let gsi: UInt32 = record.load(at)
            let flags: UInt32 = record.load(at + 8)
            switch record.load(at + 4, as: UInt32.self) {
            case 1:
                guard flags == 0,
                    let controller = GSIRouting.Controller(rawValue: Int(record.load(at + 16, as: UInt32.self)))
                else { throw .invalidArgument }
                entries.append(.init(gsi: gsi, target: .pin(controller, record.load(at + 20))))
            case 2:
                // KVM_MSI_VALID_DEVID means nothing here.
                guard flags & ~1 == 0 else { throw .invalidArgument }
                entries.append(
                    .init(gsi: gsi, target: .message(address: record.load(at + 16), data: record.load(at + 24))))
            default: throw .invalidArgument
            }
        }
        do throws(GSIRouting.Refusal) { try chipset.setRouting(entries) } catch { throw .invalidArgument }
    }

    // MARK: State of the controllers

    /// KVM_GET_IRQCHIP: struct kvm_irqchip { chip_id, pad, 512 bytes }.
    func getIRQCHIP(_ argument: ClientArgument) throws(Errno) {
        var record = Record(try argument.loadBytes(520))
        let chipset = try fullChipset(otherwise: .noSuchDeviceOrAddress)
        switch record.load(0, as: UInt32.self) {
        case 0: record.storePIC(chipset.pic(.primary) ?? PICState(), at: 8)
        case 1: record.storePIC(chipset.pic(.secondary) ?? PICState(), at: 8)
        case 2: record.storeIOAPIC(chipset.ioapic() ?? IOAPICState(), at: 8)
        default: throw .invalidArgument
        }
        try argument.storeBytes(record.bytes)
    }

    func setIRQCHIP(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(520))
        let chipset = try fullChipset(otherwise: .noSuchDeviceOrAddress)
        let done =
            switch record.load(0, as: UInt32.self) {
            case 0: chipset.setPIC(.primary, record.loadPIC(at: 8))
            case 1: chipset.setPIC(.secondary, record.loadPIC(at: 8))
            case 2: chipset.setIOAPIC(record.loadIOAPIC(at: 8))
            default: false
            }
        guard done else { throw .invalidArgument }
    }

    func createPIT(speaker: Bool) throws(Errno) {
        if let chipset, chipset.hasPIT { throw .fileExists }
        let chipset = try fullChipset(otherwise: .noSuchFile)
        guard chipset.createPIT(speaker: speaker) else { throw .fileExists }
    }

    func getPIT(_ argument: ClientArgument, withFlags: Bool) throws(Errno) {
        guard let state = chipset?.pit() else { throw .noSuchDeviceOrAddress }
        var record = Record(count: withFlags ? 112 : 72)
        record.storePIT(state, withFlags: withFlags)
        try argument.storeBytes(record.bytes)
    }

    func setPIT(_ argument: ClientArgument, withFlags: Bool) throws(Errno) {
        let record = Record(try argument.loadBytes(withFlags ? 112 : 72))
        guard let chipset, chipset.hasPIT, chipset.setPIT(record.loadPIT(withFlags: withFlags)) else {
            throw .noSuchDeviceOrAddress
        }
    }

    /// KVM_REINJECT_CONTROL: struct kvm_reinject_control.
    func setReinjection(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(32))
        guard let chipset, chipset.setPITReinjection(record.load(0, as: UInt8.self) != 0) else {
            throw .noSuchDeviceOrAddress
        }
    }
}
