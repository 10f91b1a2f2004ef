import X86

/// One event on its way through the interrupt vector table or the IDT.
struct Event {
    enum Origin {
        /// An exception of the running instruction.
        case exception
        /// An interrupt or NMI.
        case external
        /// INT n, INT3, INTO: gates are checked against CPL.
        case software
        /// INT1: as an exception, from an instruction.
        case privilegedSoftware
    }

    var vector: UInt8
    var errorCode: UInt32?
    var origin: Origin
    /// RF in the flags that are pushed: set for faults, so that an instruction breakpoint does not hit again.
    var setsRF = false

    /// The EXT bit of error codes that arise on the way.
    var external: UInt32 { origin == .software ? 0 : SelectorErrorCode.external.rawValue }
    /// The error code that names the vector's gate.
    var gateCode: UInt32 { SelectorErrorCode.of(vector: vector) | external }
}

/// Delivery of exceptions and interrupts. Intel SDM vol. 3, 6.11 to 6.14 (protected and 64-bit mode), 20.1.4 (real-address
/// mode), 20.3 (virtual-8086 mode); vol. 2, INT n.
///
/// A throw leaves the registers as they were; the stack below the pointer may have been written.
extension CPU {
    /// Makes `event` happen between two instructions; the handler is to return to `next`.
    func deliver(_ event: Event, next: UInt64) throws(Stop) {
        if !isProtected {
            try deliverByVectorTable(event, next: next)
        } else if isLongMode {
            try prepareLong(event, next: next).enter(self)
        } else if let prepared = try prepareProtected(event, next: next) {
            prepared.enter(self)
        } else {
            let gate = try idtGate(event).gate
            try switchTask(throughGate: gate, .event, next: next, external: event.external, errorCode: event.errorCode)
        }
    }

    // MARK: Real-address mode

    private func deliverByVectorTable(_ event: Event, next: UInt64) throws(Stop) {
        let offset = UInt64(event.vector) * 4
        guard offset + 3 <= UInt64(state.idtr.limit) else {
            throw .fault(Exception.generalProtection.vector, code: event.gateCode)
        }
        let vector: UInt32 = try readTable(state.idtr.base &+ offset)
        let entry = UInt64(vector & 0xFFFF)
        let selector = UInt16(vector >> 16)
        var stack = StackFrame(self)
        try stack.reserve(3, size: 2)
        try stack.push(pushedFlags(event), size: 2)
        try stack.push(UInt64(self[segment: .cs].selector), size: 2)
        try stack.push(next, size: 2)
        stack.commit()
        state.systemFlags &= ~(RFLAGS.IF.rawValue | RFLAGS.TF.rawValue | RFLAGS.RF.rawValue | RFLAGS.AC.rawValue)
        var segment = realModeSegment(.cs, selector)
        segment.attributes |= 0x0B
        self[segment: .cs] = segment
        state.rip = entry
        updateMode()
    }

    private func pushedFlags(_ event: Event) -> UInt64 {
        rflags & ~RFLAGS.RF.rawValue | (event.setsRF || hasFlag(.RF) ? RFLAGS.RF.rawValue : 0)
    }

    /// INT n of virtual-8086 mode that CR4.VME sends to the 8086 program's own vector table. Intel SDM vol. 3, 20.3.3.
    /// False: it goes the usual way.
    func redirectV86(_ vector: UInt8, next: UInt64) throws(Stop) -> Bool {
        let tr = self[segment: .tr]
        guard state.cr4 & CR4.VME.rawValue != 0 else { return false }
        let mapBase = UInt64(try readTable(tr.base &+ 0x66, as: UInt16.self))
        let place = mapBase &- 32 &+ UInt64(vector / 8)
        guard mapBase >= 32, place <= UInt64(tr.limit) else { throw .generalProtection }
        let bits: UInt8 = try readTable(tr.base &+ place)
        guard bits & (1 << (vector & 7)) == 0 else { return false }
        let target: UInt32 = try readTable(UInt64(vector) * 4)
        var stack = StackFrame(self)
        var flags = rflags
        if iopl < 3 {
            flags |= RFLAGS.IOPL.rawValue
            flags = hasFlag(.VIF) ? flags | RFLAGS.IF.rawValue : flags & ~RFLAGS.IF.rawValue
        }
        try stack.push(flags, size: 2)
        try stack.push(UInt64(self[segment: .cs].selector), size: 2)
        try stack.push(next, size: 2)
        stack.commit()
        state.systemFlags &= ~(RFLAGS.TF.rawValue | (iopl < 3 ? RFLAGS.VIF.rawValue : RFLAGS.IF.rawValue))
        self[segment: .cs] = realModeSegment(.cs, UInt16(target >> 16))
        state.rip = UInt64(target & 0xFFFF)
        updateMode()
        return true
    }

    // MARK: The IDT

    private func idtGate(_ event: Event) throws(Stop) -> LocatedDescriptor {
        let size: UInt64 = isLongMode ? 16 : 8
        let offset = UInt64(event.vector) * size
        guard offset + size - 1 <= UInt64(state.idtr.limit) else {
            throw .fault(Exception.generalProtection.vector, code: event.gateCode)
        }
        let address = state.idtr.base &+ offset
        let low: UInt64 = try readTable(address)
        let high: UInt64 = isLongMode ? try readTable(address &+ 8) : 0
        return LocatedDescriptor(descriptor: SegmentDescriptor(rawValue: low, upper: high), address: address)
    }

    /// Everything that entering the handler changes.
    private struct Entry {
        var code: CodeTarget
        var offset: UInt64
        var stack: StackFrame
        /// SS, where it changes.
        var ss: SegmentLoad?
        var clearsIF: Bool
        var leavesV86 = false

        func enter(_ cpu: CPU) {
            if let ss { cpu[segment: .ss] = ss.register }
            if leavesV86 { for name in [SegmentName.es, .ds, .fs, .gs] { cpu[segment: name] = .null() } }
            stack.commit()
            var cleared = RFLAGS.TF.rawValue | RFLAGS.NT.rawValue | RFLAGS.RF.rawValue | RFLAGS.VM.rawValue
            if clearsIF { cleared |= RFLAGS.IF.rawValue }
            cpu.state.systemFlags &= ~cleared
            cpu.enterCode(code, offset)
        }
    }

    /// The gate's checks that 64-bit and protected mode share, and the code segment behind it; nil for a task gate.
    private func target(_ event: Event, cpl: UInt8) throws(Stop) -> (GateDescriptor, CodeTarget)? {
        let gate = try idtGate(event).gate
        guard let type = gate.systemType else { throw .fault(Exception.generalProtection.vector, code: event.gateCode) }
        switch type {
        case .interruptGate32, .trapGate32: break
        case .interruptGate16 where !isLongMode, .trapGate16 where !isLongMode, .taskGate where !isLongMode: break
        default: throw .fault(Exception.generalProtection.vector, code: event.gateCode)
        }
        if event.origin == .software, gate.dpl < cpl {
            throw .fault(Exception.generalProtection.vector, code: event.gateCode)
        }
        guard gate.present else { throw .fault(Exception.segmentNotPresent.vector, code: event.gateCode) }
        if type == .taskGate { return nil }
        let selector = gate.selector.rawValue
        guard !gate.selector.isNull else { throw .fault(.generalProtection, 0, event.external) }
        let found = try descriptor(selector, .generalProtection, event.external)
        let code = found.descriptor
        guard code.isCode, code.dpl <= cpl, !isLongMode || (code.long && !code.defaultBig) else {
            throw .fault(.generalProtection, selector, event.external)
        }
        guard code.present else { throw .fault(.segmentNotPresent, selector, event.external) }
        let newCPL = code.isConforming ? cpl : code.dpl
        if isV86, newCPL != 0 { throw .fault(.generalProtection, selector, event.external) }
        let load = SegmentLoad(found, selector: selector & 0xFFFC | UInt16(newCPL))
        return (gate, CodeTarget(load: load, cpl: newCPL, isLong: isLongMode))
    }

    /// The last step that can fail.
    private func markAccessed(_ entry: Entry) throws(Stop) {
        if let ss = entry.ss { try markAccessed(ss) }
        try markAccessed(entry.code.load)
    }

    /// Runs `body` with the rights of the handler's level.
    private func pushing<T>(for target: CodeTarget, _ body: () throws(Stop) -> T) throws(Stop) -> T {
        target.cpl == 3 ? try body() : try asSupervisor(body)
    }

    private func prepareProtected(_ event: Event, next: UInt64) throws(Stop) -> Entry? {
        let cpl = state.cpl
        guard let (gate, code) = try asSupervisor({ () throws(Stop) in try target(event, cpl: cpl) }) else {
            return nil
        }
        let isWide = gate.systemType == .interruptGate32 || gate.systemType == .trapGate32
        let size = isWide ? 4 : 2
        let offset = isWide ? gate.offset & 0xFFFF_FFFF : gate.offset & 0xFFFF
        let clearsIF = gate.systemType == .interruptGate32 || gate.systemType == .interruptGate16
        let entry = try pushing(for: code) { () throws(Stop) in
            var stack = StackFrame(self)
            stack.errorCode = event.external
            var ss: SegmentLoad?
            if code.cpl < cpl {
                let inner = try innerStack(code.cpl, external: event.external)
                stack = inner.0
                ss = inner.1
            }
            let isInner = ss != nil
            let count = 3 + (isInner ? isV86 ? 6 : 2 : 0) + (event.errorCode == nil ? 0 : 1)
            try stack.reserve(count, size: size)
            try checkEntry(offset, code, event.external)
            if isInner {
                if isV86 {
                    for name in [SegmentName.gs, .fs, .ds, .es] {
                        try stack.push(UInt64(self[segment: name].selector), size: size)
                    }
                }
                try stack.push(UInt64(self[segment: .ss].selector), size: size)
                try stack.push(rsp, size: size)
            }
            try stack.push(pushedFlags(event), size: size)
            try stack.push(UInt64(self[segment: .cs].selector), size: size)
            try stack.push(next, size: size)
            if let errorCode = event.errorCode { try stack.push(UInt64(errorCode), size: size) }
            return Entry(code: code, offset: offset, stack: stack, ss: ss, clearsIF: clearsIF, leavesV86: isV86)
        }
        try markAccessed(entry)
        return entry
    }

    /// 64-bit mode: always SS:RSP, the stack aligned to 16, IST. Intel SDM vol. 3, 6.14.
    private func prepareLong(_ event: Event, next: UInt64) throws(Stop) -> Entry {
        let cpl = state.cpl
        guard let (gate, code) = try asSupervisor({ () throws(Stop) in try target(event, cpl: cpl) }) else {
            throw .fault(Exception.generalProtection.vector, code: event.gateCode)
        }
        let entry = try pushing(for: code) { () throws(Stop) in
            var stack = StackFrame(self, flat: rsp, errorCode: event.external)
            var ss: SegmentLoad?
            if gate.ist != 0 || code.cpl < cpl {
                let inner = try innerStack(code.cpl, ist: gate.ist, external: event.external)
                stack = inner.0
                if code.cpl < cpl { ss = inner.1 }
            }
            stack.pointer &= ~15
            try stack.reserve(event.errorCode == nil ? 5 : 6, size: 8)
            try checkEntry(gate.offset, code, event.external)
            try stack.push(UInt64(self[segment: .ss].selector), size: 8)
            try stack.push(rsp, size: 8)
            try stack.push(pushedFlags(event), size: 8)
            try stack.push(UInt64(self[segment: .cs].selector), size: 8)
            try stack.push(next, size: 8)
            if let errorCode = event.errorCode { try stack.push(UInt64(errorCode), size: 8) }
            return Entry(
                code: code, offset: gate.offset, stack: stack, ss: ss, clearsIF: gate.systemType == .interruptGate32)
        }
        try markAccessed(entry)
        return entry
    }
}
