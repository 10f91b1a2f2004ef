import GuestMemory
import Synchronization
import X86

/// The run loop: blocks until something wants attention, one instruction at a time where something does.
extension VirtualProcessor {
    /// Executes the guest until the owner must act. State is exact at the return.
    public func run() -> ProcessorExit {
        // The client may have written guest memory since the last run.
        cpu.state.codeGeneration &+= 1
        // Before anything is stored, and for whoever waits while this vCPU does not run.
        if pendingRequests.contains(.newCodePage) { serveNewCodePage() }
        defer {
            cpu.settleMXCSR()
            if pendingRequests.contains(.newCodePage) { serveNewCodePage() }
        }
        if unsafe HostFault.guarding(faultContext, { CPU($0).processor.loop() }, cpu.address) { return exit }
        cpu.restoreHostMXCSR()
        if isExecuting { cpu.state.rip = cpu.instructionRIP }
        isExecuting = false
        accessIsImplicit = false
        if actsAsSupervisor {
            actsAsSupervisor = false
            cpu.state.cpl = 3
            cpu.updateMode()
        }
        transaction.isCareful = false
        transaction.abandon()
        return unsafe .hostFault(address: UInt64(faultContext.pointee.faultAddress))
    }

    /// Runs until `exit` says why not to go on.
    private func loop() {
        if let exit = nextDeferredWrite() { return leave(exit) }
        if transaction.isActive {
            // The instruction that waited for an answer comes first, before any event.
            if !completePortWrite(), let exit = step() { return leave(exit) }
        }
        while true {
            if needsAttention, let exit = attend() { return leave(exit) }
            if let exit = runBlocks() { return leave(exit) }
        }
    }

    /// An OUT that was handed out and still stands where it did has nothing left to do but to move on; false where it is
    /// to be executed again, with the checks that debugging asks for.
    private func completePortWrite() -> Bool {
        let place = transaction.portWritePlace
        guard transaction.portWriteDone, cpu.state.rip == place.rip, !isStepping,
            cpu.state.systemFlags & RFLAGS.TF.rawValue == 0
        else { return false }
        transaction.finish()
        cpu.state.interruptShadow = 0
        cpu.state.instructionCount &+= 1
        cpu.state.rip = place.following
        return true
    }

    /// Completes the OUT that the last run ended with, at once and not when the next run begins.
    public func finishPortWrite() {
        guard transaction.portWriteDone else { return }
        let trap = cpu.hasFlag(.TF)
        cpu.state.rip = transaction.portWritePlace.following
        cpu.state.interruptShadow = 0
        cpu.state.instructionCount &+= 1
        transaction.finish()
        trapFollows = nil
        afterInstruction(trap: trap)
    }

    private func leave(_ exit: ProcessorExit) { self.exit = exit }

    private var needsAttention: Bool {
        cpu.exitRequest != 0 || cpu.state.interruptShadow != 0 || cpu.state.pendingException.isPending
            || isStepping || cpu.state.systemFlags & (RFLAGS.TF.rawValue | RFLAGS.RF.rawValue) != 0
    }

    /// Runs from `state.rip` until a handler returns no successor; nil: go on.
    private func runBlocks() -> ProcessorExit? {
        let stop: Stop
        do throws(Stop) {
            guard let block = try currentBlock() else { return step() }
            var next = cpu.enter(block, at: cpu.state.rip)
            isExecuting = true
            while next != 0 {
                cpu.state.currentOp = next
                next = OpCursor(next).op.handler(cpu.address, next)
            }
            isExecuting = false
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
        transaction.rewind()
        transaction.isCareful = true
        // A shadow lasts for one instruction; one that makes a new shadow sets it again.
        let shadow = cpu.state.interruptShadow
        cpu.state.interruptShadow = 0
        do throws(Stop) {
            let op = try fetchSingle()
            cpu.state.blockRIP = cpu.state.rip
            cpu.state.currentOp = op
            cpu.state.instructionCount &+= 1
            let cursor = OpCursor(op)
            isExecuting = true
            let next = cursor.op.handler(cpu.address, op)
            isExecuting = false
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
        transaction.isCareful = false
        if stop.kind == .exitBefore {
            // The instruction has still to be executed, under the shadow that it had.
            cpu.state.interruptShadow = shadow
            return act(on: stop)
        }
        transaction.finish()
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
            transaction.abandon()
            return deliverFault(stop)
        case .careful: return step()
        case .exitBefore, .exitAfter: return exit
        }
    }

    /// The next MMIO write of the instruction that is complete.
    func nextDeferredWrite() -> ProcessorExit? {
        guard !transaction.writes.isEmpty else { return nil }
        let write = transaction.writes.removeFirst()
        transaction.setOutgoing(value: write.value, size: write.size)
        return .mmioWrite(address: write.address, size: write.size)
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

    private static let longestBlock = 64

    /// Decodes a block at host address `code`; nil where not even one instruction lies wholly in the page.
    private func decodeBlock(at code: UnsafeRawPointer, linear: UInt64, mode: CodeMode) -> BlockReference? {
        guard let place = cpu.codePage(linear) else { return nil }
        // Hash tables grow by floating point.
        cpu.settleMXCSR()
        let available = 4096 - Int(linear & 4095)
        // The lines are marked before the bytes are read, so that no store slips between, and the bytes are read once, since
        // another vCPU may be storing.
        let firstLine = Int(linear & 4095) / 64
        var ops: [Op] = []
        ops.reserveCapacity(24)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(VirtualProcessor.longestBlock * 15)
        var length = 0
        var ended = false, endsElsewhere = false
        while !ended, ops.count < VirtualProcessor.longestBlock {
            let wanted = min(available - length, 15)
            let last = (Int(linear & 4095) + length + wanted - 1) / 64
            markCode(place.records, place.page, VirtualProcessor.lines(firstLine, last))
            if bytes.count < length + wanted {
                let known = bytes.count
                unsafe bytes.append(
                    contentsOf: UnsafeRawBufferPointer(start: code + known, count: length + wanted - known))
            }
            let decoded = unsafe bytes.withUnsafeBytes {
                unsafe try? mode.decode(UnsafeRawBufferPointer(rebasing: $0[length..<length + wanted]))
            }
            guard let instruction = decoded else { break }
            let (op, ends) = Lowering.lower(instruction, mode: mode, offset: length)
            ops.append(op)
            length += Int(instruction.length)
            ended = ends
            endsElsewhere = instruction.opcodeRow.flow == .branch
            if length >= available { break }
        }
        guard !ops.isEmpty else { return nil }
        let count = ops.count
        if !endsElsewhere {
            var op = Op(handler: Interpreter.goOn)
            op.nextOffset = UInt16(truncatingIfNeeded: length)
            ops.append(op)
        }
        let lines = VirtualProcessor.lines(firstLine, (Int(linear & 4095) + length - 1) / 64)
        let block = unsafe Block(
            hostAddress: UInt(bitPattern: code), next: nil, codeGeneration: cpu.state.codeGeneration, mode: mode,
            instructionCount: UInt32(count), opCount: UInt32(ops.count), byteLength: UInt32(length),
            records: Unmanaged.passUnretained(place.records), page: place.page, lines: lines)
        return unsafe bytes.withUnsafeBytes { bytes in
            unsafe blocks.insert(block, ops: ops, bytes: bytes.baseAddress.unsafelyUnwrapped)
        }
    }

    private static func lines(_ first: Int, _ last: Int) -> UInt64 {
        (UInt64.max << UInt64(first)) & (UInt64.max >> UInt64(63 - min(last, 63)))
    }
}
