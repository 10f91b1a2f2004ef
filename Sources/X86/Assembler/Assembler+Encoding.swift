// The few ways in which all instructions are encoded.

extension Assembler {
    /// An opcode's byte, its map, and the prefix that belongs to it.
    struct Opcode: ExpressibleByIntegerLiteral {
        var map = OpcodeMap.oneByte
        var prefix = MandatoryPrefix.any
        var byte: UInt8

        init(_ map: OpcodeMap, _ prefix: MandatoryPrefix, _ byte: UInt8) {
            self.map = map
            self.prefix = prefix
            self.byte = byte
        }
        init(integerLiteral byte: UInt8) { self.byte = byte }
        init(_ byte: UInt8) { self.byte = byte }
        static func map0F(_ byte: UInt8, _ prefix: MandatoryPrefix = .any) -> Opcode { Opcode(.map0F, prefix, byte) }
        static func map0F38(_ byte: UInt8, _ prefix: MandatoryPrefix = .any) -> Opcode {
            Opcode(.map0F38, prefix, byte)
        }
        static func map0F3A(_ byte: UInt8, _ prefix: MandatoryPrefix = .any) -> Opcode {
            Opcode(.map0F3A, prefix, byte)
        }

        /// The same with more bits set.
        func setting(_ bits: UInt8) -> Opcode { Opcode(map, prefix, byte | bits) }
    }

    /// What ModRM.reg or ModRM.rm, VEX.vvvv or an opcode's low bits hold.
    enum Field {
        case register(UInt8)
        /// SPL, BPL, SIL and DIL want a REX prefix.
        case byteRegister(UInt8)
        /// AH, CH, DH and BH allow none.
        case highByte(UInt8)
        case memory(Memory)

        /// A digit of the opcode.
        static func digit(_ value: UInt8) -> Field { .register(value) }

        var number: UInt8 {
            switch self {
            case .register(let number), .byteRegister(let number), .highByte(let number): number
            case .memory: 0
            }
        }
        var memory: Memory? { if case .memory(let memory) = self { memory } else { nil } }
        /// The fourth bit of the register, and of the memory's index and base, as REX and VEX have them.
        var extensionBit: UInt8 { number >> 3 }
        var indexBit: UInt8 { if case .memory(let memory) = self { (memory.index?.rawValue ?? 0) >> 3 } else { 0 } }
        var baseBit: UInt8 {
            if case .memory(let memory) = self { (memory.base?.rawValue ?? 0) >> 3 } else { extensionBit }
        }
        var wantsREX: Bool { if case .byteRegister(4...7) = self { true } else { false } }
        var forbidsREX: Bool { if case .highByte = self { true } else { false } }
    }

    /// The operand as a field; immediates are none.
    func field(_ operand: some Operand, _ width: Width) -> Field { field(operand.form, width) }
    func field(_ form: Form, _ width: Width) -> Field {
        switch form {
        case .general(let register): width == .byte ? .byteRegister(register.rawValue) : .register(register.rawValue)
        case .highByte(let register) where width == .byte: .highByte(register.rawValue)
        case .segment(let segment): .register(segment.rawValue)
        case .vector(let vector): .register(vector.number)
        case .memory(let memory): .memory(memory)
        case .highByte, .immediate: preconditionFailure("the instruction has no such operand")
        }
    }

    struct Immediate {
        var value: Int64
        var size: Int
        init(_ value: Int64, _ size: Int) {
            self.value = value
            self.size = size
        }
        static let none = Immediate(0, 0)
        static func byte(_ value: some BinaryInteger) -> Immediate { Immediate(Int64(value), 1) }
    }

    // MARK: Legacy and REX

    /// An instruction without a ModRM byte; `low`: the register in the opcode's low bits.
    mutating func encode(
        _ opcode: Opcode, _ width: Width, low: Field = .digit(0), immediate: Immediate = .none
    ) {
        var code = InstructionBytes()
        start(&code, opcode.setting(low.number & 7), width, reg: .digit(0), rm: low)
        code.append(immediate.value, immediate.size)
        write(code)
    }

    /// An instruction with a ModRM byte. `width` says 66 and REX.W.
    mutating func encode(
        _ opcode: Opcode, _ width: Width, _ reg: Field, _ rm: Field, immediate: Immediate = .none
    ) {
        var code = InstructionBytes()
        start(&code, opcode, width, reg: reg, rm: rm)
        modRM(&code, reg.number, rm, behind: immediate.size)
        code.append(immediate.value, immediate.size)
        write(code)
    }

    /// Prefixes and opcode.
    @inline(__always)
    private func start(_ code: inout InstructionBytes, _ opcode: Opcode, _ width: Width, reg: Field, rm: Field) {
        segmentPrefix(&code, rm)
        if width != .byte, width != .quad, (width == .word) != (codeSize == .bits16) { code.append(0x66) }
        addressSizePrefix(&code, rm)
        switch opcode.prefix {
        case .any, .none, .noRepeat: break
        case .p66: code.append(0x66)
        case .pF3: code.append(0xF3)
        case .pF2: code.append(0xF2)
        }
        rex(&code, width == .quad, reg, rm)
        switch opcode.map {
        case .oneByte: break
        case .map0F: code.append(0x0F)
        case .map0F38: code.append(0x380F, 2)
        case .map0F3A: code.append(0x3A0F, 2)
        }
        code.append(opcode.byte)
    }

    @inline(__always)
    private func rex(_ code: inout InstructionBytes, _ wide: Bool, _ reg: Field, _ rm: Field) {
        var rex = (wide ? 8 : 0) | reg.extensionBit << 2 | rm.indexBit << 1 | rm.baseBit
        if reg.wantsREX || rm.wantsREX { rex |= 0x40 }
        guard rex != 0 else { return }
        precondition(
            codeSize == .bits64 && !reg.forbidsREX && !rm.forbidsREX,
            "the registers can't be named in one instruction, or in this code")
        code.append(0x40 | rex)
    }

    @inline(__always)
    private func segmentPrefix(_ code: inout InstructionBytes, _ rm: Field) {
        guard case .memory(let memory) = rm, let segment = memory.segment else { return }
        switch segment {
        case .es: code.append(0x26)
        case .cs: code.append(0x2E)
        case .ss: code.append(0x36)
        case .ds: code.append(0x3E)
        case .fs: code.append(0x64)
        case .gs: code.append(0x65)
        case .ldtr, .tr: preconditionFailure("no memory is in LDTR or TR")
        }
    }

    @inline(__always)
    private func addressSizePrefix(_ code: inout InstructionBytes, _ rm: Field) {
        if codeSize == .bits16, let memory = rm.memory, !isShortAbsolute(memory) { code.append(0x67) }
    }

    // MARK: VEX

    /// `wide` is VEX.L, `w` is VEX.W; without `vvvv`, 1111.
    mutating func encodeVEX(
        _ opcode: Opcode, wide: Bool = false, w: Bool = false, _ reg: Field, vvvv: Field = .digit(0), _ rm: Field,
        immediate: Immediate = .none
    ) {
        var code = InstructionBytes()
        startVEX(&code, opcode, wide: wide, w: w, reg, vvvv: vvvv, rm)
        modRM(&code, reg.number, rm, behind: immediate.size)
        code.append(immediate.value, immediate.size)
        write(code)
    }

    /// The same without a ModRM byte.
    mutating func encodeVEX(_ opcode: Opcode, wide: Bool, w: Bool, vvvv: Field) {
        var code = InstructionBytes()
        startVEX(&code, opcode, wide: wide, w: w, .digit(0), vvvv: vvvv, .digit(0))
        write(code)
    }

    /// VEX and opcode: two bytes of prefix where they suffice.
    private func startVEX(
        _ code: inout InstructionBytes, _ opcode: Opcode, wide: Bool, w: Bool, _ reg: Field, vvvv: Field, _ rm: Field
    ) {
        segmentPrefix(&code, rm)
        addressSizePrefix(&code, rm)
        let prefix: UInt8 =
            switch opcode.prefix {
            case .any, .none, .noRepeat: 0
            case .p66: 1
            case .pF3: 2
            case .pF2: 3
            }
        let last = (~vvvv.number & 15) << 3 | (wide ? 4 : 0) | prefix
        let r = (reg.extensionBit ^ 1) << 7, x = (rm.indexBit ^ 1) << 6, b = (rm.baseBit ^ 1) << 5
        if opcode.map == .map0F, !w, x | b == 0x60 {
            code.append(0xC5)
            code.append(r | last)
        } else {
            code.append(0xC4)
            code.append(r | x | b | opcode.map.rawValue)
            code.append((w ? 0x80 : 0) | last)
        }
        code.append(opcode.byte)
    }

    // MARK: ModRM

    /// ModRM, SIB and displacement; `behind`: bytes of the instruction after them.
    @inline(__always)
    private mutating func modRM(_ code: inout InstructionBytes, _ reg: UInt8, _ rm: Field, behind: Int) {
        let reg = (reg & 7) << 3
        guard case .memory(let memory) = rm else { return code.append(0xC0 | reg | rm.number & 7) }
        let highest = codeSize == .bits64 ? Int(Int32.max) : Int(UInt32.max)
        precondition(Int(Int32.min)...highest ~= memory.displacement, "a displacement has 32 bits")
        if let label = memory.label {
            precondition(codeSize == .bits64 && memory.base == nil && memory.index == nil, "[RIP + displacement]")
            code.append(5 | reg)
            references.append(
                Reference(
                    label: label, addend: memory.displacement, position: position + code.count,
                    end: position + code.count + 4 + behind, jumps: jumps.count))
            return code.append(0, 4)
        }
        guard let base = memory.base else { return withoutBase(&code, reg, memory) }
        let low = base.rawValue & 7
        // RBP and R13 without a displacement mean something else.
        let size = memory.displacement == 0 && low != 5 ? 0 : Int8(exactly: memory.displacement) != nil ? 1 : 4
        let mod: UInt8 = size == 0 ? 0 : size == 1 ? 0x40 : 0x80
        if memory.index != nil || low == 4 {
            code.append(mod | reg | 4)
            code.append(sib(memory, base: low))
        } else {
            code.append(mod | reg | low)
        }
        code.append(Int64(memory.displacement), size)
    }

    private func withoutBase(_ code: inout InstructionBytes, _ reg: UInt8, _ memory: Memory) {
        if isShortAbsolute(memory) {
            code.append(reg | 6)
            return code.append(Int64(memory.displacement), 2)
        }
        if memory.index == nil, codeSize != .bits64 {
            code.append(reg | 5)
        } else {
            code.append(reg | 4)
            code.append(sib(memory, base: 5))
        }
        code.append(Int64(memory.displacement), 4)
    }

    private func sib(_ memory: Memory, base: UInt8) -> UInt8 {
        memory.shift << 6 | ((memory.index ?? .rsp).rawValue & 7) << 3 | base
    }

    /// What 16-bit code says without 67.
    func isShortAbsolute(_ memory: Memory) -> Bool {
        codeSize == .bits16 && memory.base == nil && memory.index == nil && 0...0xFFFF ~= memory.displacement
    }
}
