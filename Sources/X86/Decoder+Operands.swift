/// The second half of a decoding, when the row is known: sizes, the memory operand and the operands.
///
/// Intel SDM vol. 2, 2.1.5 (tables 2-1…2-3), 2.2.1; 3.1.1 (notation).
extension Decoder.Run {
    mutating func operands() throws(DecodeError) {
        // SAFETY: `row` came from the tables themselves.
        let rows = unsafe DecodeTables.shared.rows + Int(instruction.row)
        let flags = unsafe rows.pointee.flags
        instruction.mnemonic = unsafe rows.pointee.mnemonic
        let isRegister = !instruction.hasModRM || instruction.modRM >= 0xC0 || flags.contains(.alwaysRegister)
        let isWronglyLocked = instruction.prefixes.contains(.lock) && (!flags.contains(.lockable) || isRegister)

        let difference = unsafe rows.pointee.vendorDifference
        if vendor == .amd {
            if difference == .prefetchRegister, isRegister { throw .invalid }
            if difference == .wideInsert, instruction.rexW, !is64 { throw .invalid }
        }
        if isVEX, !is64, flags.contains(.anyW) { instruction.rexW = false }
        if has67 { instruction.prefixes.insert(.addressSize) }
        if !isVEX {
            if has66, !flags.contains(.mandatory66) { instruction.prefixes.insert(.operandSize) }
            if `repeat` == Key.pF3, !flags.contains(.mandatoryF3) { instruction.prefixes.insert(.rep) }
            if `repeat` == Key.pF2, !flags.contains(.mandatoryF2) { instruction.prefixes.insert(.repne) }
        }
        setAddressSize()
        instruction.operandSize = operandSize(
            rule: unsafe rows.pointee.operandSize, difference: difference, mandatory66: flags.contains(.mandatory66))
        switch unsafe rows.pointee.vectorLength {
        case .none: instruction.vectorLength = flags.contains(.vector) ? 16 : 0
        case .ignored, .l128: instruction.vectorLength = flags.contains(.vector) ? 16 : 0
        case .l256: instruction.vectorLength = 32
        case .either: instruction.vectorLength = vexL ? 32 : 16
        }
        if segment != 0xFF {
            instruction.prefixes.insert(.segment)
            instruction.memory.segment = SegmentName(rawValue: segment) ?? .ds
        }
        if !isRegister { try memoryOperand(vsib: flags.contains(.vsib)) }

        let count = unsafe rows.pointee.operandCount
        instruction.operandCount = count
        var index = 0
        while index < Int(count) {
            instruction.operands[index] = try operand(unsafe rows.pointee.operands[index])
            index &+= 1
        }
        if isWronglyLocked { throw .invalid }
        if flags.contains(.vsib) {
            // Destination, index and mask must be three registers.
            let destination = instruction.modRM &>> 3 & 7 | instruction.rexR
            let mask = instruction.vexRegister
            let addresses = instruction.memory.index
            if destination == mask || destination == addresses || mask == addresses { throw .invalid }
        }
    }

    /// The immediates that an instruction of this row would have.
    mutating func skipImmediates(like row: UInt16) throws(DecodeError) {
        // SAFETY: the row came from the tables themselves.
        let rows = unsafe DecodeTables.shared.rows + Int(row)
        var index = 0
        while index < Int(unsafe rows.pointee.operandCount) {
            let form = unsafe rows.pointee.operands[index]
            switch form.kind {
            case .L: _ = try takeByte()
            case .I, .signedI: _ = try take(form.size == .b ? 1 : (codeSize == 2) != has66 ? 2 : 4)
            default: break
            }
            index &+= 1
        }
    }

    mutating func setAddressSize() {
        switch codeSize {
        case 8: instruction.addressSize = has67 ? 4 : 8
        case 4: instruction.addressSize = has67 ? 2 : 4
        default: instruction.addressSize = has67 ? 4 : 2
        }
    }

    private func operandSize(rule: OperandSizeRule, difference: VendorDifference, mandatory66: Bool) -> UInt8 {
        let has66 = self.has66 && !mandatory66 && !isVEX
        guard is64 else { return (codeSize == 4) != has66 ? 4 : 2 }
        let w = instruction.rexW && !(difference == .farW && vendor == .amd)
        switch rule {
        case .standard: return w ? 8 : has66 ? 2 : 4
        case .default64: return has66 && !w ? 2 : 8
        case .forced64: return difference == .branch66 && vendor == .amd && has66 && !w ? 2 : 8
        }
    }

    // MARK: Memory

    mutating func memoryOperand(vsib: Bool) throws(DecodeError) {
        if instruction.addressSize == 2 {
            if vsib { throw .invalid }
            try memoryOperand16()
            return
        }
        let mod = instruction.modRM &>> 6
        let rm = instruction.modRM & 7
        var base = rm
        var hasBase = true
        if rm == 4 {
            let sib = try takeByte()
            base = sib & 7
            let index = sib &>> 3 & 7 | instruction.rexX
            if index != 4 || vsib {
                instruction.memory.index = index
                instruction.memory.scale = sib &>> 6
            }
            if base == 5, mod == 0 { hasBase = false }
        } else if vsib {
            throw .invalid
        } else if rm == 5, mod == 0 {
            hasBase = false
            if is64 { instruction.memory.base = MemoryOperand.ripRegister }
        }
        if hasBase {
            instruction.memory.base = base | instruction.rexB
            if segment == 0xFF, instruction.memory.base == 4 || instruction.memory.base == 5 {
                instruction.memory.segment = .ss
            }
        }
        if mod == 1 {
            instruction.memory.displacement = Int64(bitPattern: signExtended(try take(1), 1))
        } else if mod == 2 || !hasBase {
            instruction.memory.displacement = Int64(bitPattern: signExtended(try take(4), 4))
        }
    }

    private mutating func memoryOperand16() throws(DecodeError) {
        let mod = instruction.modRM &>> 6
        let rm = instruction.modRM & 7
        let none = MemoryOperand.noRegister
        var isStack = false
        switch rm {
        case 0: (instruction.memory.base, instruction.memory.index) = (3, 6)
        case 1: (instruction.memory.base, instruction.memory.index) = (3, 7)
        case 2: (instruction.memory.base, instruction.memory.index, isStack) = (5, 6, true)
        case 3: (instruction.memory.base, instruction.memory.index, isStack) = (5, 7, true)
        case 4: instruction.memory.base = 6
        case 5: instruction.memory.base = 7
        case 6: (instruction.memory.base, isStack) = mod == 0 ? (none, false) : (5, true)
        default: instruction.memory.base = 3
        }
        if isStack, segment == 0xFF { instruction.memory.segment = .ss }
        if mod == 1 {
            instruction.memory.displacement = Int64(bitPattern: signExtended(try take(1), 1))
        } else if mod == 2 || mod == 0 && rm == 6 {
            instruction.memory.displacement = Int64(bitPattern: signExtended(try take(2), 2))
        }
    }

    // MARK: Operands

    @inline(__always)
    private func bytes(_ code: OperandForm.SizeCode) -> UInt8 {
        switch code {
        case .none: 0
        case .b: 1
        case .w: 2
        case .d: 4
        case .q: 8
        case .t: 10
        case .dq: 16
        case .qq: 32
        case .v: instruction.operandSize
        case .z: min(instruction.operandSize, 4)
        case .y: instruction.rexW ? 8 : 4
        case .n: is64 ? 8 : 4
        case .p: 2 &+ instruction.operandSize
        case .s: is64 ? 10 : 6
        case .a: 2 &* instruction.operandSize
        case .x: instruction.vectorLength
        case .h: instruction.vectorLength &>> 1
        case .f: instruction.vectorLength &>> 2
        case .e: instruction.vectorLength &>> 3
        case .env: instruction.operandSize == 2 ? 14 : 28
        case .st: instruction.operandSize == 2 ? 94 : 108
        }
    }

    @inline(__always)
    private func general(_ number: UInt8, _ size: UInt8) -> Operand {
        if size == 1, number & 12 == 4, !instruction.hasREX, !isVEX { return .highByte(number & 3) }
        return .register(number, size: size)
    }

    private mutating func operand(_ form: OperandForm) throws(DecodeError) -> Operand {
        let modRM = instruction.modRM
        let reg = modRM &>> 3 & 7
        let rm = modRM & 7
        switch form.kind {
        case .none: return .none
        case .E:
            if modRM < 0xC0 { return .memory(size: bytes(form.memorySize)) }
            return general(rm | instruction.rexB, bytes(form.size))
        case .M: return .memory(size: bytes(form.memorySize))
        case .R: return general(rm | instruction.rexB, bytes(form.size))
        case .G: return general(reg | instruction.rexR, bytes(form.size))
        case .Z: return general(instruction.opcode & 7 | instruction.rexB, bytes(form.size))
        case .B: return .register(instruction.vexRegister, size: bytes(form.size))
        case .fixed: return .register(form.number, size: bytes(form.size))
        case .one:
            instruction.immediate = 1
            return .immediate(size: 1)
        case .fixedSegment: return .segment(SegmentName(rawValue: form.number) ?? .ds)
        case .S, .T:
            guard reg < 6, form.kind == .S || reg != 1, let name = SegmentName(rawValue: reg) else { throw .invalid }
            return .segment(name)
        case .C:
            switch reg | instruction.rexR {
            case 0, 2, 3, 4, 8: return .control(reg | instruction.rexR)
            default: throw .invalid
            }
        case .D:
            guard instruction.rexR == 0 else { throw .invalid }
            return .debug(reg)
        case .I, .signedI: return try immediate(form)
        case .J:
            let size = bytes(form.size)
            instruction.immediate = signExtended(try take(size), size)
            return .relative(size: size)
        case .A:
            instruction.immediate = try take(min(instruction.operandSize, 4))
            instruction.immediate2 = UInt16(truncatingIfNeeded: try take(2))
            return .farPointer
        case .O:
            instruction.memory.displacement = Int64(bitPattern: try take(instruction.addressSize))
            return .memory(size: bytes(form.memorySize))
        case .X: return .stringSource(size: bytes(form.memorySize))
        case .Y: return .stringDestination(size: bytes(form.memorySize))
        case .P: return .mmx(reg)
        case .Q: return modRM < 0xC0 ? .memory(size: bytes(form.memorySize)) : .mmx(rm)
        case .N: return .mmx(rm)
        case .V: return .vector(reg | instruction.rexR, size: bytes(form.size))
        case .W:
            if modRM < 0xC0 { return .memory(size: bytes(form.memorySize)) }
            return .vector(rm | instruction.rexB, size: bytes(form.size))
        case .U: return .vector(rm | instruction.rexB, size: bytes(form.size))
        case .H: return .vector(instruction.vexRegister, size: bytes(form.size))
        case .L:
            instruction.immediate = try take(1)
            let number = UInt8(truncatingIfNeeded: instruction.immediate &>> 4)
            return .vector(is64 ? number : number & 7, size: bytes(form.size))
        case .xmm0: return .vector(0, size: 16)
        case .st: return .x87(form.number)
        case .sti: return .x87(rm)
        }
    }

    private mutating func immediate(_ form: OperandForm) throws(DecodeError) -> Operand {
        let size = bytes(form.size)
        let value = try take(size)
        if form.kind == .signedI {
            instruction.immediate = signExtended(value, size)
        } else if instruction.mnemonic == .enter, size == 1 {
            instruction.immediate2 = UInt16(truncatingIfNeeded: value)
        } else {
            instruction.immediate = value
        }
        return .immediate(size: size)
    }
}
