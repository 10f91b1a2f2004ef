import GuestMemory
import Synchronization
import X86

/// The run loop: blocks until something wants attention, one instruction at a time where something does.
extension VirtualProcessor {
    /// Executes the guest until the owner must act. State is exact at the return.
    public func run() -> ProcessorExit {
        // The client may have written guest memory since the last run.
        cpu.state.codeGeneration &+= 1
        // Before anything is reached or stored: an instruction that waited for an answer is executed before any boundary. And for
        // whoever waits while this vCPU does not run.
        if withdraw(.flushTLB) { flushTranslations() }
        if pendingRequests.contains(.newCodePage) { serveNewCodePage() }
        defer { if pendingRequests.contains(.newCodePage) { serveNewCodePage() } }
        let abandoned = unsafe HostFault.guarding(
            faultContext,
            {
                CPU($0).processor.loop()
                CPU($0).settleMXCSR()
            }, cpu.address)
        guard let abandoned else { return exit }
        recover(hostMXCSR: abandoned)
        return unsafe .hostFault(address: UInt64(faultContext.pointee.faultAddress))
    }

    /// Runs until `exit` says why not to go on.
    private func loop() {
        if let exit = nextDeferredWrite() { return leave(exit) }
        if unfinished.isAnswered {
            // The instruction that waited for an answer comes first, before any event; if it is still the next.
            if unfinished.place != cpu.codeLinear(cpu.state.rip) {
                unfinished.forgetAnswers()
            } else if !completePortWrite(), let exit = step() {
                return leave(exit)
            }
        }
        while true {
            if needsAttention, let exit = attend() { return leave(exit) }
            if let exit = runBlocks() { return leave(exit) }
        }
    }

    /// An OUT that was handed out has nothing left to do but to move on; false where it is to be executed again, with the
    /// checks that debugging asks for.
    private func completePortWrite() -> Bool {
        guard case .portWritten(let following) = unfinished.answer, !isStepping,
            cpu.state.systemFlags & RFLAGS.TF.rawValue == 0
        else { return false }
        unfinished.finish()
        cpu.state.interruptShadow = 0
        cpu.state.rip = following
        return true
    }

    /// Completes the OUT that the last run ended with, at once and not when the next run begins.
    public func finishPortWrite() {
        guard case .portWritten(let following) = unfinished.answer else { return }
        let trap = cpu.hasFlag(.TF)
        cpu.state.rip = following
        cpu.state.interruptShadow = 0
        unfinished.finish()
        trapFollows = nil
        afterInstruction(trap: trap)
    }

    private func leave(_ exit: ProcessorExit) {
        self.exit = exit
        unfinished.leave(for: exit, at: cpu.codeLinear(cpu.state.rip))
    }

    private var needsAttention: Bool {
        cpu.state.interruptShadow != 0 || needsAttentionBesideShadow
    }

    var needsAttentionBesideShadow: Bool {
        cpu.exitRequest != 0 || cpu.state.pendingException.isPending || isStepping
            || cpu.state.systemFlags & (RFLAGS.TF.rawValue | RFLAGS.RF.rawValue) != 0
    }

    /// Runs from `state.rip` until a handler returns no successor; nil: go on.
    private func runBlocks() -> ProcessorExit? {
        let stop: Stop
        do throws(Stop) {
            guard let block = try currentBlock() else { return step() }
            var next = cpu.enter(block, at: cpu.state.rip)
            underWay.isExecuting = true
            if cpu.state.nextIsCold {
                cpu.state.nextIsCold = false
                cpu.state.currentOp = next
                next = block.block.coldHandler(cpu.address, next)
            }
            while next != 0 {
                cpu.state.currentOp = next
                next = OpCursor(next).op.handler(cpu.address, next)
            }
            underWay.isExecuting = false
            stop = cpu.state.stop
            if stop.kind == .fault || stop.kind == .careful || stop.kind == .exitBefore {
                cpu.state.rip = cpu.instructionRIP
            }
        } catch {
            // Fetching faulted: RIP is at the instruction already.
            stop = error
        }
        return act(on: stop)
    }

    /// Executes one instruction by itself, exactly: MMIO writes wait until it is complete, traps are taken after it.
    func step() -> ProcessorExit? {
        let stop: Stop
        let trap = cpu.state.systemFlags & RFLAGS.TF.rawValue != 0
        trapFollows = nil
        unfinished.rewind()
        underWay.isCareful = true
        // A shadow lasts for one instruction; one that makes a new shadow sets it again.
        let shadow = cpu.state.interruptShadow
        underWay.interruptShadow = shadow
        cpu.state.interruptShadow = 0
        do throws(Stop) {
            let op = try fetchSingle()
            cpu.state.blockRIP = cpu.state.rip
            cpu.state.currentOp = op
            let cursor = OpCursor(op)
            underWay.isExecuting = true
            let next = cursor.op.handler(cpu.address, op)
            underWay.isExecuting = false
            if next != 0 {
                // A straight instruction, or a branch that went on into a block.
                if next == cursor.next {
                    cpu.state.rip = cpu.maskedRIP(cpu.state.blockRIP &+ UInt64(cursor.op.nextOffset))
                } else {
                    cpu.state.rip = cpu.state.blockRIP
                }
                stop = .boundary
            } else {
                stop = cpu.state.stop
                if stop.kind == .fault || stop.kind == .careful || stop.kind == .exitBefore {
                    cpu.state.rip = cpu.instructionRIP
                }
            }
        } catch {
            stop = error
        }
        underWay.isCareful = false
        underWay.interruptShadow = nil
        if stop.kind == .exitBefore {
            // The instruction has still to be executed, under the shadow that it had.
            cpu.state.interruptShadow = shadow
            return act(on: stop)
        }
        unfinished.finish()
        let exit = act(on: stop)
        if stop.kind == .boundary || stop.kind == .exitAfter {
            afterInstruction(trap: trap)
        }
        return exit ?? nextDeferredWrite()
    }

    /// What a stop means; nil: go on at `state.rip`.
    private func act(on stop: Stop) -> ProcessorExit? {
        switch stop.kind {
        case .boundary: return nil
        case .fault:
            unfinished.abandon()
            return deliverFault(stop)
        case .careful: return step()
        case .exitBefore, .exitAfter: return exit
        }
    }

    /// The next MMIO write of the instruction that is complete.
    func nextDeferredWrite() -> ProcessorExit? {
        unfinished.nextWrite().map { .mmioWrite(address: $0.address, size: $0.size) }
    }

    // MARK: Blocks

    /// The block at `state.rip`, decoded if need be; nil where the instruction has to be executed by itself
    /// (it crosses a page, or the code segment's limit is near).
    private func currentBlock() throws(Stop) -> BlockReference? {
        let rip = cpu.state.rip
        let linear = cpu.codeLinear(rip)
        if let block = cpu.recallBlock(linear) { return block }
        // After an exit it is the translation's still, but its bytes may have changed.
        if let block = cpu.recallStaleBlock(linear), validate(block) { return block }
        let mode = cpu.state.codeMode
        let code = unsafe try cpu.executableHost(linear)
        let found: BlockReference
        if let block = blocks.find(hostAddress: UInt(bitPattern: code), mode: mode), validate(block) {
            found = block
        } else if let block = unsafe decodeBlock(at: code, linear: linear, mode: mode) {
            found = block
        } else {
            return nil
        }
        // A real limit is checked per fetch, by itself; CS is 4 GiB wide in nearly every other case.
        if mode.codeSize != 8 {
            let limit = UInt64(cpu[segment: .cs].limit)
            guard rip <= limit, limit - rip >= UInt64(found.block.byteLength) - 1 else { return nil }
        }
        cpu.remember(linear, found)
        return found
    }

    /// Whether a block that was decoded before still holds; marks its lines again.
    private func validate(_ reference: BlockReference) -> Bool {
        if reference.block.codeGeneration == cpu.state.codeGeneration { return true }
        // The lines are marked before the bytes are read, so that no store slips between.
        unsafe markCode(reference.block.records.takeUnretainedValue(), reference.block.page, reference.block.lines)
        guard reference.isUnchanged else {
            blocks.remove(reference)
            return false
        }
        reference.block.codeGeneration = cpu.state.codeGeneration
        return true
    }

    /// Decodes a block at host address `code`; nil where not even one instruction lies wholly in the page.
    private func decodeBlock(at code: UnsafeRawPointer, linear: UInt64, mode: CodeMode) -> BlockReference? {
        guard let place = cpu.codePage(linear) else { return nil }
        // Hash tables grow by floating point.
        cpu.settleMXCSR()
        if !blocks.hasRoom { forgetCode() }
        let available = 4096 - Int(linear & 4095)
        // The lines are marked before the bytes are read, so that no store slips between, and the bytes are read once, since
        // another vCPU may be storing.
        let offset = Int(linear & 4095)
        var draft = blocks.draft()
        var length = 0
        var ended = false, endsElsewhere = false
        while !ended, draft.count < BlockCache.Draft.mostOps - 1 {
            let wanted = min(available - length, 15)
            markCode(place.records, place.page, PageRecords.lines(at: offset, count: length + wanted))
            unsafe draft.read(code, to: length + wanted)
            guard let instruction = try? mode.decode(draft.code(at: length, count: wanted)) else { break }
            let (op, ends) = Lowering.lower(instruction, mode: mode, offset: length)
            draft.append(op)
            length += Int(instruction.length)
            ended = ends
            endsElsewhere = instruction.opcodeRow.flow == .branch
            if length >= available { break }
        }
        guard draft.count > 0 else { return nil }
        if !endsElsewhere {
            var op = Op(handler: Interpreter.goOn)
            op.nextOffset = UInt16(truncatingIfNeeded: length)
            draft.append(op)
        }
        let lines = PageRecords.lines(at: offset, count: length)
        let block = unsafe Block(
            hostAddress: UInt(bitPattern: code), next: nil, codeGeneration: cpu.state.codeGeneration, mode: mode,
            opCount: UInt32(draft.count), byteLength: UInt32(length),
            records: Unmanaged.passUnretained(place.records), page: place.page, lines: lines,
            coldHandler: draft.first.handler)
        let inserted = blocks.insert(block, draft)
        beginCounting(inserted)
        return inserted
    }
}
