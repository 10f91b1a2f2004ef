/// Writes the few host instructions that surround a guest's own. Intel SDM vol. 2, chapter 2.
///
/// Throughout: RDI is the address of `CPUState`, RSI of the op, RCX of the memory operand. A register operand of the guest
/// has a *slot*: the offset of its value in `CPUState`, 16 bits of the op's `immediate`, is loaded to one of R8…R11.
struct HostAssembler {
    var code: [UInt8] = []

    static let slotField = MemoryLayout<Op>.offset(of: \.immediate) ?? 8
    private static let rdi: UInt8 = 7

    mutating func emit(_ bytes: UInt8...) { code += bytes }

    mutating func emit(word value: UInt32) {
        for shift in [0, 8, 16, 24] as [UInt32] { code.append(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    mutating func emit(quad value: UInt64) {
        emit(word: UInt32(truncatingIfNeeded: value))
        emit(word: UInt32(truncatingIfNeeded: value >> 32))
    }

    /// movzx r(8 + slot)d, word [rsi + its place]
    mutating func loadSlot(_ slot: UInt8) {
        emit(0x44, 0x0F, 0xB7, 0x46 | slot << 3, UInt8(HostAssembler.slotField) + slot * 2)
    }

    /// [rdi + r(8 + slot)] or, with a displacement, [rdi + r(8 + slot) + displacement], after an opcode; `register` in ModRM.reg.
    private mutating func slotOperand(_ register: UInt8, _ slot: UInt8, displacement: Int32 = 0) {
        emit((displacement == 0 ? 0x04 : 0x84) | (register & 7) << 3, slot << 3 | HostAssembler.rdi)
        if displacement != 0 { emit(word: UInt32(bitPattern: displacement)) }
    }

    /// mov rax, [slot]
    mutating func loadGeneral(_ slot: UInt8) {
        emit(0x4A, 0x8B)
        slotOperand(0, slot)
    }

    /// mov [slot], rax
    mutating func storeGeneral(_ slot: UInt8) {
        emit(0x4A, 0x89)
        slotOperand(0, slot)
    }

    /// mov `register`, [rdi + offset]; the first eight registers.
    mutating func load(_ register: UInt8, _ offset: Int) {
        emit(0x48, 0x8B, 0x87 | register << 3)
        emit(word: UInt32(offset))
    }

    /// mov [rdi + offset], `register`
    mutating func store(_ register: UInt8, _ offset: Int) {
        emit(0x48, 0x89, 0x87 | register << 3)
        emit(word: UInt32(offset))
    }

    // MARK: Vectors

    static let upperHalf = Int32(CPUState.upperHalfOffset - CPUState.vectorOffset)

    /// movups xmm, [slot]
    mutating func loadVector(_ register: UInt8, _ slot: UInt8) {
        emit(0x42, 0x0F, 0x10)
        slotOperand(register, slot)
    }

    /// movups [slot], xmm
    mutating func storeVector(_ register: UInt8, _ slot: UInt8) {
        emit(0x42, 0x0F, 0x11)
        slotOperand(register, slot)
    }

    /// vmovups xmm, [slot]; with `wide`, the upper half as well.
    mutating func loadVEX(_ register: UInt8, _ slot: UInt8, wide: Bool) {
        emit(0xC4, 0xA1, 0x78, 0x10)
        slotOperand(register, slot)
        guard wide else { return }
        emit(0xC4, 0xA3, (~register & 15) << 3 | 5, 0x18)
        slotOperand(register, slot, displacement: HostAssembler.upperHalf)
        emit(1)
    }

    /// Stores the whole YMM register (its upper half is zero after a 128-bit form).
    mutating func storeVEX(_ register: UInt8, _ slot: UInt8) {
        emit(0xC4, 0xA1, 0x78, 0x11)
        slotOperand(register, slot)
        emit(0xC4, 0xA3, 0x7D, 0x19)
        slotOperand(register, slot, displacement: HostAssembler.upperHalf)
        emit(1)
    }

    /// movups xmm0, [rdi + offset] and back.
    mutating func loadXMM0() {
        emit(0x0F, 0x10, 0x87)
        emit(word: UInt32(CPUState.vectorOffset))
    }

    mutating func storeXMM0(clearingUpperHalf: Bool) {
        emit(0x0F, 0x11, 0x87)
        emit(word: UInt32(CPUState.vectorOffset))
        guard clearingUpperHalf else { return }
        emit(0x31, 0xC0)  // xor eax, eax
        store(0, CPUState.upperHalfOffset)
        store(0, CPUState.upperHalfOffset + 8)
    }

    /// movq mm, [slot]
    mutating func loadMMX(_ register: UInt8, _ slot: UInt8) {
        emit(0x42, 0x0F, 0x6F)
        slotOperand(register, slot)
    }

    /// movq [slot], mm; the register's exponent becomes all ones.
    mutating func storeMMX(_ register: UInt8, _ slot: UInt8) {
        emit(0x42, 0x0F, 0x7F)
        slotOperand(register, slot)
        emit(0x66, 0x42, 0xC7, 0x44, slot << 3 | HostAssembler.rdi, 0x08, 0xFF, 0xFF)
    }

    // MARK: Flags and control

    /// The host's flags to the lazy ones. AF is clear after every instruction that this follows.
    mutating func storeFlags() {
        emit(0x0F, 0x92, 0xC1)  // setc cl
        emit(0x0F, 0x90, 0xC0)  // seto al
        emit(0x41, 0x0F, 0x95, 0xC0)  // setnz r8b
        emit(0x41, 0x0F, 0x98, 0xC1)  // sets r9b
        emit(0x41, 0x0F, 0x9B, 0xC2)  // setnp r10b
        emit(0x0F, 0xB6, 0xC9)  // movzx ecx, cl
        emit(0x0F, 0xB6, 0xC0)  // movzx eax, al
        emit(0x31, 0xC8)  // xor eax, ecx
        emit(0x48, 0x8D, 0x04, 0x48)  // lea rax, [rax + rcx * 2]
        emit(0x48, 0xC1, 0xE0, 0x3E)  // shl rax, 62
        store(0, CPUState.lazyCarryOffset)
        emit(0x45, 0x0F, 0xB6, 0xC0)  // movzx r8d, r8b
        emit(0x4C, 0x89, 0x87)  // mov [rdi + …], r8
        emit(word: UInt32(CPUState.lazyResultOffset))
        emit(0x44, 0x88, 0x8F)  // mov [rdi + …], r9b
        emit(word: UInt32(CPUState.lazySignFlipOffset))
        emit(0x44, 0x88, 0x97)  // mov [rdi + …], r10b
        emit(word: UInt32(CPUState.lazyParityOffset))
        emit(0xC6, 0x87)  // mov byte [rdi + …], 0
        emit(word: UInt32(CPUState.lazyAdjustOffset))
        emit(0)
    }

    /// Bytes from `beginMXCSR` at which the code goes on without looking at the guest's masks.
    static let maskedEntry: UInt = 24

    /// Opens a floating-point operation: with an unmasked exception to `unmasked` (a function of the same arguments).
    ///
    /// `body` comes twice. Where the guest's control bits are the host's usual ones, its MXCSR stays in the host's register
    /// from operation to operation, and the flags are fetched when somebody asks (`CPU.settleMXCSR`): storing MXCSR costs more
    /// than the rest together. With other control bits it is loaded and stored around each operation, exceptions masked.
    mutating func withMXCSR(unmasked: UInt, _ body: (inout HostAssembler, _ beforeResults: [UInt8]) -> Void) {
        emit(0x8B, 0x47, 0x18)  // mov eax, [rdi + 24]
        emit(0xF7, 0xD0)  // not eax
        emit(0xA9, 0x80, 0x1F, 0x00, 0x00)  // test eax, 1F80h
        emit(0x74, 0x0C)  // jz over the jump
        emit(0x48, 0xB8)  // mov rax, unmasked
        emit(quad: UInt64(unmasked))
        emit(0xFF, 0xE0)  // jmp rax
        emit(0x8B, 0x47, 0x18)  // mov eax, [rdi + 24]
        emit(0x3B, 0x87)  // cmp eax, [rdi + …]
        emit(word: UInt32(CPUState.loadedMXCSROffset))
        emit(0x74, 0x24)  // je to the first body
        emit(0x41, 0x89, 0xC0)  // mov r8d, eax
        emit(0x41, 0x81, 0xE0, 0xC0, 0xFF, 0xFF, 0xFF)  // and r8d, ~3Fh
        emit(0x41, 0x81, 0xF8, 0x80, 0x1F, 0x00, 0x00)  // cmp r8d, 1F80h
        emit(0x75, 0x0C)  // jne to the jump to the second body
        emit(0x89, 0x87)  // mov [rdi + …], eax
        emit(word: UInt32(CPUState.loadedMXCSROffset))
        emit(0x0F, 0xAE, 0x57, 0x18)  // ldmxcsr [rdi + 24]
        var first = HostAssembler()
        body(&first, [])
        emit(0xEB, 0x05)  // jmp over the jump
        emit(0xE9)  // jmp to the second body
        emit(word: UInt32(first.code.count))
        code += first.code
        emit(0x0D, 0x80, 0x1F, 0x00, 0x00)  // or eax, 1F80h
        emit(0x25, 0xFF, 0xFF, 0x00, 0x00)  // and eax, FFFFh
        emit(0x89, 0x44, 0x24, 0xF8)  // mov [rsp - 8], eax
        emit(0x0F, 0xAE, 0x54, 0x24, 0xF8)  // ldmxcsr [rsp - 8]
        var store = HostAssembler()
        store.storeMXCSR()
        body(&self, store.code)
    }

    /// Adds the exception flags to the guest's MXCSR, and gives the host its own control bits back.
    private mutating func storeMXCSR() {
        emit(0x0F, 0xAE, 0x5C, 0x24, 0xF8)  // stmxcsr [rsp - 8]
        emit(0x8B, 0x44, 0x24, 0xF8)  // mov eax, [rsp - 8]
        emit(0x83, 0xE0, 0x3F)  // and eax, 3Fh
        emit(0x09, 0x47, 0x18)  // or [rdi + 24], eax
        emit(0xC7, 0x44, 0x24, 0xF8, 0x80, 0x1F, 0x00, 0x00)  // mov dword [rsp - 8], 1F80h
        emit(0x0F, 0xAE, 0x54, 0x24, 0xF8)  // ldmxcsr [rsp - 8]
    }

    /// Fetches the flags that have gathered in the host's MXCSR.
    static var settlingMXCSR: [UInt8] {
        var assembler = HostAssembler()
        assembler.emit(0x0F, 0xAE, 0x5C, 0x24, 0xF8)  // stmxcsr [rsp - 8]
        assembler.emit(0x8B, 0x44, 0x24, 0xF8)  // mov eax, [rsp - 8]
        assembler.emit(0x83, 0xE0, 0x3F)  // and eax, 3Fh
        assembler.emit(0x09, 0x47, 0x18)  // or [rdi + 24], eax
        assembler.emit(0xC7, 0x87)  // mov dword [rdi + …], 0
        assembler.emit(word: UInt32(CPUState.loadedMXCSROffset))
        assembler.emit(word: 0)
        assembler.emit(0xC3)
        return assembler.code
    }

    /// lea rax, [rsi + the size of an op]; ret
    mutating func returnNextOp() {
        emit(0x48, 0x8D, 0x46, UInt8(MemoryLayout<Op>.stride))
        emit(0xC3)
    }
}

extension CPUState {
    static let vectorOffset = 160
    static let upperHalfOffset = 576
    static let x87Offset = 32
    static let loadedMXCSROffset = MemoryLayout<CPUState>.offset(of: \.loadedMXCSR) ?? 0
    static let lazyResultOffset = MemoryLayout<CPUState>.offset(of: \.lazyResult) ?? 0
    static let lazyCarryOffset = MemoryLayout<CPUState>.offset(of: \.lazyCarry) ?? 0
    static let lazyParityOffset = MemoryLayout<CPUState>.offset(of: \.lazyParity) ?? 0
    static let lazyAdjustOffset = MemoryLayout<CPUState>.offset(of: \.lazyAdjust) ?? 0
    static let lazySignFlipOffset = MemoryLayout<CPUState>.offset(of: \.lazySignFlip) ?? 0

    /// XMM register `number`'s 16 bytes; the upper half of its YMM register lies 416 further on.
    static func offset(ofVector number: UInt8) -> UInt16 { UInt16(vectorOffset) + UInt16(number & 15) * 16 }
    /// MMX register `number`, while the top of the x87 stack is 0.
    static func offset(ofMMX number: UInt8) -> UInt16 { UInt16(x87Offset) + UInt16(number & 7) * 16 }
}
