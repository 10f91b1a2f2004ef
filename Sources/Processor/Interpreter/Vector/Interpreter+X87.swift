import X86

/// x87 instructions that the host executes, and those that only touch control and status. Intel SDM vol. 1, chapter 8.
///
/// The op: `detail` the memory operand's size, `extra` the opcode as FOP has it and `QuickX87.Summary`, `link` the quick code,
/// `immediate` the slot of ST(i) and, from bit 16 on, the address of the code that exchanges the whole state.
enum X87Ops {
    static let register: Op.Handler = { CPU($0).runX87(OpCursor($1), 0) }
    /// FCMOVcc.
    static let conditional: Op.Handler = { CPU($0).runX87(OpCursor($1), UInt(CPU($0).statusFlags | 2)) }
    static let reading: Op.Handler = { CPU($0).runX87Reading(OpCursor($1)) }
    static let writing: Op.Handler = { CPU($0).runX87Writing(OpCursor($1)) }
    /// FINCSTP and its like: no operands, and FIP stays, but for AMD's processors.
    static let control: Op.Handler = { CPU($0).runX87Control(OpCursor($1)) }

    static let wait: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).checkPendingX87() }
    }
    static let fnop = wait
    static let fninit: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in CPU(cpu).initializeX87() }
    }
    static let fnclex: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in CPU(cpu).x87StatusWord &= 0x7F00 }
    }
    /// The FENI, FDISI and FSETPM of old: nothing, without waiting.
    static let ignored: Op.Handler = { OpCursor($1).next + 0 * $0 }
    static let fldcw: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).checkPendingX87()
            CPU(cpu).loadControlWord(try CPU(cpu).readOperand(OpCursor(op)))
        }
    }
    static let fnstcw: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).writeOperand(OpCursor(op), CPU(cpu).x87ControlWord)
        }
    }
    static let fnstsw: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).writeOperand(OpCursor(op), CPU(cpu).x87StatusWord)
        }
    }
    static let fnstswAX: Op.Handler = { cpu, op in
        CPU(cpu).setRegister(CPUState.offset(ofRegister: 0), CPU(cpu).x87StatusWord)
        return OpCursor(op).next
    }
    static let emms: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).checkPendingX87()
            CPU(cpu).rotateStack()
            CPU(cpu).setTags(0)
        }
    }
}

extension CPU {
    /// The guest's MXCSR is in the image that the host loads.
    @inline(__always) private func makeLoadable() {
        if state.xsave[3] & 0xFFFF_0000 != 0 { mxcsr &= 0xFFFF }
    }

    private func execute(_ cursor: OpCursor, _ argument: UInt) {
        if !executeQuickly(cursor, argument) {
            // The host's register is replaced meanwhile.
            settleMXCSR()
            makeLoadable()
            let data = state.xsave[2]
            _ = HostCode.call(UInt(cursor.op.immediate >> 16), address, cursor.address, argument)
            state.xsave[2] = data
        }
        setInstructionPointer(cursor)
    }

    @inline(__always) private func setInstructionPointer(_ cursor: OpCursor) {
        x87Opcode = UInt16(truncatingIfNeeded: cursor.op.extra)
        let rip = instructionRIP
        state.xsave[1] =
            state.codeMode.codeSize == 8 ? rip : rip & 0xFFFF_FFFF | UInt64(self[segment: .cs].selector) << 32
    }

    /// Executes the op without exchanging the whole state, where it can't fault and no register is empty that must not be;
    /// false where it can.
    @inline(__always) private func executeQuickly(_ cursor: OpCursor, _ argument: UInt) -> Bool {
        let summary = QuickX87.Summary(bits: cursor.op.extra)
        guard summary.isQuick, x87ControlWord & 0x3F == 0x3F else { return false }
        let top = x87Top, tags = Int(x87Tags)
        // Bit i: ST(i) is valid.
        let valid = (tags | tags << 8) >> top
        if summary.needsTop, valid & 1 == 0 { return false }
        if summary.needsOther, valid >> summary.other & 1 == 0 { return false }
        if summary.pops == 2, valid & 2 == 0 { return false }
        if summary.pushes {
            if valid & 0x80 != 0 { return false }
            let copied = summary.work == .duplicate ? stackRegister(summary.other) : nil
            shiftStack(by: 1)
            setTop((top - 1) & 7, tags: tags | 1 << ((top - 1) & 7))
            if let copied {
                setStackRegister(0, copied)
                x87StatusWord &= ~0x200
            } else {
                _ = HostCode.call(cursor.op.link, address, cursor.address, argument)
            }
            return true
        }
        switch summary.work {
        case .host: _ = HostCode.call(cursor.op.link, address, cursor.address, argument)
        case .exchange:
            let copied = stackRegister(summary.other)
            setStackRegister(summary.other, stackRegister(0))
            setStackRegister(0, copied)
            x87StatusWord &= ~0x200
        default:
            setStackRegister(summary.other, stackRegister(0))
            setTags(UInt8(truncatingIfNeeded: tags | 1 << ((top + summary.other) & 7)))
            x87StatusWord &= ~0x200
        }
        if summary.pops > 0 {
            var left = Int(x87Tags)
            for count in 0..<summary.pops { left &= ~(1 << ((top + count) & 7)) }
            shiftStack(by: -summary.pops)
            setTop((top + summary.pops) & 7, tags: left)
        }
        return true
    }

    /// The operand's offset in its segment. Intel SDM vol. 1, 8.1.8.
    private func setDataPointer(_ cursor: OpCursor) {
        let sum = sum(cursor)
        if state.codeMode.codeSize == 8 {
            state.xsave[2] = cursor.op.addressing == .flat ? sum : sum & 0xFFFF_FFFF
        } else {
            let offset = cursor.op.addressSize == 2 ? sum & 0xFFFF : sum & 0xFFFF_FFFF
            state.xsave[2] = offset | UInt64(self[segment: cursor.op.segment].selector) << 32
        }
    }

    @inline(__always) fileprivate func runX87(_ cursor: OpCursor, _ argument: UInt) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try checkPendingX87()
            execute(cursor, argument)
        }
    }

    fileprivate func runX87Control(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try checkPendingX87()
            let saved = (state.xsave[1], state.xsave[2], x87Opcode)
            makeLoadable()
            _ = HostCode.call(UInt(cursor.op.immediate >> 16), address, cursor.address, 0)
            (state.xsave[1], state.xsave[2], x87Opcode) = saved
            if state.codeMode.contains(.amd) { setInstructionPointer(cursor) }
        }
    }

    fileprivate func runX87Reading(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try checkPendingX87()
            let size = Int(cursor.op.detail)
            let linear = try linearAddress(cursor, size: size, .read)
            var value = SIMD4<UInt64>()
            switch size {
            case 8: value[0] = try read(linear, cursor.op.segment)
            case 4: value[0] = UInt64(try read(linear, cursor.op.segment, as: UInt32.self))
            default: value = try readPieces(linear, cursor.op.segment, size: size)
            }
            unsafe withUnsafePointer(to: &value) { execute(cursor, UInt(bitPattern: $0)) }
            setDataPointer(cursor)
        }
    }

    fileprivate func runX87Writing(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            try checkPendingX87()
            let size = Int(cursor.op.detail)
            let linear = try linearAddress(cursor, size: size, .write)
            if let host = unsafe hostAddressForWrite(linear, size: size) {
                // The host stores there itself: where that faults nothing has changed yet.
                execute(cursor, UInt(bitPattern: host))
                return setDataPointer(cursor)
            }
            try checkWritable(linear, size: size, cursor.op.segment)
            try storingX87 { () throws(Stop) in
                var value = SIMD4<UInt64>()
                unsafe withUnsafeMutablePointer(to: &value) { execute(cursor, UInt(bitPattern: $0)) }
                setDataPointer(cursor)
                // Nothing is stored when an unmasked exception other than precision stops the store.
                if x87StatusWord & ~x87ControlWord & 0x1F != 0 { return }
                try writePieces(linear, cursor.op.segment, size: size, value)
            }
        }
    }
}
