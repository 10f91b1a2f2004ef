import X86

/// MOV to and from CR and DR, CLTS, LMSW, SMSW, descriptor tables, invalidations, HLT and hypercalls. Intel SDM vol. 2.
extension Interpreter {
    static let controlRegisters: [(Mnemonic, Lowering.Lowerer)] = [
        (.movCR, { lowerControl(&$0) }),
        (.movDR, { lowerDebug(&$0) }),
        (.clts, { $0.use { CPU($0).clearTaskSwitched(OpCursor($1)) } }),
        (.lmsw, { lowerStatus(&$0) { CPU($0).loadStatus(OpCursor($1)) } }),
        (.smsw, { lowerStatus(&$0) { CPU($0).storeStatus(OpCursor($1)) } }),
        (.lgdt, { $0.use { CPU($0).loadTable(OpCursor($1), interrupts: false) } }),
        (.lidt, { $0.use { CPU($0).loadTable(OpCursor($1), interrupts: true) } }),
        (.sgdt, { $0.use { CPU($0).storeTable(OpCursor($1), interrupts: false) } }),
        (.sidt, { $0.use { CPU($0).storeTable(OpCursor($1), interrupts: true) } }),
        (.invlpg, { $0.use { CPU($0).invalidatePage(OpCursor($1)) } }),
        (.invpcid, { lowerInvalidate(&$0) }),
        (.invd, { $0.use { CPU($0).invalidateCaches(OpCursor($1)) } }),
        (.wbinvd, { $0.use { CPU($0).invalidateCaches(OpCursor($1)) } }),
    ]

    static let processorControl: [(Mnemonic, Lowering.Lowerer)] = [
        (.hlt, { $0.use { CPU($0).halt(OpCursor($1)) } }),
        (.monitor, { $0.use { CPU($0).monitor(OpCursor($1)) } }),
        (.mwait, { $0.use { CPU($0).wait(OpCursor($1)) } }),
        (.vmcall, { $0.use { CPU($0).hypercall(OpCursor($1)) } }),
        (.vmmcall, { $0.use { CPU($0).hypercall(OpCursor($1)) } }),
        (.rsm, { $0.use(undefined) }),
    ]

    private static func lowerControl(_ l: inout Lowering) -> Bool {
        if case .control(let number) = l.operand0, let source = l.offset(of: l.operand1) {
            guard isControlRegister(number, l.mode) else { return false }
            l.op.source = source
            l.op.extra = UInt32(number)
            return l.use { CPU($0).moveToControl(OpCursor($1)) }
        }
        guard case .control(let number) = l.operand1, let destination = l.offset(of: l.operand0),
            isControlRegister(number, l.mode)
        else {
            return false
        }
        l.op.destination = destination
        l.op.extra = UInt32(number)
        return l.use { CPU($0).moveFromControl(OpCursor($1)) }
    }

    private static func isControlRegister(_ number: UInt8, _ mode: CodeMode) -> Bool {
        switch number {
        case 0, 2, 3, 4: true
        case 8: mode.codeSize == 8
        default: false
        }
    }

    private static func lowerDebug(_ l: inout Lowering) -> Bool {
        if case .debug(let number) = l.operand0, number < 8, let source = l.offset(of: l.operand1) {
            l.op.source = source
            l.op.extra = UInt32(number)
            return l.use { CPU($0).moveToDebug(OpCursor($1)) }
        }
        guard case .debug(let number) = l.operand1, number < 8, let destination = l.offset(of: l.operand0) else {
            return false
        }
        l.op.destination = destination
        l.op.extra = UInt32(number)
        return l.use { CPU($0).moveFromDebug(OpCursor($1)) }
    }

    private static func lowerStatus(_ l: inout Lowering, _ handler: Op.Handler) -> Bool {
        l.setGeneral(l.operand0)
        return l.use(handler)
    }

    private static func lowerInvalidate(_ l: inout Lowering) -> Bool {
        guard !l.mode.contains(.realOrV86) || l.mode.codeSize != 8, let source = l.offset(of: l.operand0),
            l.isMemory(l.operand1)
        else {
            return false
        }
        l.op.source = source
        return l.use { CPU($0).invalidateByPCID(OpCursor($1)) }
    }
}

extension CPU {
    /// A whole register as MOV to CR and DR takes it.
    private func wholeRegister(_ offset: UInt16) -> UInt64 {
        is64Bit ? register(offset) : UInt64(register(offset, as: UInt32.self))
    }

    private func setWholeRegister(_ offset: UInt16, _ value: UInt64) {
        if is64Bit { setRegister(offset, value) } else { setRegister(offset, UInt32(truncatingIfNeeded: value)) }
    }

    // MARK: CR and DR

    func moveToControl(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            let value = wholeRegister(cursor.op.source)
            switch cursor.op.extra {
            case 0: try writeCR0(value)
            case 2: state.cr2 = value
            case 3: try writeCR3(value)
            case 4: try writeCR4(value)
            default:
                guard value < 16 else { throw .generalProtection }
                let host = processor.host
                let old = host.taskPriority
                host.taskPriority = UInt8(value)
                if !host.hasLocalAPIC, UInt8(value) < old {
                    processor.exit = .taskPriorityChanged
                    state.rip = followingRIP(cursor)
                    throw .exitAfter
                }
            }
        }
    }

    func moveFromControl(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            let value =
                switch cursor.op.extra {
                case 0: state.cr0
                case 2: state.cr2
                case 3: state.cr3
                case 4: state.cr4
                default: UInt64(processor.host.taskPriority & 15)
                }
            setWholeRegister(cursor.op.destination, value)
        }
    }

    func moveToDebug(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            let number = try debugRegister(UInt8(truncatingIfNeeded: cursor.op.extra))
            try writeDR(number, wholeRegister(cursor.op.source))
        }
    }

    func moveFromDebug(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            let number = try debugRegister(UInt8(truncatingIfNeeded: cursor.op.extra))
            setWholeRegister(cursor.op.destination, readDR(number))
        }
    }

    func clearTaskSwitched(_ cursor: OpCursor) -> UInt {
        lastInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            state.cr0 &= ~CR0.TS.rawValue
            updateMode()
        }
    }

    func loadStatus(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            try loadMachineStatus(try word(cursor, cursor.op.destination))
        }
    }

    func storeStatus(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try checkUserModePrevention()
            try storeWord(cursor, state.cr0)
        }
    }

    // MARK: GDTR and IDTR

    func loadTable(_ cursor: OpCursor, interrupts: Bool) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            let linear = try linearAddress(cursor, size: is64Bit ? 10 : 6, .read)
            let segment = cursor.op.segment
            let limit: UInt16 = try read(linear, segment)
            var base: UInt64
            if is64Bit {
                base = try read(linear &+ 2, segment)
                guard CPU.isCanonical(base) else { throw .generalProtection }
            } else {
                base = UInt64(try read(linear &+ 2, segment, as: UInt32.self))
                if cursor.op.operandSize == 2 { base &= 0xFF_FFFF }
            }
            let table = DescriptorTableRegister(base: base, limit: limit)
            if interrupts { state.idtr = table } else { state.gdtr = table }
        }
    }

    func storeTable(_ cursor: OpCursor, interrupts: Bool) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try checkUserModePrevention()
            let table = interrupts ? state.idtr : state.gdtr
            let size = is64Bit ? 10 : 6
            let linear = try linearAddress(cursor, size: size, .write)
            let segment = cursor.op.segment
            try checkWritable(linear, size: size, segment)
            try write(linear, segment, table.limit)
            if is64Bit {
                try write(linear &+ 2, segment, table.base)
            } else {
                try write(linear &+ 2, segment, UInt32(truncatingIfNeeded: table.base))
            }
        }
    }

    // MARK: Invalidation

    func invalidatePage(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            var linear = sum(cursor)
            if !is64Bit {
                linear = (linear &+ self[segment: cursor.op.segment].base) & 0xFFFF_FFFF
            } else {
                linear = linear &+ register(cursor.op.segmentBase, as: UInt64.self)
            }
            // No effect and no fault where the address is not canonical.
            if CPU.isCanonical(linear) { processor.tlb.flushPage(self, linear) }
        }
    }

    func invalidateByPCID(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in
            try requirePrivilege()
            let kind = wholeRegister(cursor.op.source)
            let place = try linearAddress(cursor, size: 16, .read)
            let pcid: UInt64 = try read(place, cursor.op.segment)
            let linear: UInt64 = try read(place &+ 8, cursor.op.segment)
            guard pcid >> 12 == 0 else { throw .generalProtection }
            if kind < 2, state.cr4 & CR4.PCIDE.rawValue == 0, pcid != 0 { throw .generalProtection }
            let tlb = processor.tlb
            switch kind {
            case 0:
                guard CPU.isCanonical(linear) else { throw .generalProtection }
                tlb.flushPage(self, linear, pcid: UInt16(pcid))
            case 1: tlb.flushPCID(self, UInt16(pcid))
            case 2: tlb.flushAll(self)
            case 3: tlb.flushAllNonGlobal(self)
            default: throw .generalProtection
            }
        }
    }

    /// Nothing of the guest's memory is held back from anyone.
    func invalidateCaches(_ cursor: OpCursor) -> UInt {
        serializingInstruction(cursor) { () throws(Stop) in try requirePrivilege() }
    }

    // MARK: Stopping and calling out

    func halt(_ cursor: OpCursor) -> UInt {
        guard state.cpl == 0 else { return stopped(.generalProtection) }
        state.rip = followingRIP(cursor)
        processor.exit = .halted
        return stopped(.exitAfter)
    }

    /// MONITOR and MWAIT do nothing, as under KVM: an intercept comes before any check but that of the level.
    private func checkMonitorOffered() throws(Stop) {
        guard state.cpl == 0, processor.host.offersMonitor else { throw .invalidOpcode }
    }

    func monitor(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in try checkMonitorOffered() }
    }

    func wait(_ cursor: OpCursor) -> UInt {
        lastInstruction(cursor) { () throws(Stop) in try checkMonitorOffered() }
    }

    func hypercall(_ cursor: OpCursor) -> UInt {
        if case .hypercall(let result) = processor.unfinished.answer {
            rax = result
            return leave(cursor)
        }
        if processor.host.hypercall() { return leave(cursor) }
        processor.exit = .hypercall
        return stopped(.exitBefore)
    }
}
