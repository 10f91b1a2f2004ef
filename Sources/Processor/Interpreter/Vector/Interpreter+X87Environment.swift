import X86

/// FNSTENV, FLDENV, FNSAVE, FRSTOR: the environment in its 16- and 32-bit forms, of protected and of real-address mode.
/// Intel SDM vol. 1, 8.1.10.
extension X87Ops {
    static let fnstenv: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).storeEnvironment(OpCursor(op), withRegisters: false)
        }
    }
    static let fldenv: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).loadEnvironment(OpCursor(op), withRegisters: false)
        }
    }
    static let fnsave: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).storeEnvironment(OpCursor(op), withRegisters: true)
        }
    }
    static let frstor: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            try CPU(cpu).loadEnvironment(OpCursor(op), withRegisters: true)
        }
    }
}

extension CPU {
    private var hasRealLayout: Bool { state.codeMode.contains(.realOrV86) }

    fileprivate func storeEnvironment(_ cursor: OpCursor, withRegisters: Bool) throws(Stop) {
        let wide = cursor.op.operandSize != 2
        let head = wide ? 28 : 14
        let size = withRegisters ? head + 80 : head
        let linear = try linearAddress(cursor, size: size, .write)
        let segment = cursor.op.segment
        if unsafe hostAddressForWrite(linear, size: size) == nil { try checkWritable(linear, size: size, segment) }
        let is64 = state.codeMode.codeSize == 8
        let fip = x87InstructionPointer, fdp = x87DataPointer
        let fcs = is64 ? 0 : fip >> 32 & 0xFFFF, fds = is64 ? 0 : fdp >> 32 & 0xFFFF
        var words: InlineArray<7, UInt32> = [
            UInt32(x87ControlWord), UInt32(x87StatusWord), UInt32(fullTagWord), 0, 0, 0, 0,
        ]
        if hasRealLayout {
            let ip = UInt32(truncatingIfNeeded: fip &+ fcs << 4), dp = UInt32(truncatingIfNeeded: fdp &+ fds << 4)
            words[3] = ip & 0xFFFF
            words[4] = wide ? (ip >> 16) << 12 | UInt32(x87Opcode) : (ip >> 16 & 15) << 12 | UInt32(x87Opcode)
            words[5] = dp & 0xFFFF
            words[6] = wide ? (dp >> 16) << 12 : (dp >> 16 & 15) << 12
        } else {
            words[3] = UInt32(truncatingIfNeeded: fip)
            words[4] = UInt32(fcs) | UInt32(wide ? x87Opcode : 0) << 16
            words[5] = UInt32(truncatingIfNeeded: fdp)
            words[6] = UInt32(fds)
        }
        let reserved: [Int] = hasRealLayout ? [0, 1, 2, 3, 5] : [0, 1, 2, 6]
        for index in 0..<7 {
            if wide {
                let filled = reserved.contains(index) ? words[index] | 0xFFFF_0000 : words[index]
                try write(linear &+ UInt64(index * 4), segment, filled)
            } else {
                try write(linear &+ UInt64(index * 2), segment, UInt16(truncatingIfNeeded: words[index]))
            }
        }
        if withRegisters {
            for index in 0..<8 {
                let (significand, head80) = stackRegister(index)
                // In words: the image is aligned if its first byte is.
                for word in 0..<4 as Range<UInt64> {
                    try write(
                        linear &+ UInt64(head + index * 10) &+ 2 * word, segment,
                        UInt16(truncatingIfNeeded: significand >> (16 * word)))
                }
                try write(linear &+ UInt64(head + index * 10 + 8), segment, head80)
            }
            initializeX87()
        } else {
            x87ControlWord |= 0x3F
            updateSummary()
        }
    }

    fileprivate func loadEnvironment(_ cursor: OpCursor, withRegisters: Bool) throws(Stop) {
        try checkPendingX87()
        let wide = cursor.op.operandSize != 2
        let head = wide ? 28 : 14
        let size = withRegisters ? head + 80 : head
        let linear = try linearAddress(cursor, size: size, .read)
        let segment = cursor.op.segment
        var words = InlineArray<7, UInt32>(repeating: 0)
        for index in 0..<7 {
            if wide {
                words[index] = try read(linear &+ UInt64(index * 4), segment)
            } else {
                words[index] = UInt32(try read(linear &+ UInt64(index * 2), segment, as: UInt16.self))
            }
        }
        var registers = InlineArray<16, UInt64>(repeating: 0)
        if withRegisters {
            for index in 0..<8 {
                for word in 0..<5 {
                    let place = linear &+ UInt64(head + index * 10 + 2 * word)
                    let value = UInt64(try read(place, segment, as: UInt16.self))
                    registers[index * 2 + word / 4] |= value << UInt64(16 * (word % 4))
                }
            }
        }
        if hasRealLayout {
            let high: UInt32 = wide ? 0xFFFF : 15
            x87Opcode = UInt16(truncatingIfNeeded: words[4])
            x87InstructionPointer = UInt64(words[3] & 0xFFFF | (words[4] >> 12 & high) << 16)
            x87DataPointer = UInt64(words[5] & 0xFFFF | (words[6] >> 12 & high) << 16)
        } else {
            if wide { x87Opcode = UInt16(truncatingIfNeeded: words[4] >> 16) }
            let keepsSelectors = state.codeMode.codeSize != 8
            x87InstructionPointer = UInt64(words[3]) | (keepsSelectors ? UInt64(words[4] & 0xFFFF) << 32 : 0)
            x87DataPointer = UInt64(words[5]) | (keepsSelectors ? UInt64(words[6] & 0xFFFF) << 32 : 0)
        }
        // The registers stay where they are under a new top.
        rotateStack(toTop: Int(words[1] >> 11 & 7))
        x87StatusWord = UInt16(truncatingIfNeeded: words[1])
        setTags(full: UInt16(truncatingIfNeeded: words[2]))
        loadControlWord(UInt16(truncatingIfNeeded: words[0]))
        if withRegisters {
            for index in 0..<16 { state.xsave[4 + index] = registers[index] }
        }
    }
}
