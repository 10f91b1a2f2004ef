import X86

/// Transfers to another code segment: JMP, CALL, RET and IRET, far; call gates.
///
/// Intel SDM vol. 2, JMP, CALL, RET, IRET; vol. 3, 5.8. Everything is checked and every byte of stack written before
/// the first register changes.
extension CPU {
    // MARK: Code segments

    /// A code segment that is ready to be entered at a privilege level.
    struct CodeTarget {
        var load: SegmentLoad
        var cpl: UInt8
        var isLong: Bool

        var segment: SegmentRegister { load.register }
    }

    /// Checks an entry point: canonical, or within the limit.
    func checkEntry(_ offset: UInt64, _ target: CodeTarget, _ external: UInt32 = 0) throws(Stop) {
        if target.isLong ? !CPU.isCanonical(offset) : offset > UInt64(target.segment.limit) {
            throw .fault(.generalProtection, 0, external)
        }
    }

    /// Finishes the checks of a code descriptor and forms the register.
    private func codeTarget(_ found: LocatedDescriptor, selector: UInt16, cpl: UInt8) throws(Stop) -> CodeTarget {
        if isLongMode, found.descriptor.long, found.descriptor.defaultBig { throw .fault(.generalProtection, selector) }
        guard found.descriptor.present else { throw .fault(.segmentNotPresent, selector) }
        let load = SegmentLoad(found, selector: selector & 0xFFFC | UInt16(cpl))
        return CodeTarget(load: load, cpl: cpl, isLong: isLongMode && found.descriptor.long)
    }

    /// CS as a direct far JMP or CALL names it.
    private func directTarget(_ located: LocatedDescriptor, selector: UInt16) throws(Stop) -> CodeTarget {
        let descriptor = located.descriptor
        let cpl = state.cpl
        if descriptor.isConforming {
            guard descriptor.dpl <= cpl else { throw .fault(.generalProtection, selector) }
        } else {
            guard Selector(selector).rpl <= cpl, descriptor.dpl == cpl else {
                throw .fault(.generalProtection, selector)
            }
        }
        return try codeTarget(located, selector: selector, cpl: cpl)
    }

    /// Enters a code segment: the last step of every transfer.
    func enterCode(_ target: CodeTarget, _ offset: UInt64) {
        self[segment: .cs] = target.segment
        state.cpl = target.cpl
        state.rip = target.isLong ? offset : offset & 0xFFFF_FFFF
        updateMode()
    }

    /// Loads CS in real-address or virtual-8086 mode.
    private func enterRealMode(_ selector: UInt16, _ offset: UInt64) {
        var segment = realModeSegment(.cs, selector)
        if !isV86 { segment.attributes |= 0x0B }
        self[segment: .cs] = segment
        state.rip = offset
        updateMode()
    }

    // MARK: JMP and CALL

    func farJump(_ selector: UInt16, _ offset: UInt64, next: UInt64) throws(Stop) {
        if isRealOrV86 {
            guard offset <= UInt64(self[segment: .cs].limit) else { throw .generalProtection }
            return enterRealMode(selector, offset)
        }
        guard !Selector(selector).isNull else { throw .generalProtection }
        let found = try descriptor(selector)
        if found.descriptor.isCode {
            let target = try directTarget(found, selector: selector)
            try checkEntry(offset, target)
            try markAccessed(target.load)
            return enterCode(target, offset)
        }
        guard let type = try farSystemType(found.descriptor, selector) else {
            throw .fault(.generalProtection, selector)
        }
        switch type {
        case .callGate16, .callGate32:
            let (target, entry, _) = try gateTarget(selector, isJump: true)
            try checkEntry(entry, target)
            try markAccessed(target.load)
            enterCode(target, entry)
        case .taskGate: try switchTask(throughGate: found.gate, .jump, next: next)
        default: try switchTask(to: selector, .jump, next: next)
        }
    }

    /// A call of operand size `size`; `next` is the return address.
    func farCall(_ selector: UInt16, _ offset: UInt64, size: Int, next: UInt64) throws(Stop) {
        var stack = StackFrame(self)
        let oldCS = UInt64(self[segment: .cs].selector)
        if isRealOrV86 {
            try stack.reserve(2, size: size)
            guard offset <= UInt64(self[segment: .cs].limit) else { throw .generalProtection }
            try stack.push(oldCS, size: size)
            try stack.push(next, size: size)
            stack.commit()
            return enterRealMode(selector, offset)
        }
        guard !Selector(selector).isNull else { throw .generalProtection }
        let found = try descriptor(selector)
        if found.descriptor.isCode {
            let target = try directTarget(found, selector: selector)
            try stack.reserve(2, size: size)
            try checkEntry(offset, target)
            try stack.push(oldCS, size: size)
            try stack.push(next, size: size)
            try markAccessed(target.load)
            stack.commit()
            return enterCode(target, offset)
        }
        guard let type = try farSystemType(found.descriptor, selector) else {
            throw .fault(.generalProtection, selector)
        }
        switch type {
        case .callGate16, .callGate32: try callThroughGate(selector, next: next)
        case .taskGate: try switchTask(throughGate: found.gate, .call, next: next)
        default: try switchTask(to: selector, .call, next: next)
        }
    }

    /// The kind of gate or TSS that a far JMP or CALL named, once privilege and presence allow it; nil: #GP.
    private func farSystemType(_ descriptor: SegmentDescriptor, _ selector: UInt16) throws(Stop)
        -> SystemDescriptorType?
    {
        guard let type = descriptor.systemType else { return nil }
        switch type {
        case .callGate32: break
        case .callGate16, .taskGate, .tss16Available, .tss32Available: if isLongMode { return nil }
        default: return nil
        }
        guard descriptor.dpl >= max(state.cpl, Selector(selector).rpl) else { return nil }
        guard descriptor.present else { throw .fault(.segmentNotPresent, selector) }
        return type
    }

    /// What a call gate leads to. Intel SDM vol. 3, 5.8.4.
    private func gateTarget(_ gateSelector: UInt16, isJump: Bool) throws(Stop) -> (
        CodeTarget, entry: UInt64, gate: GateDescriptor
    ) {
        let gate = try systemDescriptor(gateSelector).gate
        let selector = gate.selector.rawValue
        guard !gate.selector.isNull else { throw .generalProtection }
        let found = try descriptor(selector)
        let code = found.descriptor
        guard code.isCode, code.dpl <= state.cpl else { throw .fault(.generalProtection, selector) }
        if isLongMode { guard code.long, !code.defaultBig else { throw .fault(.generalProtection, selector) } }
        if isJump, !code.isConforming {
            guard code.dpl == state.cpl else { throw .fault(.generalProtection, selector) }
        }
        let cpl = code.isConforming ? state.cpl : code.dpl
        let entry = gate.systemType == .callGate16 ? gate.offset & 0xFFFF : gate.offset
        return (try codeTarget(found, selector: selector, cpl: cpl), entry, gate)
    }

    private func callThroughGate(_ gateSelector: UInt16, next: UInt64) throws(Stop) {
        let (target, entry, gate) = try gateTarget(gateSelector, isJump: false)
        let size = isLongMode ? 8 : gate.systemType == .callGate16 ? 2 : 4
        let oldCS = UInt64(self[segment: .cs].selector)
        if target.cpl == state.cpl {
            var stack = isLongMode ? StackFrame(self, flat: rsp, errorCode: 0) : StackFrame(self)
            try stack.reserve(2, size: size)
            try checkEntry(entry, target)
            try stack.push(oldCS, size: size)
            try stack.push(next, size: size)
            try markAccessed(target.load)
            stack.commit()
            return enterCode(target, entry)
        }
        // The parameters come from the caller's stack, by its rights.
        var caller = StackFrame(self)
        let oldSS = UInt64(self[segment: .ss].selector)
        var parameters: [UInt64] = []
        if !isLongMode {
            for _ in 0..<gate.parameterCount { parameters.append(try caller.pop(size: size)) }
        }
        let (stack, ss) = try asSupervisor { () throws(Stop) in
            var (stack, ss) = try innerStack(target.cpl, external: 0)
            try stack.reserve(4 + parameters.count, size: size)
            try checkEntry(entry, target)
            try stack.push(oldSS, size: size)
            // The gate's size tells how much of it, the caller's stack does not.
            try stack.push(rsp, size: size)
            for parameter in parameters.reversed() { try stack.push(parameter, size: size) }
            try stack.push(oldCS, size: size)
            try stack.push(next, size: size)
            return (stack, ss)
        }
        try markAccessed(ss)
        try markAccessed(target.load)
        self[segment: .ss] = ss.register
        stack.commit()
        enterCode(target, entry)
    }

    /// The stack for privilege level `cpl` as the TSS names it. Intel SDM vol. 3, 5.8.5 and 7.7; to be called as supervisor.
    func innerStack(_ cpl: UInt8, ist: UInt8 = 0, external: UInt32) throws(Stop) -> (StackFrame, SegmentLoad) {
        let tr = self[segment: .tr]
        func need(_ offset: UInt64, _ size: UInt64) throws(Stop) -> UInt64 {
            guard offset + size - 1 <= UInt64(tr.limit) else { throw .fault(.invalidTSS, tr.selector, external) }
            return tr.base &+ offset
        }
        if isLongMode {
            let offset = ist == 0 ? 4 + UInt64(cpl) * 8 : 0x24 + UInt64(ist - 1) * 8
            let pointer: UInt64 = try readTable(try need(offset, 8))
            guard CPU.isCanonical(pointer) else { throw .fault(.stackFault, 0, external) }
            let ss = SegmentRegister(
                limit: 0, selector: UInt16(cpl), attributes: SegmentRegister.unusable | UInt16(cpl) << 5)
            return (StackFrame(self, flat: pointer, errorCode: external), SegmentLoad(ss))
        }
        let pointer: UInt64, selector: UInt16
        if tr.attributes & 8 != 0 {
            let place = try need(4 + UInt64(cpl) * 8, 6)
            pointer = UInt64(try readTable(place, as: UInt32.self))
            selector = try readTable(place &+ 4)
        } else {
            let place = try need(2 + UInt64(cpl) * 4, 4)
            pointer = UInt64(try readTable(place, as: UInt16.self))
            selector = try readTable(place &+ 2)
        }
        let ss = try stackSegment(selector, cpl: cpl, .invalidTSS, external, toLong: false)
        let code = UInt32(selector & 0xFFFC) | external
        return (StackFrame(self, segment: ss.register, pointer: pointer, errorCode: code), ss)
    }

    // MARK: RET

    /// RETF of operand size `size` that drops `extra` bytes of parameters.
    func farReturn(size: Int, extra: UInt64) throws(Stop) {
        var stack = StackFrame(self)
        let frame: InlineArray<2, UInt64> = try stack.popFrame(size: size)
        let (offset, selector) = (frame[0], UInt16(truncatingIfNeeded: frame[1]))
        if isRealOrV86 {
            guard offset <= UInt64(self[segment: .cs].limit) else { throw .generalProtection }
            stack.pointer = stack.pointer &+ extra
            stack.commit()
            return enterRealMode(selector, offset)
        }
        stack.pointer = stack.pointer &+ extra
        let early = isPoppedEarly(selector) ? try outerStack(&stack, size: size) : nil
        let target = try returnTarget(selector)
        if target.cpl == state.cpl {
            try checkEntry(offset, target)
            try markAccessed(target.load)
            stack.commit()
            return enterCode(target, offset)
        }
        let outer = if let early { early } else { try outerStack(&stack, size: size) }
        let ss = try returnStack(outer.selector, target, offset)
        returnOutward(target, offset, ss, outer.pointer &+ extra)
    }

    /// The stack of the level that a return goes to, as it lies on the present one.
    private func outerStack(_ stack: inout StackFrame, size: Int) throws(Stop) -> (pointer: UInt64, selector: UInt16) {
        let frame: InlineArray<2, UInt64> = try stack.popFrame(size: size)
        return (frame[0], UInt16(truncatingIfNeeded: frame[1]))
    }

    /// Whether that is popped before the code segment is looked at: by AMD's processors, which go by the selector's RPL alone
    /// (AMD APM vol. 3, RETF and IRET). Intel's look at the segment first (Intel SDM vol. 2, RET and IRET), but for IRET of
    /// 64-bit code, which pops all five in any case.
    private func isPoppedEarly(_ selector: UInt16) -> Bool {
        state.codeMode.contains(.amd) && Selector(selector).rpl != state.cpl
    }

    /// CS as RET and IRET find it on the stack.
    private func returnTarget(_ selector: UInt16) throws(Stop) -> CodeTarget {
        guard !Selector(selector).isNull else { throw .generalProtection }
        let found = try asSupervisor { () throws(Stop) in try descriptor(selector) }
        let rpl = Selector(selector).rpl
        guard found.descriptor.isCode, rpl >= state.cpl,
            found.descriptor.isConforming ? found.descriptor.dpl <= rpl : found.descriptor.dpl == rpl
        else { throw .fault(.generalProtection, selector) }
        return try codeTarget(found, selector: selector, cpl: rpl)
    }

    /// SS of the outer level that a return goes to, and the last checks of one: the entry point's.
    private func returnStack(_ selector: UInt16, _ target: CodeTarget, _ offset: UInt64) throws(Stop) -> SegmentRegister
    {
        let load = try stackSegment(selector, cpl: target.cpl, .generalProtection, toLong: target.isLong)
        try checkEntry(offset, target)
        try markAccessed(load)
        try markAccessed(target.load)
        return load.register
    }

    private func returnOutward(_ target: CodeTarget, _ offset: UInt64, _ ss: SegmentRegister, _ pointer: UInt64) {
        let outward = target.cpl > state.cpl
        self[segment: .ss] = ss
        let width = target.isLong ? 8 : ss.attributes & SegmentRegister.big != 0 ? 4 : 2
        StackFrame(self).commit(pointer, width: width)
        state.cpl = target.cpl
        if outward { dropInnerSegments() }
        enterCode(target, offset)
    }

    // MARK: IRET

    private static let flags16: UInt64 =
        RFLAGS.status.rawValue | RFLAGS.TF.rawValue | RFLAGS.DF.rawValue | RFLAGS.NT.rawValue
    private static let flags32: UInt64 = flags16 | RFLAGS.AC.rawValue | RFLAGS.ID.rawValue

    /// Bits of RFLAGS that IRET and POPF change at privilege `cpl` (the level before the return).
    func changeableFlags(size: Int, resume: Bool) -> UInt64 {
        var mask = size == 2 ? CPU.flags16 : CPU.flags32
        let cpl = isProtected ? state.cpl : 0
        if cpl == 0 { mask |= RFLAGS.IOPL.rawValue }
        if cpl <= iopl || cpl == 0 { mask |= RFLAGS.IF.rawValue }
        if resume, size != 2 { mask |= RFLAGS.RF.rawValue }
        return mask
    }

    /// Replaces the flags of `mask`. RF is kept only while there are breakpoints that it could hold back, or a trap shows it.
    func replaceFlags(_ value: UInt64, mask: UInt64) {
        var new = rflags & ~mask | value & mask
        if !processor.isStepping, !hasFlag(.TF) { new &= ~RFLAGS.RF.rawValue }
        rflags = new
    }

    /// IRET, IRETD, IRETQ.
    func interruptReturn(size: Int, next: UInt64) throws(Stop) {
        if !isProtected { return try interruptReturnReal(size: size, changeableFlags(size: size, resume: true)) }
        if isV86 { return try interruptReturnV86(size: size) }
        if hasFlag(.NT) {
            guard !isLongMode else { throw .generalProtection }
            return try returnToLinkedTask(next: next)
        }
        var stack = StackFrame(self)
        let frame: InlineArray<3, UInt64> = try stack.popFrame(size: size)
        let (offset, selector, flags) = (frame[0], UInt16(truncatingIfNeeded: frame[1]), frame[2])
        if size == 4, flags & RFLAGS.VM.rawValue != 0, state.cpl == 0, !isLongMode {
            return try returnToV86(&stack, offset, selector, flags)
        }
        let early = is64Bit || isPoppedEarly(selector) ? try outerStack(&stack, size: size) : nil
        let target = try returnTarget(selector)
        var mask = changeableFlags(size: size, resume: true)
        if state.cpl == 0, size != 2 { mask |= RFLAGS.VIF.rawValue | RFLAGS.VIP.rawValue }
        if target.cpl == state.cpl, !is64Bit {
            try checkEntry(offset, target)
            try markAccessed(target.load)
            stack.commit()
            replaceFlags(flags, mask: mask)
            state.nmiBlocked = false
            return enterCode(target, offset)
        }
        let outer = if let early { early } else { try outerStack(&stack, size: size) }
        let ss = try returnStack(outer.selector, target, offset)
        replaceFlags(flags, mask: mask)
        state.nmiBlocked = false
        returnOutward(target, offset, ss, outer.pointer)
    }

    private func interruptReturnReal(size: Int, _ mask: UInt64) throws(Stop) {
        var stack = StackFrame(self)
        let frame: InlineArray<3, UInt64> = try stack.popFrame(size: size)
        let (offset, selector, flags) = (frame[0], UInt16(truncatingIfNeeded: frame[1]), frame[2])
        guard offset <= UInt64(self[segment: .cs].limit) else { throw .generalProtection }
        stack.commit()
        replaceFlags(flags, mask: mask)
        state.nmiBlocked = false
        enterRealMode(selector, offset)
    }

    /// IRET in virtual-8086 mode: needs IOPL 3, or CR4.VME and 16 bits. Intel SDM vol. 3, 20.2.7 and 20.3.
    private func interruptReturnV86(size: Int) throws(Stop) {
        if iopl == 3 {
            return try interruptReturnReal(size: size, changeableFlags(size: size, resume: true) | RFLAGS.IF.rawValue)
        }
        guard state.cr4 & CR4.VME.rawValue != 0, size == 2 else { throw .generalProtection }
        var stack = StackFrame(self)
        let frame: InlineArray<3, UInt64> = try stack.popFrame(size: 2)
        let (offset, selector, flags) = (frame[0], UInt16(truncatingIfNeeded: frame[1]), frame[2])
        let setsIF = flags & RFLAGS.IF.rawValue != 0
        guard flags & RFLAGS.TF.rawValue == 0, !(setsIF && hasFlag(.VIP)) else { throw .generalProtection }
        guard offset <= UInt64(self[segment: .cs].limit) else { throw .generalProtection }
        stack.commit()
        replaceFlags(
            flags & ~RFLAGS.VIF.rawValue | (setsIF ? RFLAGS.VIF.rawValue : 0), mask: CPU.flags16 | RFLAGS.VIF.rawValue)
        state.nmiBlocked = false
        enterRealMode(selector, offset)
    }

    /// IRETD at CPL 0 with VM in the image. Intel SDM vol. 3, 20.2.5.
    private func returnToV86(_ stack: inout StackFrame, _ offset: UInt64, _ selector: UInt16, _ flags: UInt64)
        throws(Stop)
    {
        let pointer = try stack.pop(size: 4)
        var selectors: [(SegmentName, UInt16)] = [(.cs, selector)]
        for name in [SegmentName.ss, .es, .ds, .fs, .gs] {
            selectors.append((name, UInt16(truncatingIfNeeded: try stack.pop(size: 4))))
        }
        guard offset <= 0xFFFF else { throw .generalProtection }
        let mask =
            changeableFlags(size: 4, resume: true) | RFLAGS.VM.rawValue | RFLAGS.VIF.rawValue | RFLAGS.VIP.rawValue
        replaceFlags(flags, mask: mask)
        for (name, selector) in selectors { self[segment: name] = realModeSegment(name, selector) }
        rsp = pointer
        state.cpl = 3
        state.nmiBlocked = false
        state.rip = offset
        updateMode()
    }
}
