// KVM_RUN: entry, the loop around the processor, and the way out. Documentation/virt/kvm/api.rst, sections 4.10 and 5; the
// order of things is that of kvm_arch_vcpu_ioctl_run.

internal import Chipset
internal import Glibc
internal import KVMABI
internal import Processor
internal import X86

extension VirtualCPU {
    func runLocked() throws(Errno) -> Int32 {
        let run = area.run
        hasRun = true
        run.flags = 0
        if let signalMask, VirtualCPU.isPending(outside: signalMask) {
            run.leave(with: ExitWitness(.intr))
            throw .interrupted
        }
        if mpState == .uninitialized { return try waitForStartUp() }
        let valid = run.validRegs
        let dirty = run.dirtyRegs
        guard (valid | dirty) & ~SyncRegisters.all == 0 else { throw .invalidArgument }
        if dirty != 0 {
            world.enter(doorbell)
            defer { world.leave(doorbell) }
            try loadSyncRegisters(dirty)
            run.dirtyRegs = 0
        }
        if chipset == nil {
            let cr8 = run.cr8
            guard cr8 <= 15 else { throw .invalidArgument }
            clientCR8 = UInt8(cr8)
            reportedCR8 = clientCR8
        }
        defer { finishRun(valid) }
        if complete() {
            // The instruction that waited is completed even if nothing may run after it, and before INIT or a wait.
            if run.immediateExit != 0 || mpState != .runnable || hasChipsetEvents {
                doorbell.call()
                world.enter(doorbell)
                let exit = processor.run()
                takeTaskPriority()
                world.leave(doorbell)
                if exit != .requested, try leaves(on: exit) { return 0 }
            }
        }
        if run.immediateExit != 0 { throw .interrupted }
        return try enterGuest()
    }

    /// The loop. Returns with an exit for the client in the run area.
    private func enterGuest() throws(Errno) -> Int32 {
        let run = area.run
        // Each held once: a class reference that is read anew costs as much as the rest of an exit.
        guard let processor, let doorbell else { throw .ioError }
        let world = world
        if run.requestInterruptWindow, chipset == nil || isSplit {
            if chipset == nil || acceptsClientInterrupts { processor.request(.interruptWindow) }
        } else {
            processor.withdraw(.interruptWindow)
        }
        if queuedInterrupt != nil || doorbell.status?.pending.contains(.interrupt) == true {
            processor.request(.interrupt)
        }
        while true {
            processor.withdraw(.leave)
            if doorbell.isKicked {
                statistics.count(.signalExits)
                run.leave(with: ExitWitness(.intr))
                throw .interrupted
            }
            if pendingTripleFault {
                pendingTripleFault = false
                run.leave(with: ExitWitness(.shutdown))
                return 0
            }
            if let dirtyRing, dirtyRing.isFull, let witness = witness(.dirtyRingFull) {
                run.leave(with: witness)
                return 0
            }
            if reportTaskPriorityAccess() { return 0 }
            if takeChipsetEvents() { return 0 }
            if mpState != .runnable {
                waitForEvent()
                continue
            }
            if pendingNMIs > 0 { processor.request(.nmi) }
            world.enter(doorbell)
            if doorbell.takeTimeChange() { updateGuestTime() }
            showTaskPriority()
            let exit = processor.run()
            statistics.count(.exits)
            showTranslationCounters()
            takeTaskPriority()
            world.leave(doorbell)
            if try leaves(on: exit) { return 0 }
        }
    }

    /// INIT and the like; interrupts are the processor's to take.
    private var hasChipsetEvents: Bool { !(doorbell.status?.pending.subtracting(.interrupt).isEmpty ?? true) }

    /// A signal that the client's mask would let through is waiting, blocked by the thread's own. One that comes later waits
    /// for the next run: the thread's mask is not changed here, so that it can't interrupt this one.
    private static func isPending(outside mask: UInt64) -> Bool {
        var pending = sigset_t()
        guard unsafe sigpending(&pending) == 0 else { return false }
        for signal: Int32 in 1...64 where mask & 1 << UInt64(signal - 1) == 0 {
            if unsafe sigismember(&pending, signal) == 1 { return true }
        }
        return false
    }

    /// KVM_RUN on an application processor that no start-up IPI has reached: EAGAIN once one has.
    private func waitForStartUp() throws(Errno) -> Int32 {
        let run = area.run
        if run.immediateExit != 0 { throw .interrupted }
        doorbell.wait {
            doorbell.isKicked || !(doorbell.status?.pending.isDisjoint(with: [.initialize, .startUp]) ?? true)
        }
        if takeChipsetEvents() { return 0 }
        if doorbell.isKicked {
            run.leave(with: ExitWitness(.intr))
            throw .interrupted
        }
        throw .tryAgain
    }

    /// HLT, or the wait for INIT and start-up, inside the hypervisor: on the doorbell, until an event or a kick.
    private func waitForEvent() {
        statistics.set(.blocking, 1)
        defer { statistics.set(.blocking, 0) }
        doorbell.wait {
            if doorbell.isKicked || hasPendingException { return true }
            guard let status = doorbell.status else { return queuedInterrupt != nil || hasDeliverableNMI }
            let pending = status.pending
            if mpState != .halted { return !pending.isDisjoint(with: [.initialize, .startUp]) }
            if !pending.isDisjoint(with: [.initialize, .startUp, .unhalt, .systemManagement, .ioapicEOI]) {
                return true
            }
            if hasDeliverableNMI || pending.contains(.nmi) { return true }
            return hasDeliverableInterrupt
        }
        guard mpState == .halted else { return }
        if hasDeliverableNMI || hasPendingException || hasDeliverableInterrupt { mpState = .runnable }
        if mpState == .runnable { statistics.count(.haltWakeups) }
    }

    /// The single-step trap of HLT, say: debug exceptions end the wait. Intel SDM vol. 2, HLT.
    private var hasPendingException: Bool { processor.state.pendingException.isPending }

    /// HLT in an NMI's handler is not ended by the next one.
    private var hasDeliverableNMI: Bool { pendingNMIs > 0 && !processor.state.nmiBlocked }

    private var hasDeliverableInterrupt: Bool {
        guard processor.rflags & RFLAGS.IF.rawValue != 0 else { return false }
        return queuedInterrupt != nil || chipset?.hasInterrupt(Int(id)) == true
    }

    // MARK: The way out

    /// The fields that every KVM_RUN leaves behind (post_kvm_run_save), and the registers that the client asked for.
    private func finishRun(_ validRegisters: UInt64) {
        let run = area.run
        let interruptFlag = processor.rflags & RFLAGS.IF.rawValue != 0
        run.interruptFlag = interruptFlag
        let (priority, base) = chipset?.priorityAndBase(Int(id)) ?? (UInt64(clientCR8), clientAPICBase)
        run.cr8 = priority
        run.apicBase = base
        reportedCR8 = UInt8(truncatingIfNeeded: priority)
        let hasPIC = chipset != nil && !isSplit
        run.readyForInterruptInjection = hasPIC || isReadyForInterrupt
        if validRegisters != 0 { storeSyncRegisters(validRegisters) }
    }

    /// Whether KVM_INTERRUPT would be delivered at once.
    private var isReadyForInterrupt: Bool {
        let state = processor.state
        guard processor.rflags & RFLAGS.IF.rawValue != 0, state.interruptShadow == 0, !state.pendingException.isPending
        else {
            return false
        }
        if queuedInterrupt != nil { return false }
        return chipset == nil || acceptsClientInterrupts
    }

    var isSplit: Bool {
        if case .split? = chipset?.mode { return true }
        return false
    }

    private var acceptsClientInterrupts: Bool { chipset?.acceptsExternalInterrupt(Int(id)) ?? true }
}
