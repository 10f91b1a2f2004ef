import X86

/// An x87 instruction as the host executes it: the whole x87 state is loaded, the instruction run, the state saved.
///
/// The code is a function of the state, the op, and the address of a copy of the memory operand (or, for FCMOVcc, the status
/// flags). No unmasked exception is pending when it is called, and the host waits for none between the guest's instruction
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
        var assembler = HostAssembler()
        assembler.emit(0x0F, 0xAE, 0x5C, 0x24, 0xF0)  // stmxcsr [rsp - 16]
        assembler.emit(0x48, 0x89, 0xD1)  // mov rcx, rdx
        assembler.emit(0x48, 0x0F, 0xAE, 0x0F)  // fxrstor64 [rdi]
        // The status flags' own are all that the third argument has beside bit 1.
        if readsFlags { assembler.emit(0x52, 0x9D) }  // push rdx; popfq
        assembler.emit(opcode, modRM)
        if writesFlags { assembler.storeFlags() }
        assembler.emit(0x48, 0x0F, 0xAE, 0x07)  // fxsave64 [rdi]
        // The host's stack is empty again and its control word as it was; FNINIT where an exception could be pending.
        assembler.emit(0x8A, 0x07)  // mov al, [rdi]
        assembler.emit(0xF6, 0xD0)  // not al
        assembler.emit(0xA8, 0x3F)  // test al, 3Fh
        assembler.emit(0x75, 0x0F)  // jnz to fninit
        assembler.emit(0x0F, 0x77)  // emms
        assembler.emit(0x66, 0xC7, 0x44, 0x24, 0xF4, 0x7F, 0x03)  // mov word [rsp - 12], 37Fh
        assembler.emit(0xD9, 0x6C, 0x24, 0xF4)  // fldcw [rsp - 12]
        assembler.emit(0xEB, 0x02)  // jmp over
        assembler.emit(0xDB, 0xE3)  // fninit
        assembler.emit(0x0F, 0xAE, 0x54, 0x24, 0xF0)  // ldmxcsr [rsp - 16]
        assembler.returnNextOp()
        return assembler.code
    }

    static let made = HostCodeCache<HostX87Instruction>()

    func address() -> UInt? { HostX87Instruction.made.address(of: self) { assembled } }
}
