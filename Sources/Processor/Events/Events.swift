import X86

/// Events at instruction boundaries: requests from other threads, exceptions with their double and triple faults,
/// interrupts, debug traps. Intel SDM vol. 3, 6.9 (table 6-2, priorities), 6.15 (#DF), 17.3 (debug exceptions).
extension VirtualProcessor {
    // MARK: Exceptions

    /// Delivers the fault that the instruction at `state.rip` has raised.
    func deliverFault(_ stop: Stop) -> ProcessorExit? {
        if stop.vector == Exception.debug.vector {
            // Only the debug registers' own accesses and instruction breakpoints come here; DR6 is set already.
            absorbHeldTraps()
            cpu.state.dr7 &= ~DR7.GD.rawValue
        }
        return inject(event(stop))
    }

    private func event(_ stop: Stop) -> Event {
        let setsRF = Exception(rawValue: stop.vector)?.isFault ?? false
        return Event(
            vector: stop.vector, errorCode: stop.hasErrorCode ? stop.errorCode : nil, origin: .exception, setsRF: setsRF
        )
    }

    /// Keeps an exception for the next boundary.
    func raise(_ stop: Stop) {
        guard stop.kind == .fault else {
            // Something that only userspace could answer, in the middle of a task switch.
            stuck = true
            request(.careful)
            return
        }
        raise(stop.vector, code: stop.hasErrorCode ? stop.errorCode : nil)
    }

    func raise(_ vector: UInt8, code: UInt32?, isInjected: Bool = false) {
        cpu.state.pendingException.isPending = true
        cpu.state.pendingException.isInjected = isInjected
        cpu.state.pendingException.vector = vector
        cpu.state.pendingException.hasErrorCode = code != nil
        cpu.state.pendingException.errorCode = code ?? 0
    }

    /// A #DB trap for the next boundary, with what it adds to DR6.
    func raise(debug bits: UInt64) {
        cpu.state.dr6 = cpu.state.dr6 & ~0xF | bits
        raise(Exception.debug.vector, code: nil)
    }

    /// Delivers `first`, or what comes of it: the second exception, #DF, shutdown. Intel SDM vol. 3, table 6-5.
    private func inject(_ first: Event) -> ProcessorExit? {
        var event = first
        underWay.isCareful = true
        defer {
            underWay.isCareful = false
            underWay.event = nil
        }
        while true {
            underWay.event = event
            cpu.state.pendingException.isPending = false
            let problem: Stop
            do throws(Stop) {
                try cpu.deliver(event, next: cpu.state.rip)
                cpu.state.interruptShadow = 0
                heldTraps = 0
                unfinished.finish()
                if !unfinished.writes.isEmpty { request(.deferredWrites) }
                return nil
            } catch {
                problem = error
            }
            unfinished.abandon()
            guard problem.kind == .fault else {
                // A table or a stack lies where only userspace can answer: KVM_INTERNAL_ERROR_DELIVERY_EV.
                raise(event.vector, code: event.errorCode, isInjected: true)
                return .internalError(suberror: 3)
            }
            var next = self.event(problem)
            if event.origin == .exception, let earlier = Exception(rawValue: event.vector),
                let later = Exception(rawValue: problem.vector)
            {
                switch Exception.combine(earlier, later) {
                case .second: break
                case .doubleFault: next = Event(vector: Exception.doubleFault.vector, errorCode: 0, origin: .exception)
                case .tripleFault: return .shutdown
                }
            }
            event = next
            // A guest can make deliveries fail for ever (#AC on #AC): whoever wants this vCPU gets it in between.
            if !pendingRequests.isEmpty {
                raise(event.vector, code: event.errorCode, isInjected: true)
                return nil
            }
        }
    }

    /// Delivers an external interrupt.
    func deliverInterrupt(_ vector: UInt8) -> ProcessorExit? { inject(Event(vector: vector, origin: .external)) }

    private func deliverPendingException() -> ProcessorExit? {
        let pending = cpu.state.pendingException
        // Real-address mode pushes no error codes.
        let code = pending.hasErrorCode && cpu.isProtected ? pending.errorCode : nil
        let setsRF = Exception(rawValue: pending.vector)?.isFault ?? false
        if pending.vector == Exception.debug.vector { cpu.state.dr7 &= ~DR7.GD.rawValue }
        return inject(Event(vector: pending.vector, errorCode: code, origin: .exception, setsRF: setsRF))
    }

    // MARK: Between instructions

    /// The debug exit that an instruction has earned, which is the client's before anything else is done.
    public func takeDebugExit() -> ProcessorExit? {
        defer { debugExit = nil }
        return debugExit
    }

    /// Does what is due before the next instruction, in the order of table 6-2; while instructions have to go one by one,
    /// executes them here. Nil: blocks may run.
    func attend() -> ProcessorExit? {
        while true {
            if stuck {
                stuck = false
                return .internalError(suberror: 3)
            }
            if let exit = takeDebugExit() { return exit }
            if let exit = serveRequests() { return exit }
            if cpu.state.pendingException.isPending {
                if let exit = deliverPendingException() { return exit }
                continue
            }
            switch takeInterrupts() {
            case .exit(let exit): return exit
            case .delivered: continue
            case .nothing: break
            }
            guard cpu.state.interruptShadow != 0 || isStepping || cpu.hasFlag(.TF) || cpu.hasFlag(.RF) else {
                return nil
            }
            if let exit = stepUnderWatch() { return exit }
        }
    }

    /// Requests that have nothing to do with the guest's own events.
    private func serveRequests() -> ProcessorExit? {
        let requests = pendingRequests
        if requests.isEmpty { return nil }
        if requests.contains(.flushTLB) {
            withdraw(.flushTLB)
            flushTranslations()
        }
        if requests.contains(.codeChanged) {
            withdraw(.codeChanged)
            cpu.state.codeGeneration &+= 1
        }
        if requests.contains(.newCodePage) { serveNewCodePage() }
        if requests.contains(.settleCode) {
            withdraw(.settleCode)
            settleCode()
        }
        if requests.contains(.careful) {
            withdraw(.careful)
            emptyCachesIfNeeded()
        }
        if requests.contains(.deferredWrites) {
            withdraw(.deferredWrites)
            if let exit = nextDeferredWrite() { return exit }
        }
        if requests.contains(.leave) {
            withdraw(.leave)
            return .requested
        }
        return nil
    }

    private enum Outcome {
        case nothing, delivered
        case exit(ProcessorExit)
    }

    private func outcome(_ exit: ProcessorExit?) -> Outcome { exit.map { .exit($0) } ?? .delivered }

    /// NMI, interrupts, and the client's wish to know when there could be one. Interrupts that can't be taken now are held,
    /// so that blocks run at full speed meanwhile.
    private func takeInterrupts() -> Outcome {
        var requests = pendingRequests
        // Interrupts that are blocked the host keeps.
        if debugging.blocksEvents { requests.remove(.nmi) }
        if requests.isDisjoint(with: [.nmi, .interrupt, .interruptWindow]) || cpu.state.interruptShadow != 0 {
            return .nothing
        }
        if requests.contains(.nmi) {
            if cpu.state.nmiBlocked {
                hold(.nmi)
            } else {
                withdraw(.nmi)
                if host.acknowledgeNMI() {
                    cpu.state.nmiBlocked = true
                    return outcome(inject(Event(vector: Exception.nonMaskableInterrupt.vector, origin: .external)))
                }
            }
        }
        guard cpu.hasFlag(.IF) else {
            hold(requests.intersection(.interrupt))
            return .nothing
        }
        if requests.contains(.interrupt) {
            withdraw(.interrupt)
            if let vector = host.acknowledgeInterrupt() {
                // There may be more.
                request(.interrupt)
                return outcome(deliverInterrupt(vector))
            }
        }
        if requests.contains(.interruptWindow) {
            withdraw(.interruptWindow)
            return .exit(.interruptWindow)
        }
        return .nothing
    }

    /// Takes requests out of sight until interrupts (or NMIs) can be taken again.
    private func hold(_ requests: ExitRequest) {
        guard !requests.isEmpty else { return }
        withdraw(requests)
        heldRequests.formUnion(requests)
    }

    /// IF was set, or NMIs were unblocked: held requests count again.
    func releaseHeldRequests() {
        guard !heldRequests.isEmpty else { return }
        var allowed: ExitRequest = cpu.hasFlag(.IF) ? .interrupt : []
        if !cpu.state.nmiBlocked { allowed.insert(.nmi) }
        let released = heldRequests.intersection(allowed)
        heldRequests.subtract(released)
        if !released.isEmpty { request(released) }
    }

    // MARK: Single steps and breakpoints

    /// One instruction, with its breakpoints before.
    private func stepUnderWatch() -> ProcessorExit? {
        // MOV SS holds instruction breakpoints back on Intel's processors alone.
        let isHeld = cpu.state.interruptShadow & 2 != 0
        if !isHeld { heldTraps = 0 }
        if isStepping, !cpu.hasFlag(.RF), !isHeld || isAMD, let exit = instructionBreakpoint() {
            if case .guest = exit {
                return deliverFault(.fault(Exception.debug.vector))
            }
            if case .client(let exit) = exit { return exit }
        }
        underWay.resumeFlag = cpu.hasFlag(.RF)
        defer { underWay.resumeFlag = false }
        cpu.state.systemFlags &= ~RFLAGS.RF.rawValue
        breakpointHits = 0
        return step()
    }

    private enum Breakpoint {
        case guest
        case client(ProcessorExit)
    }

    /// The debug registers that count: the client's while it debugs by them. Intel SDM vol. 3, 17.2.
    private var activeDR7: UInt64 { debugging.hasBreakpoints ? debugging.debugRegisters[7] : cpu.state.dr7 }

    private func activeAddress(_ index: Int) -> UInt64 {
        debugging.hasBreakpoints ? debugging.debugRegisters[index] : cpu.state.dr[index]
    }

    /// What a MOV to or from a debug register stops with while DR7.GD is set: #DB, or an exit where the client's DR7 counts.
    func generalDetect() -> Stop? {
        let control = activeDR7
        guard control & DR7.GD.rawValue != 0 else { return nil }
        if debugging.hasBreakpoints {
            exit = .debug(
                vector: Exception.debug.vector, dr6: (DR6.fixed.union(.BD)).rawValue, dr7: control,
                pc: cpu.codeLinear(cpu.instructionRIP))
            return .exitBefore
        }
        cpu.state.dr6 = cpu.state.dr6 & ~0xF | DR6.BD.rawValue
        return .fault(Exception.debug.vector)
    }

    private func instructionBreakpoint() -> Breakpoint? {
        let control = DR7(rawValue: activeDR7)
        let linear = cpu.codeLinear(cpu.state.rip)
        var hits: UInt64 = 0
        for index in 0..<4
        where control.isEnabled(index) && control.condition(index) == .execute && activeAddress(index) == linear {
            hits |= 1 << UInt64(index)
        }
        guard hits != 0 else { return nil }
        if debugging.hasBreakpoints {
            return .client(.debug(vector: 1, dr6: DR6.fixed.rawValue | hits, dr7: control.rawValue, pc: linear))
        }
        cpu.state.dr6 = cpu.state.dr6 & ~0xF | hits
        return .guest
    }

    /// A data access of the running instruction; only called while accesses are watched.
    func noteDataBreakpoints(_ linear: UInt64, size: Int, isWrite: Bool) {
        note(linear, size: size) { $0 == .readWrite || ($0 == .write && isWrite) }
    }

    /// An access to a port, which CR4.DE lets breakpoints watch.
    func notePortBreakpoints(_ port: UInt16, size: Int) {
        guard isStepping, cpu.state.cr4 & CR4.DE.rawValue != 0 else { return }
        note(UInt64(port), size: size) { $0 == .io }
    }

    private func note(_ address: UInt64, size: Int, _ matches: (DR7.Condition) -> Bool) {
        let control = DR7(rawValue: activeDR7)
        for index in 0..<4 where control.isEnabled(index) && matches(control.condition(index)) {
            let length = UInt64(control.length(index))
            let start = activeAddress(index) & ~(length - 1)
            if address &- start < length || start &- address < UInt64(size) { breakpointHits |= 1 << UInt64(index) }
        }
    }

    /// A #DB that comes by itself brings what MOV SS or POP SS has held back along, so that there is no second one. Other faults
    /// and INT n don't: with a fault it is lost, behind INT n, INT3, INTO and SYSCALL it is told at the handler's first
    /// instruction. Intel SDM vol. 3, 6.8.3 and 26.7.3.
    func absorbHeldTraps() {
        guard heldTraps != 0 else { return }
        cpu.state.dr6 |= heldTraps
        heldTraps = 0
    }

    /// After an instruction that was executed by itself: the debug traps that it has earned. `trap`: TF was set before it.
    func afterInstruction(trap: Bool) {
        let trap = trapFollows ?? trap
        guard trap || isStepping || heldTraps != 0 else { return }
        let hits = breakpointHits | heldTraps
        breakpointHits = 0
        if cpu.state.interruptShadow & 2 != 0 {
            heldTraps = hits
            return
        }
        heldTraps = 0
        // A switch to a task that has begun with a fault: what was earned on the way there is lost with it.
        let pending = cpu.state.pendingException
        if pending.isPending, pending.vector != Exception.debug.vector { return }
        let forClient = debugging.enabled && (debugging.singleStep || (debugging.hardwareBreakpoints && hits != 0))
        if forClient {
            let bits = hits | (debugging.singleStep ? DR6.BS.rawValue : 0)
            debugExit = .debug(
                vector: Exception.debug.vector, dr6: DR6.fixed.rawValue | bits, dr7: activeDR7,
                pc: cpu.codeLinear(cpu.state.rip))
        } else if trap || hits != 0 {
            raise(debug: hits | (trap ? DR6.BS.rawValue : 0))
        }
    }
}
