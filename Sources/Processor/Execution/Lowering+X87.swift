import X86

/// x87 rows to ops.
extension Lowering {
    static let x87: Lowerer = { $0.lowerX87() }

    private mutating func lowerX87() -> Bool {
        let row = instruction.opcodeRow
        op.extra = UInt32(instruction.opcode & 7) << 8 | UInt32(instruction.modRM)
        op.detail = instruction.memorySize
        if let handler = Lowering.controlHandler(instruction) {
            op.handler = handler
            return check(row.mnemonic == .fwait ? .wait : .x87)
        }
        let host = HostX87Instruction(instruction)
        guard let address = host.address() else { return false }
        op.immediate = UInt64(address) << 16
        if let quick = QuickX87(instruction), let code = quick.address() {
            op.link = code
            op.extra |= quick.summary
            op.immediate |= UInt64(CPUState.x87Offset) + 16 * UInt64(quick.other ?? 0)
        }
        switch row.mnemonic {
        case .fincstp, .fdecstp, .ffree, .ffreep: op.handler = X87Ops.control
        default:
            if instruction.hasMemoryOperand {
                op.handler = instruction.memoryAccess == .read ? X87Ops.reading : X87Ops.writing
            } else {
                op.handler = host.readsFlags ? X87Ops.conditional : X87Ops.register
            }
        }
        return check(.x87)
    }

    private static func controlHandler(_ instruction: Instruction) -> Op.Handler? {
        switch instruction.mnemonic {
        case .fwait: X87Ops.wait
        case .fnop: instruction.opcode == 0xD9 ? X87Ops.fnop : X87Ops.ignored
        case .fninit: X87Ops.fninit
        case .fnclex: X87Ops.fnclex
        case .fldcw: X87Ops.fldcw
        case .fnstcw: X87Ops.fnstcw
        case .fnstsw: instruction.hasMemoryOperand ? X87Ops.fnstsw : X87Ops.fnstswAX
        case .fldenv: X87Ops.fldenv
        case .fnstenv: X87Ops.fnstenv
        case .fnsave: X87Ops.fnsave
        case .frstor: X87Ops.frstor
        default: nil
        }
    }
}
