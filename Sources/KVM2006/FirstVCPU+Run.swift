// KVM_RUN: what the client did since the last exit, the endpoint's run, and today's exit in the words of then.

internal import KVMABI
internal import Synchronization
internal import X86

extension FirstVCPU {
    /// - Throws: EINTR after a signal or a kick, with the structure ready for the client; what else KVM_RUN fails with.
    func run(_ record: inout Record, _ memory: FirstMemory) throws(Errno) {
        try locked { () throws(Errno) in
            let isAnswered = record.load(FirstLayout.Run.mmioCompleted, as: UInt32.self) != 0
            let isEmulated = record.load(FirstLayout.Run.emulated, as: UInt32.self) != 0
            // Taken, whatever becomes of the run: a client that repeats it after EINTR must not skip twice.
            record.store(UInt32(0), FirstLayout.Run.mmioCompleted)
            record.store(UInt32(0), FirstLayout.Run.emulated)
            if awaitsMMIO {
                if isAnswered {
                    area.store(record.load(FirstLayout.Run.mmioData, as: UInt64.self), ExitLayout.mmioData)
                } else if let intercepting {
                    try intercepting.abandonInstruction(of: handle)
                    isInsideInstruction = false
                } else if isEmulated {
                    throw .invalidArgument
                } else {
                    return showMMIO(&record)
                }
                awaitsMMIO = false
            }
            if isEmulated { try skipInstruction(memory) }
            current = .atRIP
            record.store(FirstExitType.none, FirstLayout.Run.exitType)
            record.store(FirstExitReason.unknown, FirstLayout.Run.exitReason)
            record.store(UInt32(0), FirstLayout.Run.instructionLength)
            try runUntilExit(&record, memory)
        }
    }

    private func runUntilExit(_ record: inout Record, _ memory: FirstMemory) throws(Errno) {
        try prepareDebugging()
        if !isInsideInstruction, !pendingInterrupts.isEmpty, try acceptsInterrupt { try injectInterrupt() }
        isInsideInstruction = false
        while true {
            area.requestInterruptWindow = !pendingInterrupts.isEmpty
            try enter()
            switch area.exitReason {
            case .irqWindowOpen: try injectInterrupt()
            case .setTPR: continue
            case .hlt:
                // The halt that an interrupt ends at once is none.
                if !pendingInterrupts.isEmpty, try acceptsInterrupt {
                    try injectInterrupt()
                    continue
                }
                current = .complete
                leave(&record, FirstExitReason.hlt, length: 1)
                return
            default:
                try show(&record, memory)
                return
            }
        }
    }

    /// The next of the client's interrupts, for the guest to take at once.
    private func injectInterrupt() throws(Errno) {
        guard let vector = pendingInterrupts.first else { return }
        var argument = kvm_interrupt()
        argument.irq = UInt32(vector)
        try endpoint.set(handle, .interrupt, argument)
        pendingInterrupts.remove(vector)
    }

    /// Between two instructions: whether an interrupt would be taken now. The run area knows as of the last exit only, since when
    /// the client may have set registers.
    private var acceptsInterrupt: Bool {
        get throws(Errno) {
            guard try registers.rflags & RFLAGS.IF.rawValue != 0 else { return false }
            let events = try endpoint.get(handle, .getVCPUEvents, kvm_vcpu_events())
            return events.interrupt.shadow == 0 && events.interrupt.injected == 0 && events.exception.injected == 0
                && events.exception.pending == 0 && events.nmi.injected == 0
        }
    }

    /// One KVM_RUN of the endpoint's.
    /// - Throws: EINTR after a signal or a kick, which is used up.
    private func enter() throws(Errno) {
        while true {
            do throws(Errno) {
                _ = try endpoint.ioctl(handle, .run, 0)
                return
            } catch {
                if error == .tryAgain { continue }
                if error == .interrupted { settleKick(usedUp: true) }
                throw error
            }
        }
    }

    /// Has the endpoint complete the instruction that waits, and nothing more.
    func completeInstruction() throws(Errno) {
        area.setImmediateExit()
        defer { settleKick(usedUp: false) }
        do throws(Errno) {
            _ = try endpoint.ioctl(handle, .run, 0)
        } catch {
            guard error == .interrupted else { throw error }
        }
    }

    /// Takes `immediate_exit` back unless a kick wants it.
    private func settleKick(usedUp: Bool) {
        if usedUp { isKicked.store(false, ordering: .sequentiallyConsistent) }
        area.takeImmediateExit()
        if isKicked.load(ordering: .sequentiallyConsistent) { area.setImmediateExit() }
    }

    // MARK: Before the run

    /// `emulated`: on to the instruction after the one that the client has executed.
    private func skipInstruction(_ memory: FirstMemory) throws(Errno) {
        var registers = try registers
        let special = try specialRegisters
        let length: UInt8
        switch current {
        case .complete: return
        case .ofLength(let known): length = known
        case .atRIP:
            guard let found = instruction(at: registers.rip, registers, special, memory) else { throw .invalidArgument }
            length = found.length
        }
        registers.rip &+= UInt64(length)
        if CodeSize(special) != .bits64 { registers.rip &= 0xFFFF_FFFF }
        try endpoint.set(handle, .setRegs, registers)
        try endInterruptShadow()
    }

    /// The shadow of STI, MOV SS and POP SS lasts for one instruction, and that one was the client's.
    private func endInterruptShadow() throws(Errno) {
        var events = try endpoint.get(handle, .getVCPUEvents, kvm_vcpu_events())
        guard events.interrupt.shadow != 0 else { return }
        events.interrupt.shadow = 0
        events.flags = UInt32(KVM_VCPUEVENT_VALID_SHADOW)
        try endpoint.set(handle, .setVCPUEvents, events)
    }

    /// The kernel's step holds for the RIP at which it was asked for.
    private func prepareDebugging() throws(Errno) {
        guard let debugging, debugging.control & UInt32(KVM_GUESTDBG_SINGLESTEP) != 0 else { return }
        try endpoint.set(handle, .setGuestDebug, debugging)
    }

    // MARK: After it

    private func leave(_ record: inout Record, _ reason: UInt32, length: UInt8 = 0) {
        record.store(FirstExitType.vmExit, FirstLayout.Run.exitType)
        record.store(reason, FirstLayout.Run.exitReason)
        record.store(UInt32(length), FirstLayout.Run.instructionLength)
    }

    private func leaveUnknown(_ record: inout Record, hardwareReason: UInt32) {
        leave(&record, FirstExitReason.unknown)
        record.store(hardwareReason, FirstLayout.Run.hardwareExitReason)
    }

    private func show(_ record: inout Record, _ memory: FirstMemory) throws(Errno) {
        switch area.exitReason {
        case .unknown:
            let reason: UInt32 = area.load(ExitLayout.hardwareExitReason)
            if intercepting != nil, reason == InstructionIntercepts.ports.hardwareExitReason {
                // Not found again where another vCPU has changed it: KVM_EXIT_UNKNOWN says what it was.
                guard try showPortInstruction(&record, memory) else {
                    return leaveUnknown(&record, hardwareReason: reason)
                }
            } else if intercepting != nil, reason == InstructionIntercepts.cpuid.hardwareExitReason {
                let (registers, special) = (try registers, try specialRegisters)
                let found = instruction(at: registers.rip, registers, special, memory)
                guard let found else { return leaveUnknown(&record, hardwareReason: reason) }
                current = .ofLength(found.length)
                leave(&record, FirstExitReason.cpuid, length: found.length)
            } else {
                leaveUnknown(&record, hardwareReason: reason)
            }
        case .io:
            let isFound = try rewindPortAccess(memory)
            guard isFound, try showPortInstruction(&record, memory) else { return showCompletedAccess(&record) }
        case .mmio:
            let isWrite = area.load(ExitLayout.mmioIsWrite, as: UInt8.self) != 0
            awaitsMMIO = !isWrite
            isInsideInstruction = true
            if isWrite { current = .complete }
            showMMIO(&record)
        case .debug: leave(&record, FirstExitReason.debug)
        case .exception:
            leave(&record, FirstExitReason.exception)
            record.store(area.load(ExitLayout.exceptionVector, as: UInt32.self), FirstLayout.Run.exception)
            record.store(area.load(ExitLayout.exceptionErrorCode, as: UInt32.self), FirstLayout.Run.errorCode)
        case .failEntry:
            record.store(FirstExitType.failEntry, FirstLayout.Run.exitType)
            let reason: UInt64 = area.load(ExitLayout.hardwareEntryFailureReason)
            record.store(UInt32(truncatingIfNeeded: reason), FirstLayout.Run.exitReason)
        // VMX's number for a triple fault, for which there was no exit reason.
        case .shutdown: leaveUnknown(&record, hardwareReason: 2)
        // Exits that nothing here has asked for, and those of a hypervisor that can't go on: VMX's number for an exception.
        default: leaveUnknown(&record, hardwareReason: 0)
        }
    }

    private func showMMIO(_ record: inout Record) {
        leave(&record, FirstExitReason.mmio)
        record.store(area.load(ExitLayout.mmioAddress, as: UInt64.self), FirstLayout.Run.mmioAddress)
        record.store(area.load(ExitLayout.mmioData, as: UInt64.self), FirstLayout.Run.mmioData)
        record.store(area.load(ExitLayout.mmioLength, as: UInt32.self), FirstLayout.Run.mmioLength)
        record.store(area.load(ExitLayout.mmioIsWrite, as: UInt8.self), FirstLayout.Run.mmioIsWrite)
    }

    /// The port instruction at RIP; false where there is none.
    private func showPortInstruction(_ record: inout Record, _ memory: FirstMemory) throws(Errno) -> Bool {
        let (registers, special) = (try registers, try specialRegisters)
        guard let found = instruction(at: registers.rip, registers, special, memory),
            let access = PortInstruction(found)
        else { return false }
        current = .ofLength(access.length)
        leave(&record, FirstExitReason.io, length: access.length)
        record.store(UInt8(access.isInput ? 0 : 1), FirstLayout.Run.ioDirection)
        record.store(access.size, FirstLayout.Run.ioSize)
        record.store(UInt8(access.isString ? 1 : 0), FirstLayout.Run.ioString)
        record.store(UInt8(registers.rflags & RFLAGS.DF.rawValue != 0 ? 1 : 0), FirstLayout.Run.ioStringDown)
        record.store(UInt8(access.isRepeated ? 1 : 0), FirstLayout.Run.ioRepeat)
        record.store(UInt8(0), FirstLayout.Run.ioRepeat + 1)
        record.store(access.port(registers), FirstLayout.Run.ioPort)
        record.store(access.count(registers), FirstLayout.Run.ioCount)
        let value = registers.rax & (1 << UInt64(8 * access.size) - 1)
        record.store(
            access.isString ? access.address(registers, special) : access.isInput ? 0 : value, FirstLayout.Run.ioAddress
        )
        return true
    }

    /// An access whose instruction can't be found again: it is complete, and `emulated` skips nothing.
    private func showCompletedAccess(_ record: inout Record) {
        current = .complete
        leave(&record, FirstExitReason.io)
        record.store(area.load(ExitLayout.ioDirection, as: UInt8.self), FirstLayout.Run.ioDirection)
        record.store(area.load(ExitLayout.ioSize, as: UInt8.self), FirstLayout.Run.ioSize)
        // Neither a string nor repeated.
        record.store(UInt32(0), FirstLayout.Run.ioString)
        record.store(area.load(ExitLayout.ioPort, as: UInt16.self), FirstLayout.Run.ioPort)
        record.store(UInt64(1), FirstLayout.Run.ioCount)
        record.store(UInt64(portValue()), FirstLayout.Run.ioValue)
    }
}
