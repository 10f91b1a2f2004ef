// What the processor asks of its vCPU while guest code runs: devices of the hypervisor, MSRs, CPUID, interrupts,
// hypercalls. All on the vCPU's own thread, inside KVM_RUN.

internal import Locking
internal import X86
internal import Chipset
internal import Glibc
internal import KVMABI
internal import Processor
internal import Synchronization

extension VirtualCPU: ProcessorHost {
    // MARK: Devices

    // What is answered here is counted here; what is left to the client is counted as an exit.

    func readMMIO(_ address: UInt64, size: Int) -> UInt64? {
        guard let chipset else { return nil }
        let value: UInt64?
        if let page = apicPage, address & ~4095 == page {
            let offset = UInt32(address & 4095)
            noteTaskPriorityAccess(offset, size: size, isWrite: false)
            value = sharingTaskPriority { chipset.readAPIC(Int(id), offset: offset, size: size) }
        } else {
            value = chipset.readMMIO(address, size: size)
        }
        if value != nil { statistics.count(.mmioExits) }
        return value
    }

    func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        let isAnswered =
            writesChipset(address, size: size, value: value)
            || ioEvents.write(.memory, address, size: size, value: value)
            || coalesced.write(.memory, address, size: size, value: value)
        if isAnswered { statistics.count(.mmioExits) }
        return isAnswered
    }

    private func writesChipset(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        guard let chipset else { return false }
        if let page = apicPage, address & ~4095 == page {
            let offset = UInt32(address & 4095)
            noteTaskPriorityAccess(offset, size: size, isWrite: true)
            return sharingTaskPriority { chipset.writeAPIC(Int(id), offset: offset, size: size, value: value) }
        }
        return sharingTaskPriority { chipset.writeMMIO(address, size: size, value: value) }
    }

    private var apicPage: UInt64? { doorbell.status?.apicPage }

    func readPort(_ port: UInt16, size: Int) -> UInt32? {
        guard let chipset, Chipset.mayOwn(port: port), let value = chipset.readPort(port, size: size) else {
            return nil
        }
        statistics.count(.ioExits)
        return value
    }

    func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool {
        let isAnswered =
            writesChipset(port: port, size: size, value: value)
            || ioEvents.write(.port, UInt64(port), size: size, value: UInt64(value))
            || coalesced.write(.port, UInt64(port), size: size, value: UInt64(value))
        if isAnswered { statistics.count(.ioExits) }
        return isAnswered
    }

    private func writesChipset(port: UInt16, size: Int, value: UInt32) -> Bool {
        guard let chipset, Chipset.mayOwn(port: port) else { return false }
        return sharingTaskPriority { chipset.writePort(port, size: size, value: value) }
    }

    // MARK: MSRs and CPUID

    func allowsMSR(_ index: UInt32, write: Bool) -> Bool {
        machine.configuration.withLock { $0.filter.allows(index, write: write) }
    }

    func readMSR(_ index: UInt32) -> MSRAnswer {
        guard allowsMSR(index, write: false) else { return refusal(4, .x86RdMSR) }
        noteTaskPriorityAccess(msr: index)
        if let value = readMSR(index, fromHost: false) { return .value(value) }
        return refusal(knowsMSR(index) ? 1 : 2, .x86RdMSR)
    }

    func writeMSR(_ index: UInt32, _ value: UInt64) -> MSRAnswer {
        guard allowsMSR(index, write: true) else { return refusal(4, .x86WrMSR) }
        noteTaskPriorityAccess(msr: index, writing: value)
        if sharingTaskPriority({ writeMSR(index, value, fromHost: false) }) { return .done }
        return refusal(knowsMSR(index) ? 1 : 2, .x86WrMSR)
    }

    /// KVM_MSR_EXIT_REASON_INVAL (1), _UNKNOWN (2), _FILTER (4): to the client where it asked for that reason, else #GP.
    private func refusal(_ reason: UInt32, _ exit: ExitReason) -> MSRAnswer {
        witness(exit, bits: UInt64(reason)) != nil ? .userspace(reason: reason) : .invalid
    }

    private func knowsMSR(_ index: UInt32) -> Bool { readMSR(index, fromHost: true) != nil || 0x800...0x8FF ~= index }

    func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        let registers = cpuid.read(leaf, subleaf, cpuidDynamics)
        return (registers.eax, registers.ebx, registers.ecx, registers.edx)
    }

    var timeStampCounter: UInt64 {
        get { tsc.value(at: HostTSC.now) }
        set { adjustTSC(by: newValue &- timeStampCounter) }
    }

    var taskPriority: UInt8 {
        get {
            takeTaskPriority()
            return chipset.map { UInt8(truncatingIfNeeded: $0.cr8(Int(id)) & 15) } ?? clientCR8
        }
        set { sharingTaskPriority { setTaskPriority(newValue) } }
    }

    var hasLocalAPIC: Bool { chipset != nil }

    // MARK: Interrupts

    func acknowledgeInterrupt() -> UInt8? {
        let queued = queuedInterrupt
        queuedInterrupt = nil
        // KVM_GUESTDBG_BLOCKIRQ: what the client has queued is on its way already; what the chipset has waits there.
        let isBlocked = processor.debugging.enabled && processor.debugging.blocksInterrupts
        guard let vector = queued ?? (isBlocked ? nil : sharingTaskPriority({ chipset?.acknowledge(Int(id)) })) else {
            return nil
        }
        statistics.count(.interruptInjections)
        return vector
    }

    func returnInterrupt(_ vector: UInt8) { queuedInterrupt = vector }

    func acknowledgeNMI() -> Bool {
        guard pendingNMIs > 0 else { return false }
        pendingNMIs -= 1
        statistics.count(.nmiInjections)
        // One that is left waits in the processor for the end of this one's handler.
        if pendingNMIs > 0 { processor.request(.nmi) }
        return true
    }

    func returnNMI() { pendingNMIs = min(pendingNMIs + 1, 2) }

    /// KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS.
    var offersMonitor: Bool {
        !machine.hasDisabled(.mwaitNeverUDFaults) || cpuid(leaf: 1, subleaf: 0).ecx & 1 << 3 != 0
    }

    // MARK: Hypercalls. Linux, Documentation/virt/kvm/x86/hypercalls.rst.

    private enum Hypercall {
        static let vapicPoll: UInt64 = 1
        static let kickCPU: UInt64 = 5
        static let sendIPI: UInt64 = 10
        static let schedYield: UInt64 = 11
        static let mapGPARange: UInt64 = 12
        static let noSystemCall: Int64 = -1000
        static let notPermitted: Int64 = -1
        static let invalidArgument: Int64 = -22
    }

    func hypercall() -> Bool {
        statistics.count(.hypercalls)
        let is64Bit = isIn64BitMode
        let mask: UInt64 = is64Bit ? .max : 0xFFFF_FFFF
        let registers = processor.state.registers
        let number = registers[0] & mask
        let (rbx, rcx, rdx, rsi) = (registers[3] & mask, registers[1] & mask, registers[2] & mask, registers[6] & mask)
        var result = Hypercall.noSystemCall
        func has(_ feature: UInt32) -> Bool { !enforcesParavirtualFeatures || cpuid.paravirtual & feature != 0 }
        if processor.state.cpl != 0 {
            result = Hypercall.notPermitted
        } else {
            switch number {
            case Hypercall.vapicPoll: result = 0
            case Hypercall.kickCPU where has(ParavirtualFeatures.unhalt):
                chipset?.unhalt(apicID: UInt32(truncatingIfNeeded: rcx))
                result = 0
            case Hypercall.sendIPI where has(ParavirtualFeatures.sendIPI):
                let bitmap = is64Bit ? [rbx, rcx] : [rbx | rcx << 32]
                result = Int64(
                    chipset?.sendIPIs(
                        bitmap: bitmap, minimum: UInt32(truncatingIfNeeded: rdx), icr: UInt32(truncatingIfNeeded: rsi))
                        ?? Int(Hypercall.noSystemCall))
            case Hypercall.schedYield where has(ParavirtualFeatures.schedYield):
                sched_yield()
                result = 0
            case Hypercall.mapGPARange where witness(.hypercall) != nil:
                let (bytes, overflow) = rcx.multipliedReportingOverflow(by: 4096)
                if rbx & 4095 == 0, rcx != 0, !overflow, !rbx.addingReportingOverflow(bytes).overflow { return false }
                result = Hypercall.invalidArgument
            default: break
            }
        }
        processor.state.registers[0] = UInt64(bitPattern: result) & mask
        return true
    }

    // MARK: Other vCPUs

    func codeChanged() { world.forEach(except: doorbell) { $0.request(.codeChanged) } }
    func droppedWrites() { world.forEach(except: doorbell) { $0.request(.settleCode) } }

    func newCodePage() -> Bool {
        var isAwaited = false
        world.forEach(except: doorbell) { bell in
            bell.request(.newCodePage)
            // One that enters guest code after this sees the request first.
            if bell.isInGuest.load(ordering: .sequentiallyConsistent) { isAwaited = true }
        }
        return isAwaited
    }

    var othersMayHoldWrites: Bool {
        var areOwed = false
        world.forEach(except: doorbell) { if $0.owes(.newCodePage) { areOwed = true } }
        return areOwed
    }

    func stopOthers() { world.stop(own: doorbell) }
    func letOthersRun() { world.resume(own: doorbell) }
}
