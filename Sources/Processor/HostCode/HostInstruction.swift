import X86

/// A guest's vector instruction as the host executes it: its operands' roles, and the code around it.
///
/// The code is a function of the state, the op and the host address of the memory operand. It loads the registers that the
/// row names from the state, runs the same instruction with fixed registers (XMM1 for ModRM.reg, XMM2 for ModRM.rm, XMM3 for
/// VEX.vvvv, XMM4 for imm8[7:4]; RAX for a general register; memory at [RCX]), stores what it wrote and returns the next op's
/// address. Which registers of the guest are meant is said by the op, so that one piece of code serves all of them.
struct HostInstruction {
    /// Fields of the encoding that name registers; the raw value is the slot and the host's register less one.
    enum Field: UInt8 {
        case reg, rm, vvvv, immediate
        var hostRegister: UInt8 { rawValue + 1 }
    }

    enum Kind { case vector, mmx, general }

    struct Role {
        var field: Field
        var kind: Kind
        var number: UInt8
        var access: OperandForm.Access
    }

    let instruction: Instruction
    let row: OpcodeRow
    /// Register operands, less the implicit ones.
    private(set) var roles: [Role] = []
    private(set) var readsXMM0 = false
    private(set) var hasMemory = false
    private(set) var writesMemory = false
    private(set) var memorySize: UInt8 = 0
    private var hasImmediate = false

    init(_ instruction: Instruction) {
        self.instruction = instruction
        row = instruction.opcodeRow
        for index in 0..<Int(row.operandCount) {
            let form = row.operands[index]
            let field: Field
            switch form.kind {
            case .V, .P, .G: field = .reg
            case .W, .U, .Q, .N, .E, .R, .M: field = .rm
            case .H: field = .vvvv
            case .L: field = .immediate
            case .xmm0:
                readsXMM0 = true
                continue
            default:
                hasImmediate = true
                continue
            }
            switch instruction.operands[index] {
            case .vector(let number, _):
                roles.append(Role(field: field, kind: .vector, number: number, access: form.access))
            case .mmx(let number): roles.append(Role(field: field, kind: .mmx, number: number, access: form.access))
            case .register(let number, _):
                roles.append(Role(field: field, kind: .general, number: number, access: form.access))
            case .memory(let size):
                hasMemory = true
                memorySize = size
                writesMemory = form.access != .read
            default: hasImmediate = true
            }
        }
    }

    var usesMMX: Bool { roles.contains { $0.kind == .mmx } }
    /// Rounds, or raises floating-point exceptions: MXCSR matters.
    var usesMXCSR: Bool { [2, 3, 11, 22].contains(row.exceptionClass) }
    var isStringCompare: Bool {
        [.pcmpestri, .pcmpestrm, .pcmpistri, .pcmpistrm, .vpcmpestri, .vpcmpestrm, .vpcmpistri, .vpcmpistrm].contains(
            row.mnemonic)
    }

    /// The slots' offsets in `CPUState`, for the op's `immediate`.
    var slots: UInt64 {
        var slots: UInt64 = 0
        for role in roles {
            let offset =
                switch role.kind {
                case .vector: CPUState.offset(ofVector: role.number)
                case .mmx: CPUState.offset(ofMMX: role.number)
                case .general: CPUState.offset(ofRegister: role.number)
                }
            slots |= UInt64(offset) << UInt64(role.field.rawValue * 16)
        }
        return slots
    }

    // MARK: The instruction itself, with other registers

    private func encoded() -> [UInt8] {
        let reg: UInt8
        if row.digit != nil {
            reg = instruction.modRM >> 3 & 7
        } else {
            reg = hostRegister(.reg) ?? 0
        }
        let modRM = hasMemory ? reg << 3 | 1 : 0xC0 | reg << 3 | (hostRegister(.rm) ?? 0)
        var bytes: [UInt8] = []
        let prefix: UInt8 =
            switch row.prefix {
            case .p66: 1
            case .pF3: 2
            case .pF2: 3
            default: 0
            }
        let map: UInt8 =
            switch instruction.map {
            case .map0F38: 2
            case .map0F3A: 3
            default: 1
            }
        if row.isVEX {
            let vvvv = ~(hostRegister(.vvvv) ?? 0) & 15
            let wide: UInt8 = instruction.vectorLength == 32 ? 4 : 0
            bytes = [0xC4, 0xE0 | map, (instruction.rexW ? 0x80 : 0) | vvvv << 3 | wide | prefix, instruction.opcode]
        } else {
            if prefix != 0 { bytes.append([0x66, 0xF3, 0xF2][Int(prefix) - 1]) }
            if instruction.rexW { bytes.append(0x48) }
            bytes.append(0x0F)
            if map == 2 { bytes.append(0x38) }
            if map == 3 { bytes.append(0x3A) }
            bytes.append(instruction.opcode)
        }
        bytes.append(modRM)
        if roles.contains(where: { $0.field == .immediate }) {
            bytes.append(Field.immediate.hostRegister << 4)
        } else if hasImmediate {
            bytes.append(UInt8(truncatingIfNeeded: instruction.immediate))
        }
        return bytes
    }

    private func hostRegister(_ field: Field) -> UInt8? {
        for role in roles where role.field == field { return role.kind == .general ? 0 : field.hostRegister }
        return nil
    }

    // MARK: What goes around it

    private func assembled(_ bytes: [UInt8]) -> [UInt8] {
        var assembler = HostAssembler()
        if usesMXCSR {
            assembler.withMXCSR(unmasked: HostInstruction.unmaskedAddress) { assembler, store in
                body(&assembler, bytes, beforeResults: store)
            }
        } else {
            body(&assembler, bytes, beforeResults: [])
        }
        return assembler.code
    }

    /// Loads the operands, runs the instruction, stores the results and returns.
    private func body(_ assembler: inout HostAssembler, _ bytes: [UInt8], beforeResults: [UInt8]) {
        if hasMemory { assembler.emit(0x48, 0x89, 0xD1) }  // mov rcx, rdx
        let wide = instruction.vectorLength == 32
        for role in roles {
            assembler.loadSlot(role.field.rawValue)
            guard role.access != .write else { continue }
            switch role.kind {
            case .vector where row.isVEX: assembler.loadVEX(role.field.hostRegister, role.field.rawValue, wide: wide)
            case .vector: assembler.loadVector(role.field.hostRegister, role.field.rawValue)
            case .mmx: assembler.loadMMX(role.field.hostRegister, role.field.rawValue)
            case .general: assembler.loadGeneral(role.field.rawValue)
            }
        }
        if readsXMM0 { assembler.loadXMM0() }
        if isStringCompare {
            assembler.load(0, Int(CPUState.offset(ofRegister: 0)))
            assembler.load(2, Int(CPUState.offset(ofRegister: 2)))
        }
        assembler.code += bytes
        switch row.mnemonic {
        case .pcmpestri, .pcmpistri, .vpcmpestri, .vpcmpistri: assembler.store(1, Int(CPUState.offset(ofRegister: 1)))
        // Zeroing a register would change the flags: the upper half is cleared behind them.
        case .pcmpestrm, .pcmpistrm, .vpcmpestrm, .vpcmpistrm: assembler.storeXMM0(clearingUpperHalf: false)
        default: break
        }
        for role in roles where role.access != .read && role.kind == .general {
            assembler.storeGeneral(role.field.rawValue)
        }
        if !row.flagsWritten.isEmpty { assembler.storeFlags() }
        if row.mnemonic == .vpcmpestrm || row.mnemonic == .vpcmpistrm { assembler.storeXMM0(clearingUpperHalf: true) }
        assembler.code += beforeResults
        for role in roles where role.access != .read {
            switch role.kind {
            case .vector where row.isVEX: assembler.storeVEX(role.field.hostRegister, role.field.rawValue)
            case .vector: assembler.storeVector(role.field.hostRegister, role.field.rawValue)
            case .mmx: assembler.storeMMX(role.field.hostRegister, role.field.rawValue)
            case .general: break
            }
        }
        if row.isVEX { assembler.emit(0xC5, 0xF8, 0x77) }  // vzeroupper
        if usesMMX { assembler.emit(0x0F, 0x77) }  // emms
        assembler.returnNextOp()
    }

    // MARK: Made once

    struct Key: Hashable {
        var row: UInt16
        var bytes: [UInt8]
    }

    static let made = HostCodeCache<Key>()
    /// See `CPU.settleMXCSR`.
    static let settlingMXCSR = HostCode.add(HostAssembler.settlingMXCSR) ?? 0
    /// See `CPU.restoreHostMXCSR`.
    static let restoringMXCSR =
        HostCode.add([
            0xC7, 0x44, 0x24, 0xF8, 0x80, 0x1F, 0x00, 0x00,  // mov dword [rsp - 8], 1F80h
            0x0F, 0xAE, 0x54, 0x24, 0xF8,  // ldmxcsr [rsp - 8]
            0xC3,
        ]) ?? 0
    private static let unmaskedAddress = unsafe unsafeBitCast(VectorExceptions.run, to: UInt.self)

    /// The address of the code for this instruction; nil where there is no memory for it.
    func address() -> UInt? {
        let bytes = encoded()
        return HostInstruction.made.address(of: Key(row: instruction.row, bytes: bytes)) { assembled(bytes) }
    }
}
