// What is told about a guest that crashed: the exit, the registers and the instruction bytes at RIP.

internal import KVM
internal import KVMABI
internal import X86

/// A crash, as text.
public struct CrashReport: Sendable, CustomStringConvertible {
    /// The exit, in one line.
    public let cause: String
    /// Registers and code, a line each.
    public let details: [String]

    public var description: String { ([cause] + details.map { "  " + $0 }).joined(separator: "\n") }

    /// - Parameter memory: where the code bytes are read from.
    init(_ cause: String, _ cpu: borrowing VirtualCPU, _ memory: MachineMemory) {
        self.cause = "\(cause) on vCPU \(cpu.id)"
        do {
            let registers = try cpu.registers()
            details = CrashReport.lines(registers) + CrashReport.code(registers, cpu, memory)
        } catch {
            details = ["its registers can't be read: \(error)"]
        }
    }

    private static func lines(_ registers: Registers) -> [String] {
        let r = registers.general
        let s = registers.special
        func row(_ fields: [(String, UInt64)]) -> String {
            fields.map { "\($0.0)=\(hex($0.1, 16))" }.joined(separator: " ")
        }
        var lines = [
            row([("rip", r.rip), ("rflags", r.rflags), ("rsp", r.rsp), ("rbp", r.rbp)]),
            row([("rax", r.rax), ("rbx", r.rbx), ("rcx", r.rcx), ("rdx", r.rdx)]),
            row([("rsi", r.rsi), ("rdi", r.rdi), ("r8 ", r.r8), ("r9 ", r.r9)]),
            row([("r10", r.r10), ("r11", r.r11), ("r12", r.r12), ("r13", r.r13)]),
            row([("r14", r.r14), ("r15", r.r15)]),
            row([("cr0", s.cr0), ("cr2", s.cr2), ("cr3", s.cr3), ("cr4", s.cr4)]),
            row([("efer", s.efer), ("apic", s.apic_base)]),
        ]
        let segments = [
            ("cs", s.cs), ("ds", s.ds), ("es", s.es), ("fs", s.fs), ("gs", s.gs), ("ss", s.ss), ("tr", s.tr),
        ]
        lines += segments.map { name, segment in
            "\(name)=\(hex(UInt64(segment.selector), 4)) base=\(hex(segment.base, 16)) "
                + "limit=\(hex(UInt64(segment.limit), 8)) type=\(hex(UInt64(segment.type), 1)) "
                + "l=\(segment.l) db=\(segment.db) dpl=\(segment.dpl) present=\(segment.present)"
        }
        lines.append("gdt=\(hex(s.gdt.base, 16)) limit=\(hex(UInt64(s.gdt.limit), 4))")
        lines.append("idt=\(hex(s.idt.base, 16)) limit=\(hex(UInt64(s.idt.limit), 4))")
        return lines
    }

    private static func code(
        _ registers: Registers, _ cpu: borrowing VirtualCPU, _ memory: MachineMemory
    ) -> [String] {
        let isLong = registers.cs.l != 0
        let linear = isLong ? registers.rip : (registers.cs.base &+ registers.rip) & 0xffff_ffff
        let bytes = codeBytes(at: linear, cpu, memory)
        guard !bytes.isEmpty else { return ["code at rip: not in memory"] }
        let size: CodeSize = isLong ? .bits64 : registers.cs.db != 0 ? .bits32 : .bits16
        var text = "code at rip: " + bytes.map { hex(UInt64($0), 2) }.joined(separator: " ")
        if let instruction = try? Decoder.decode(bytes, codeSize: size) {
            text += "  (\(Disassembler.text(instruction, rip: registers.rip)))"
        }
        return [text]
    }

    /// Up to 15 bytes, the longest instruction, as far as they are mapped.
    private static func codeBytes(
        at linear: UInt64, _ cpu: borrowing VirtualCPU, _ memory: MachineMemory
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < 15 {
            let address = linear &+ UInt64(bytes.count)
            let toPageEnd = Int(4096 - (address & 0xfff))
            guard let translation = try? cpu.translate(address), translation.valid != 0,
                let piece = try? memory.read(
                    count: min(15 - bytes.count, toPageEnd), at: translation.physical_address)
            else { break }
            bytes += piece
        }
        return bytes
    }

    private static func hex(_ value: UInt64, _ digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
