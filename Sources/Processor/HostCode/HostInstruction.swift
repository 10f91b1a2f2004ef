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

    /// Empty where the host has no such encoding.
    private func encoded() -> [UInt8] {
        Assembler.code { a in
            _ = a.reencode(instruction, memory: .at(.rcx)) { register in
                register.bank == .general ? 0 : register.field.rawValue + 1
            }
        }
    }

    // MARK: What goes around it

    private func assembled(_ bytes: [UInt8]) -> [UInt8] {
        Assembler.code { a in
            if usesMXCSR {
                a.withMXCSR(unmasked: HostInstruction.unmaskedAddress) { body(&$0, bytes, beforeResults: $1) }
            } else {
                body(&a, bytes) { _ in }
            }
        }
    }

    /// Loads the operands, runs the instruction, stores the results and returns.
    private func body(_ a: inout Assembler, _ bytes: [UInt8], beforeResults: (inout Assembler) -> Void) {
        if hasMemory { a.mov(.rcx, .rdx) }
        let wide = instruction.vectorLength == 32
        for role in roles {
            let slot = role.field.rawValue, register = role.field.hostRegister
            a.loadSlot(slot)
            guard role.access != .write else { continue }
            switch role.kind {
            case .vector where row.isVEX: a.loadVEX(register, slot, wide: wide)
            case .vector: a.movups(.xmm(register), a.slot(slot))
            case .mmx: a.movq(.mm(register), a.slot(slot))
            case .general: a.mov(.rax, a.slot(slot))
            }
        }
        if readsXMM0 { a.loadXMM0() }
        if isStringCompare {
            for register in [GeneralRegister.rax, .rdx] { a.mov(register, a.guest(register)) }
        }
        a.bytes(bytes)
        switch row.mnemonic {
        case .pcmpestri, .pcmpistri, .vpcmpestri, .vpcmpistri: a.mov(a.guest(.rcx), .rcx)
        // Zeroing a register would change the flags: the upper half is cleared behind them.
        case .pcmpestrm, .pcmpistrm, .vpcmpestrm, .vpcmpistrm: a.storeXMM0(clearingUpperHalf: false)
        default: break
        }
        for role in roles where role.access != .read && role.kind == .general {
            a.mov(a.slot(role.field.rawValue), .rax)
        }
        if !row.flagsWritten.isEmpty { a.storeFlags() }
        if row.mnemonic == .vpcmpestrm || row.mnemonic == .vpcmpistrm { a.storeXMM0(clearingUpperHalf: true) }
        beforeResults(&a)
        for role in roles where role.access != .read {
            let slot = role.field.rawValue, register = role.field.hostRegister
            switch role.kind {
            case .vector where row.isVEX: a.storeVEX(register, slot)
            case .vector: a.movups(a.slot(slot), .xmm(register))
            case .mmx: a.storeMMX(register, slot)
            case .general: break
            }
        }
        if row.isVEX { a.vzeroupper() }
        if usesMMX { a.emms() }
        a.returnNextOp()
    }

    // MARK: Made once

    struct Key: Hashable {
        var row: UInt16
        var bytes: [UInt8]
    }

    static let made = HostCodeCache<Key>()
    /// Fetches the flags that have gathered in the host's MXCSR. See `CPU.settleMXCSR`.
    static let settlingMXCSR =
        HostCode.add(
            Assembler.code { a in
                a.gatherMXCSR()
                a.mov(a.state(CPUState.loadedMXCSROffset), 0, .long)
                a.ret()
            }) ?? 0
    /// Bytes from the beginning of code for `usesMXCSR` at which it goes on without looking at the guest's masks.
    static let maskedEntry = UInt(Assembler.code { $0.leaveIfUnmasked(unmaskedAddress) }.count)
    private static let unmaskedAddress = unsafe unsafeBitCast(VectorExceptions.run, to: UInt.self)

    /// The address of the code for this instruction; nil where there is no memory for it.
    func address() -> UInt? {
        let bytes = encoded()
        guard !bytes.isEmpty else { return nil }
        return HostInstruction.made.address(of: Key(row: instruction.row, bytes: bytes)) { assembled(bytes) }
    }
}
