/// Text of an instruction in Intel's syntax, for diagnostics.
public enum Disassembler {
    /// The instruction as text; `rip` is its address, for branch targets.
    public static func text(_ instruction: Instruction, rip: UInt64 = 0) -> String {
        var text = ""
        if instruction.prefixes.contains(.lock) { text += "lock " }
        if instruction.prefixes.contains(.rep) { text += "rep " }
        if instruction.prefixes.contains(.repne) { text += "repne " }
        text += name(instruction)
        var separator = " "
        for index in 0..<Int(instruction.operandCount) {
            text += separator + operand(instruction.operands[index], instruction, rip)
            separator = ", "
        }
        return text
    }

    private static func name(_ instruction: Instruction) -> String {
        let name = instruction.mnemonic.rawValue
        switch instruction.mnemonic {
        case .jcc: return "j\(instruction.condition)"
        case .setcc: return "set\(instruction.condition)"
        case .cmovcc: return "cmov\(instruction.condition)"
        case .movs, .stos, .lods, .cmps, .scas, .ins, .outs:
            for index in 0..<Int(instruction.operandCount) {
                switch instruction.operands[index] {
                case .stringSource(let size), .stringDestination(let size): return name + suffix(size)
                default: break
                }
            }
            return name
        case .cbw: return ["cbw", "cwde", "cdqe"][sizeIndex(instruction.operandSize)]
        case .cwd: return ["cwd", "cdq", "cqo"][sizeIndex(instruction.operandSize)]
        case .iret, .pushf, .popf, .pusha, .popa, .enter, .leave, .sysret:
            return name + ["w", "d", "q"][sizeIndex(instruction.operandSize)]
        case .movSeg, .movCR, .movDR: return "mov"
        case .pushSeg: return "push"
        case .popSeg: return "pop"
        case .callFar: return "call far"
        case .jmpFar: return "jmp far"
        case .retFar: return "retf"
        case .jcxz: return ["jcxz", "jecxz", "jrcxz"][sizeIndex(instruction.addressSize)]
        case .movd, .vmovd: return instruction.rexW ? String(name.dropLast()) + "q" : name
        default: return name
        }
    }

    private static func sizeIndex(_ size: UInt8) -> Int { size == 2 ? 0 : size == 4 ? 1 : 2 }
    private static func suffix(_ size: UInt8) -> String {
        switch size {
        case 1: "b"
        case 2: "w"
        case 4: "d"
        default: "q"
        }
    }

    private static func operand(_ operand: Operand, _ instruction: Instruction, _ rip: UInt64) -> String {
        switch operand {
        case .none: ""
        case .register(let number, let size): register(number, size)
        case .highByte(let number): ["ah", "ch", "dh", "bh"][Int(number & 3)]
        case .segment(let name): "\(name)"
        case .control(let number): "cr\(number)"
        case .debug(let number): "dr\(number)"
        case .mmx(let number): "mm\(number)"
        case .vector(let number, let size): (size == 32 ? "ymm" : "xmm") + "\(number)"
        case .x87(let number): "st(\(number))"
        case .memory(let size): memory(instruction, size)
        case .immediate(let size):
            instruction.mnemonic == .enter && size == 1
                ? hex(UInt64(instruction.immediate2)) : signed(instruction.immediate)
        case .relative: hex(instruction.branchTarget(rip: rip))
        case .farPointer: hex(UInt64(instruction.immediate2)) + ":" + hex(instruction.immediate)
        case .stringSource: "\(instruction.memory.segment):[\(register(6, instruction.addressSize))]"
        case .stringDestination: "es:[\(register(7, instruction.addressSize))]"
        }
    }

    private static let names = [
        "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    ]

    private static func register(_ number: UInt8, _ size: UInt8) -> String {
        let name = names[Int(number & 15)]
        if number >= 8 {
            switch size {
            case 1: return name + "b"
            case 2: return name + "w"
            case 4: return name + "d"
            default: return name
            }
        }
        switch size {
        case 1: return number < 4 ? "\(name.prefix(1))l" : name + "l"
        case 2: return name
        case 4: return "e" + name
        default: return "r" + name
        }
    }

    private static func memory(_ instruction: Instruction, _ size: UInt8) -> String {
        let memory = instruction.memory
        let width =
            switch size {
            case 1: "byte "
            case 2: "word "
            case 4: "dword "
            case 8: "qword "
            case 10: "tbyte "
            case 16: "xmmword "
            case 32: "ymmword "
            default: ""
            }
        var sum = ""
        if memory.base == MemoryOperand.ripRegister {
            sum = instruction.addressSize == 4 ? "eip" : "rip"
        } else if memory.base != MemoryOperand.noRegister {
            sum = register(memory.base, instruction.addressSize)
        }
        if memory.index != MemoryOperand.noRegister {
            if !sum.isEmpty { sum += "+" }
            sum +=
                instruction.opcodeRow.vsib
                ? "\(instruction.vectorLength == 32 ? "ymm" : "xmm")\(memory.index)"
                : register(memory.index, instruction.addressSize)
            if memory.scale > 0 { sum += "*\(1 << Int(memory.scale & 3))" }
        }
        let displacement = memory.displacement
        if sum.isEmpty {
            sum = hex(UInt64(bitPattern: displacement))
        } else if displacement != 0 {
            sum += (displacement < 0 ? "-" : "+") + hex(displacement.magnitude)
        }
        return "\(width)\(memory.segment):[\(sum)]"
    }

    private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
    private static func signed(_ value: UInt64) -> String {
        let number = Int64(bitPattern: value)
        return number < 0 && number > -0x8000_0000_0001 ? "-" + hex(number.magnitude) : hex(value)
    }
}
