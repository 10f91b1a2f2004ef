// Pending events, MP state, INIT and start-up: struct kvm_vcpu_events, kvm_mp_state.
// Documentation/virt/kvm/api.rst, sections 4.31, 4.32, 4.38, 4.39, 4.16, 4.65; Intel SDM vol. 3, 9.1 and 9.4.

internal import Chipset
internal import KVMABI
internal import Processor
internal import Synchronization
internal import X86

extension VirtualCPU {
    private enum Flag {
        static let nmiPending: UInt32 = 1
        static let startUpVector: UInt32 = 2
        static let shadow: UInt32 = 4
        static let smm: UInt32 = 8
        static let payload: UInt32 = 16
        static let tripleFault: UInt32 = 32
    }

    /// struct kvm_vcpu_events, 64 bytes.
    var events: Record {
        let showsPayload = machine.enabled(.exceptionPayload) != 0
        let showsTripleFault = machine.enabled(.x86TripleFaultEvent) != 0
        var record = Record(count: 64)
        let exception = processor.state.pendingException
        // What is raised and what is being delivered differ to a client that knows of payloads alone.
        if exception.isPending {
            record.store(UInt8(1), showsPayload && !exception.isInjected ? 3 : 0)
            record.store(exception.vector, 1)
            record.store(UInt8(exception.hasErrorCode ? 1 : 0), 2)
            record.store(exception.errorCode, 4)
        }
        if let vector = queuedInterrupt {
            record.store(UInt8(1), 8)
            record.store(vector, 9)
        }
        record.store(InterruptShadow.interface(processor.state.interruptShadow), 11)
        absorbNMIs()
        record.store(pendingNMIs, 13)
        record.store(UInt8(processor.state.nmiBlocked ? 1 : 0), 14)
        if let chipset, chipset.pendingEvents(Int(id)).initialize { record.store(UInt8(1), 27) }
        var flags = Flag.nmiPending | Flag.shadow | Flag.smm
        if showsPayload { flags |= Flag.payload }
        if showsTripleFault {
            record.store(UInt8(pendingTripleFault ? 1 : 0), 28)
            flags |= Flag.tripleFault
        }
        record.store(flags, 20)
        return record
    }

    /// NMIs that the chipset holds are counted here.
    private func absorbNMIs() {
        guard let chipset, doorbell.status?.pending.contains(.nmi) == true else { return }
        var events = chipset.takeEvents(Int(id))
        addNMIs(events.nmis)
        events.nmis = 0
        if !events.isEmpty { chipset.post(Int(id), events) }
    }

    func setEvents(_ record: Record) throws(Errno) {
        let showsPayload = machine.enabled(.exceptionPayload) != 0
        let showsTripleFault = machine.enabled(.x86TripleFaultEvent) != 0
        let flags: UInt32 = record.load(20)
        guard flags & ~63 == 0 else { throw .invalidArgument }
        func byte(_ offset: Int) -> UInt8 { record.load(offset) }
        var isRaised = byte(0) != 0
        if flags & Flag.payload != 0 {
            guard showsPayload else { throw .invalidArgument }
            isRaised = isRaised || byte(3) != 0
        }
        let vector = byte(1)
        if isRaised, vector > 31 || vector == 2 { throw .invalidArgument }
        // There is no SMM.
        if flags & Flag.smm != 0, byte(24) | byte(25) | byte(26) != 0 { throw .invalidArgument }
        if flags & Flag.tripleFault != 0, !showsTripleFault { throw .invalidArgument }

        processor.state.pendingException = PendingException()
        if isRaised {
            raise(vector, errorCode: byte(2) != 0 ? record.load(4) : nil)
            processor.state.pendingException.isInjected = byte(0) != 0
        }
        queuedInterrupt = byte(8) != 0 && byte(10) == 0 ? byte(9) : nil
        if queuedInterrupt != nil { processor.request(.interrupt) }
        if flags & Flag.shadow != 0 { processor.state.interruptShadow = InterruptShadow.internal(byte(11)) }
        absorbNMIs()
        if flags & Flag.nmiPending != 0 { pendingNMIs = min(byte(13), 2) }
        if byte(12) != 0 { pendingNMIs = min(pendingNMIs + 1, 2) }
        processor.state.nmiBlocked = byte(14) != 0
        if flags & Flag.startUpVector != 0, chipset != nil { startUpVector = byte(16) }
        if flags & Flag.smm != 0, let chipset {
            var held = chipset.takeStartup(Int(id))
            held.initialize = byte(27) != 0
            if !held.isEmpty { chipset.post(Int(id), held) }
        }
        if flags & Flag.tripleFault != 0 { pendingTripleFault = byte(28) != 0 }
        processor.stateChanged()
        processor.request(.careful)
    }

    /// KVM_NMI.
    func queueNMI() {
        absorbNMIs()
        addNMIs(1)
    }

    /// One is kept while another's handler runs; two where none does, of which one is to be delivered at once.
    private func addNMIs(_ count: UInt8) {
        guard count > 0 else { return }
        pendingNMIs = min(pendingNMIs + count, processor.state.nmiBlocked ? 1 : 2)
    }

    // MARK: MP state

    /// KVM_GET_MP_STATE. A start-up that has arrived is taken first.
    var currentMPState: UInt32 {
        if mpState == .uninitialized || mpState == .initReceived { _ = takeChipsetEvents() }
        if mpState == .halted, doorbell.status?.pending.contains(.unhalt) == true { return MPState.runnable.rawValue }
        return mpState.rawValue
    }

    func setMPState(_ value: UInt32) throws(Errno) {
        guard let state = MPState(rawValue: value) else { throw .invalidArgument }
        // Without a local APIC here none but its present one, which may be HLT's where exits for that are off.
        guard state == .runnable || chipset != nil || state == mpState else { throw .invalidArgument }
        if state == .startUpReceived {
            var events = VirtualCPUEvents()
            events.startUp = startUpVector
            mpState = .initReceived
            chipset?.post(Int(id), events)
        } else {
            mpState = state
        }
        processor.stateChanged()
    }

    // MARK: Events of the chipset

    /// Takes what the chipset has beside interrupts; true where that is an exit, which is in the run area then.
    func takeChipsetEvents() -> Bool {
        guard let chipset, let status = doorbell.status else { return false }
        let pending = status.pending
        if pending.contains(.interrupt) { processor.request(.interrupt) }
        guard !pending.subtracting(.interrupt).isEmpty else { return false }
        let isWaiting = mpState == .uninitialized || mpState == .initReceived
        let events = isWaiting ? chipset.takeStartup(Int(id)) : chipset.takeEvents(Int(id))
        if events.initialize { initialize() }
        if let vector = events.startUp, mpState == .initReceived { startUp(vector) }
        addNMIs(events.nmis)
        if events.unhalt {
            if mpState == .halted { mpState = .runnable } else { isUnhalted = true }
        }
        if events.nmis > 0, mpState == .halted, !processor.state.nmiBlocked { mpState = .runnable }
        guard let vector = events.ioapicEOI, let witness = witness(.ioapicEOI) else { return false }
        area.run.store(vector, ExitLayout.eoiVector)
        area.run.leave(with: witness)
        return true
    }

    /// INIT.
    private func initialize() {
        processor.initialize()
        chipset?.reset(Int(id), initialize: true)
        taskPrioritySharing.wordAddress = 0
        queuedInterrupt = nil
        pendingNMIs = 0
        mpState = isBoot ? .runnable : .initReceived
    }

    /// A start-up IPI: CS is the vector's page. Intel SDM vol. 3, 9.4.4.
    private func startUp(_ vector: UInt8) {
        startUpVector = vector
        let name = Int(SegmentName.cs.rawValue)
        processor.state.segments[name].selector = UInt16(vector) << 8
        processor.state.segments[name].base = UInt64(vector) << 12
        processor.state.rip = 0
        processor.stateChanged()
        mpState = .runnable
    }
}

/// The interrupt shadow: the processor's bits and the interface's (KVM_X86_SHADOW_INT_*).
enum InterruptShadow {
    static func interface(_ shadow: UInt8) -> UInt8 { (shadow & 2) >> 1 | (shadow & 1) << 1 }
    static func `internal`(_ shadow: UInt8) -> UInt8 { (shadow & 2) >> 1 | (shadow & 1) << 1 }
}
