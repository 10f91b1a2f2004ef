import X86

/// An x87 instruction as the host executes it: the whole x87 state is loaded, the instruction run, the state saved.
///
/// The code is a function of the state, the op, and the address of the memory operand or a copy of it (or, for FCMOVcc, the
/// status flags). No unmasked exception is pending when it is called, and the host waits for none between the guest's instruction
/// and FXSAVE, so that a new one only becomes pending.
struct HostX87Instruction: Hashable {
    /// D8…DF and ModRM: `mod` is 3, or 0 with the operand at [RCX].
    let opcode: UInt8
    let modRM: UInt8
    let readsFlags: Bool
    let writesFlags: Bool

    init(_ instruction: Instruction) {
        let row = instruction.opcodeRow
        opcode = instruction.opcode
        modRM = instruction.modRM >= 0xC0 ? instruction.modRM : instruction.modRM & 0x38 | 1
        readsFlags = !row.flagsRead.isEmpty
        writesFlags = !row.flagsWritten.isEmpty
    }

    private var assembled: [UInt8] {
        Assembler.code { a in
            let (pending, end) = (a.label(), a.label())
            a.stmxcsr(.at(.rsp, -16))
            a.mov(.rcx, .rdx)
            a.fxrstor(.at(.rdi))
            // The status flags' own are all that the third argument has beside bit 1.
            if readsFlags {
                a.push(.rdx)
                a.popf()
            }
            a.bytes(opcode, modRM)
            if writesFlags { a.storeFlags() }
            a.fxsave(.at(.rdi))
            // The host's stack is empty again and its control word as it was; FNINIT where an exception could be pending.
            a.mov(.rax, .at(.rdi), .byte)
            a.not(.rax, .byte)
            a.test(.rax, 0x3F, .byte)
            a.jcc(.nz, pending)
            a.emms()
            a.mov(.at(.rsp, -12), 0x37F, .word)
            a.fldcw(.at(.rsp, -12))
            a.jmp(end)
            a.place(pending)
            a.fninit()
            a.place(end)
            a.ldmxcsr(.at(.rsp, -16))
            a.returnNextOp()
        }
    }

    static let made = HostCodeCache<HostX87Instruction>()

    func address() -> UInt? { HostX87Instruction.made.address(of: self) { assembled } }
}
