// Transfers of control, flags, and what the system offers. Intel SDM vol. 2, chapters 3-5.

extension Assembler {
    // MARK: Transfers

    public mutating func jmp(_ label: Label, _ reach: Reach = .shortest) { jump(.jmp, label, reach) }
    public mutating func jcc(_ condition: Condition, _ label: Label, _ reach: Reach = .shortest) {
        jump(.jcc(condition), label, reach)
    }
    public mutating func call(_ label: Label) { jump(.call, label, .near) }
    /// JCXZ, JECXZ or JRCXZ, by the code's size; 127 bytes far.
    public mutating func jrcxz(_ label: Label) { jump(.counted(0xE3), label, .shortest) }
    public mutating func loop(_ label: Label) { jump(.counted(0xE2), label, .shortest) }

    /// By a register or memory.
    @inlinable public mutating func jmp(_ target: some Operand) { writeTransfer(4, target.form) }
    @inlinable public mutating func call(_ target: some Operand) { writeTransfer(2, target.form) }
    @usableFromInline mutating func writeTransfer(_ digit: UInt8, _ target: Form) {
        encode(0xFF, plain, .digit(digit), field(target, natural))
    }

    public mutating func ret() { bytes(0xC3) }
    /// RET that takes so many bytes more off the stack.
    public mutating func ret(_ count: UInt16) { encode(0xC2, plain, immediate: .init(Int64(count), 2)) }
    public mutating func int3() { bytes(0xCC) }
    public mutating func int(_ vector: UInt8) { bytes(0xCD, vector) }
    public mutating func ud2() { bytes(0x0F, 0x0B) }
    /// IRET to the code's own size.
    public mutating func iret() { encode(0xCF, natural) }
    public mutating func syscall() { bytes(0x0F, 0x05) }
    public mutating func sysret() { encode(.map0F(0x07), natural) }
    public mutating func hlt() { bytes(0xF4) }

    /// No operation, of so many bytes: the fewest instructions. Intel SDM vol. 2, NOP.
    public mutating func nop(_ count: Int = 1) {
        let forms: [[UInt8]] = [
            [0x90], [0x66, 0x90], [0x0F, 0x1F, 0x00], [0x0F, 0x1F, 0x40, 0x00], [0x0F, 0x1F, 0x44, 0x00, 0x00],
            [0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00], [0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00],
            [0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00], [0x66, 0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ]
        var left = count
        while left > 0 {
            let form = forms[min(left, forms.count) - 1]
            bytes(form)
            left -= form.count
        }
    }
    public mutating func pause() { bytes(0xF3, 0x90) }

    // MARK: Flags

    public mutating func lahf() { byte(0x9F) }
    public mutating func sahf() { byte(0x9E) }
    public mutating func cmc() { bytes(0xF5) }
    public mutating func clc() { bytes(0xF8) }
    public mutating func stc() { bytes(0xF9) }
    public mutating func cli() { bytes(0xFA) }
    public mutating func sti() { bytes(0xFB) }
    public mutating func cld() { bytes(0xFC) }
    public mutating func std() { bytes(0xFD) }

    // MARK: The processor

    public mutating func cpuid() { bytes(0x0F, 0xA2) }
    public mutating func rdtsc() { bytes(0x0F, 0x31) }
    public mutating func rdtscp() { bytes(0x0F, 0x01, 0xF9) }
    public mutating func xgetbv() { bytes(0x0F, 0x01, 0xD0) }
    public mutating func xsetbv() { bytes(0x0F, 0x01, 0xD1) }
    public mutating func rdmsr() { bytes(0x0F, 0x32) }
    public mutating func wrmsr() { bytes(0x0F, 0x30) }
    public mutating func swapgs() { bytes(0x0F, 0x01, 0xF8) }
    public mutating func lfence() { bytes(0x0F, 0xAE, 0xE8) }
    public mutating func mfence() { bytes(0x0F, 0xAE, 0xF0) }
    public mutating func sfence() { bytes(0x0F, 0xAE, 0xF8) }

    private mutating func base(_ digit: UInt8, _ register: GeneralRegister, _ width: Width?) {
        encode(.map0F(0xAE, .pF3), width ?? natural, .digit(digit), .register(register.rawValue))
    }
    public mutating func rdfsbase(_ to: GeneralRegister, _ width: Width? = nil) { base(0, to, width) }
    public mutating func rdgsbase(_ to: GeneralRegister, _ width: Width? = nil) { base(1, to, width) }
    public mutating func wrfsbase(_ from: GeneralRegister, _ width: Width? = nil) { base(2, from, width) }
    public mutating func wrgsbase(_ from: GeneralRegister, _ width: Width? = nil) { base(3, from, width) }

    /// IN and OUT of AL, AX or EAX; the port is a constant or DX.
    public mutating func `in`(_ port: UInt8, _ width: Width) { sized(0xE4, width, immediate: .byte(port)) }
    public mutating func out(_ port: UInt8, _ width: Width) { sized(0xE6, width, immediate: .byte(port)) }
    public mutating func inDX(_ width: Width) { sized(0xEC, width) }
    public mutating func outDX(_ width: Width) { sized(0xEE, width) }
}
