@testable import X86

/// An instruction that the assembler writes, in nasm's words.
struct AssemblerCase {
    var text: String
    /// The memory operand.
    var memory: Assembler.Memory?
    var write: (inout Assembler) -> Void

    init(_ text: String, memory: Assembler.Memory? = nil, _ write: @escaping (inout Assembler) -> Void) {
        self.text = text
        self.memory = memory
        self.write = write
    }
}

/// Every method of the assembler, over registers, widths, displacements and immediates.
enum AssemblerCases {
    typealias Memory = Assembler.Memory
    typealias Width = Assembler.Width
    static let registers = GeneralRegister.allCases
    static let widths = Width.allCases
    static let wide: [Width] = [.word, .long, .quad]
    /// One that needs nothing, one with REX.R or B, one whose byte needs REX, and those that are special as a base.
    static let few: [GeneralRegister] = [.rax, .rcx, .rsp, .rbp, .rsi, .r8, .r12, .r13]

    static func name(_ register: GeneralRegister, _ width: Width) -> String {
        let number = Int(register.rawValue)
        if number > 7 { return "r\(number)" + ["", "b", "w", "", "d", "", "", "", ""][Int(width.rawValue)] }
        let stem = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"][number]
        switch width {
        case .byte: return number < 4 ? stem.prefix(1) + "l" : stem + "l"
        case .word: return stem
        case .long: return "e" + stem
        case .quad: return "r" + stem
        }
    }

    static func keyword(_ width: Width) -> String {
        switch width {
        case .byte: "byte"
        case .word: "word"
        case .long: "dword"
        case .quad: "qword"
        }
    }

    static func text(_ memory: Memory) -> String {
        var text = memory.segment.map { "\($0):" } ?? ""
        // nasm would take RBP for a base, which is in another segment.
        if memory.base == nil, memory.index == .rbp { text = "nosplit " + text }
        var terms: [String] = []
        if let base = memory.base { terms.append(name(base, .quad)) }
        if let index = memory.index { terms.append(name(index, .quad) + "*\(memory.scale)") }
        text += terms.joined(separator: "+")
        if terms.isEmpty { return "[\(text)abs \(memory.displacement)]" }
        return "[" + text + (memory.displacement < 0 ? "" : "+") + "\(memory.displacement)]"
    }

    /// Every base and index, each scale, displacements at the edges of what their sizes hold, FS and GS.
    static let memories: [Memory] = {
        var all: [Memory] = []
        for base in registers {
            for displacement in [0, 1, -1, 127, 128, -128, -129, 0x1234_5678, Int(Int32.max), Int(Int32.min)] {
                all.append(Memory(base, displacement))
            }
            for index in registers where index != .rsp { all.append(Memory(base, index: index, scale: 4)) }
        }
        for index in registers where index != .rsp {
            for scale in [1, 2, 4, 8] {
                for displacement in [0, 8, -300] {
                    all.append(Memory(nil, index: index, scale: scale, displacement))
                    all.append(Memory(.rbx, index: index, scale: scale, displacement))
                }
            }
        }
        for address in [0, 0x1000, Int(Int32.max), Int(Int32.min)] { all.append(Memory(nil, address)) }
        for segment in [SegmentName.fs, .gs] {
            all.append(Memory(nil, 0x28).in(segment))
            all.append(Memory(.r13, index: .r9, scale: 8, 64).in(segment))
        }
        return all
    }()
    static let fewMemories = [
        Memory(.rdi, 8), Memory(.r13), Memory(.r12, index: .r9, scale: 8, -1000), Memory(nil, 64),
    ]

    static var all: [AssemblerCase] {
        addressing + moves + exchanges + stack + arithmetic + immediates + unary + shifts + bits + bmi + control
            + system
            + vectors + x87
    }

    // MARK: Integer

    private static var addressing: [AssemblerCase] {
        memories.flatMap { memory in
            [
                AssemblerCase("lea rdx, \(text(memory))", memory: memory) { $0.lea(.rdx, memory) },
                AssemblerCase("mov r9b, \(text(memory))", memory: memory) { $0.mov(.r9, memory, .byte) },
                AssemblerCase("add dword \(text(memory)), 300", memory: memory) { $0.add(memory, 300, .long) },
                AssemblerCase("vmovups ymm9, \(text(memory))", memory: memory) { $0.vmovups(.ymm(9), memory) },
            ]
        }
    }

    /// A method of a register or memory, and a register; also the other way round.
    private static func pairs(
        _ mnemonic: String, widths: [Width] = widths, toRegister: Bool = false,
        registers method: @escaping (inout Assembler, GeneralRegister, GeneralRegister, Width) -> Void,
        memory: @escaping (inout Assembler, Memory, GeneralRegister, Width) -> Void
    ) -> [AssemblerCase] {
        var cases: [AssemblerCase] = []
        for width in widths {
            for a in registers {
                for b in few {
                    cases.append(
                        AssemblerCase("\(mnemonic) \(name(a, width)), \(name(b, width))") { method(&$0, a, b, width) })
                }
                for place in fewMemories {
                    let operands = [text(place), name(a, width)]
                    let words = (toRegister ? operands.reversed() : operands).joined(separator: ", ")
                    cases.append(AssemblerCase("\(mnemonic) \(words)", memory: place) { memory(&$0, place, a, width) })
                }
            }
        }
        return cases
    }

    private static var moves: [AssemblerCase] {
        var cases = pairs("mov", registers: { $0.mov($1, $2, $3) }, memory: { $0.mov($1, $2, $3) })
        cases += pairs(
            "mov", toRegister: true, registers: { $0.mov($1, $2, $3) }, memory: { $0.mov($2, $1, $3) })
        for register in registers {
            let quad = name(register, .quad)
            for value: UInt64 in [
                0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, ~0, 0xFFFF_FFFF_8000_0000, 1 << 63,
            ] {
                cases.append(AssemblerCase("mov \(quad), \(value)") { $0.mov(register, value) })
            }
            cases.append(AssemblerCase("mov \(name(register, .long)), -2") { $0.mov(register, -2, .long) })
            cases.append(AssemblerCase("mov \(name(register, .word)), 0xfffe") { $0.mov(register, 0xFFFE, .word) })
            cases.append(AssemblerCase("mov \(name(register, .byte)), 255") { $0.mov(register, 255, .byte) })
            cases.append(AssemblerCase("bswap \(quad)") { $0.bswap(register) })
            cases.append(AssemblerCase("bswap \(name(register, .long))") { $0.bswap(register, .long) })
            cases.append(AssemblerCase("mov cr8, \(quad)") { $0.mov(control: 8, register) })
            cases.append(AssemblerCase("mov \(quad), cr2") { $0.mov(register, control: 2) })
            cases.append(AssemblerCase("mov ds, \(name(register, .long))") { $0.mov(.ds, register) })
            cases.append(AssemblerCase("mov \(quad), gs") { $0.mov(register, .gs) })
            cases.append(AssemblerCase("mov \(name(register, .word)), ss") { $0.mov(register, .ss, .word) })
            for source in few {
                for width in wide {
                    let to = name(register, width)
                    cases.append(
                        AssemblerCase("movzx \(to), \(name(source, .byte))") {
                            $0.movzx(register, source, from: .byte, width)
                        })
                    cases.append(
                        AssemblerCase("movsx \(to), \(name(source, .byte))") {
                            $0.movsx(register, source, from: .byte, width)
                        })
                }
                cases.append(
                    AssemblerCase("movzx \(quad), \(name(source, .word))") { $0.movzx(register, source, from: .word) })
                cases.append(
                    AssemblerCase("movsx \(quad), \(name(source, .word))") { $0.movsx(register, source, from: .word) })
                cases.append(
                    AssemblerCase("movsxd \(quad), \(name(source, .long))") { $0.movsx(register, source, from: .long) })
            }
        }
        for place in fewMemories {
            let words = text(place)
            cases += [
                AssemblerCase("mov byte \(words), 200", memory: place) { $0.mov(place, 200, .byte) },
                AssemblerCase("mov word \(words), 0xfffe", memory: place) { $0.mov(place, -2, .word) },
                AssemblerCase("mov dword \(words), 0x80000000", memory: place) { $0.mov(place, 0x8000_0000, .long) },
                AssemblerCase("mov qword \(words), -1", memory: place) { $0.mov(place, -1) },
                AssemblerCase("mov es, \(words)", memory: place) { $0.mov(.es, place) },
                AssemblerCase("mov \(words), fs", memory: place) { $0.mov(place, .fs) },
                AssemblerCase("movzx r9d, byte \(words)", memory: place) { $0.movzx(.r9, place, from: .byte, .long) },
                AssemblerCase("movsx rdx, word \(words)", memory: place) { $0.movsx(.rdx, place, from: .word) },
                AssemblerCase("movbe \(words), r9", memory: place) { $0.movbe(place, .r9) },
                AssemblerCase("movbe cx, \(words)", memory: place) { $0.movbe(.rcx, place, .word) },
            ]
        }
        for high in Assembler.HighByte.allCases {
            cases += [
                AssemblerCase("mov \(high), cl") { $0.mov(high, .rcx, .byte) },
                AssemblerCase("mov bl, \(high)") { $0.mov(.rbx, high, .byte) },
                AssemblerCase("movzx eax, \(high)") { $0.movzx(.rax, high, from: .byte, .long) },
            ]
        }
        for condition in Condition.allCases {
            cases += pairs(
                "cmov\(condition)", widths: wide, toRegister: true, registers: { $0.cmovcc(condition, $1, $2, $3) },
                memory: { $0.cmovcc(condition, $2, $1, $3) })
            for register in registers {
                cases.append(
                    AssemblerCase("set\(condition) \(name(register, .byte))") { $0.setcc(condition, register) })
            }
            cases.append(AssemblerCase("set\(condition) byte [rdi]") { $0.setcc(condition, .at(.rdi)) })
        }
        return cases
    }

    private static var exchanges: [AssemblerCase] {
        var cases = pairs("xchg", toRegister: true, registers: { $0.xchg($2, $1, $3) }, memory: { $0.xchg($1, $2, $3) })
        cases += pairs("cmpxchg", registers: { $0.cmpxchg($1, $2, $3) }, memory: { $0.cmpxchg($1, $2, $3) })
        cases += pairs("xadd", registers: { $0.xadd($1, $2, $3) }, memory: { $0.xadd($1, $2, $3) })
        for place in fewMemories {
            cases += [
                AssemblerCase("lock cmpxchg8b \(text(place))", memory: place) {
                    $0.lock()
                    $0.cmpxchg8b(place)
                },
                AssemblerCase("lock cmpxchg16b \(text(place))", memory: place) {
                    $0.lock()
                    $0.cmpxchg16b(place)
                },
            ]
        }
        return cases
    }

    private static var stack: [AssemblerCase] {
        var cases = registers.flatMap { register in
            [
                AssemblerCase("push \(name(register, .quad))") { $0.push(register) },
                AssemblerCase("pop \(name(register, .quad))") { $0.pop(register) },
            ]
        }
        cases += fewMemories.flatMap { place in
            [
                AssemblerCase("push qword \(text(place))", memory: place) { $0.push(place) },
                AssemblerCase("pop qword \(text(place))", memory: place) { $0.pop(place) },
            ]
        }
        cases += [-128, 127, 128, -2_000_000_000].map { value in AssemblerCase("push \(value)") { $0.push(value) } }
        return cases + [
            AssemblerCase("pushfq") { $0.pushf() }, AssemblerCase("popfq") { $0.popf() },
            AssemblerCase("leave") { $0.leave() },
        ]
    }

    private static var arithmetic: [AssemblerCase] {
        var cases: [AssemblerCase] = []
        for operation in Assembler.Operation.allCases {
            cases += pairs(
                "\(operation)", registers: { $0.alu(operation, $1, $2, $3) },
                memory: { $0.alu(operation, $1, $2, $3) })
            cases += pairs(
                "\(operation)", toRegister: true, registers: { $0.alu(operation, $1, $2, $3) },
                memory: { $0.alu(operation, $2, $1, $3) })
        }
        cases += [
            AssemblerCase("add rax, r9") { $0.add(.rax, .r9) }, AssemblerCase("or rax, r9") { $0.or(.rax, .r9) },
            AssemblerCase("adc rax, r9") { $0.adc(.rax, .r9) }, AssemblerCase("sbb rax, r9") { $0.sbb(.rax, .r9) },
            AssemblerCase("and rax, r9") { $0.and(.rax, .r9) }, AssemblerCase("sub rax, r9") { $0.sub(.rax, .r9) },
            AssemblerCase("xor rax, r9") { $0.xor(.rax, .r9) }, AssemblerCase("cmp rax, r9") { $0.cmp(.rax, .r9) },
            AssemblerCase("cmp ah, dl") { $0.cmp(.ah, .rdx, .byte) },
            AssemblerCase("xor ch, [rdi]") { $0.xor(.ch, .at(.rdi), .byte) },
        ]
        cases += pairs("test", registers: { $0.test($1, $2, $3) }, memory: { $0.test($1, $2, $3) })
        cases += pairs(
            "imul", widths: wide, toRegister: true, registers: { $0.imul($1, $2, $3) }, memory: { $0.imul($2, $1, $3) })
        for (count, mnemonic) in ["bsf", "bsr", "tzcnt", "lzcnt", "popcnt"].enumerated() {
            func write(_ a: inout Assembler, _ to: GeneralRegister, _ from: some Assembler.Operand, _ width: Width) {
                switch count {
                case 0: a.bsf(to, from, width)
                case 1: a.bsr(to, from, width)
                case 2: a.tzcnt(to, from, width)
                case 3: a.lzcnt(to, from, width)
                default: a.popcnt(to, from, width)
                }
            }
            cases += pairs(
                mnemonic, widths: wide, toRegister: true, registers: { write(&$0, $1, $2, $3) },
                memory: { write(&$0, $2, $1, $3) })
        }
        cases += pairs(
            "adcx", widths: [.long, .quad], toRegister: true, registers: { $0.adcx($1, $2, $3) },
            memory: { $0.adcx($2, $1, $3) })
        cases += pairs(
            "adox", widths: [.long, .quad], toRegister: true, registers: { $0.adox($1, $2, $3) },
            memory: { $0.adox($2, $1, $3) })
        return cases
    }

    /// At the edges of what eight bits and the width hold.
    private static func values(_ width: Width) -> [Int] {
        switch width {
        case .byte: [0, 1, 127, 128, 255, -1, -128]
        case .word: [0, 127, 128, -128, -129, 255, 0x7FFF, 0xFFFF, 0xFF80, -32768]
        case .long: [0, 127, 128, -128, -129, 0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FF80, 0xFFFF_FF7F, Int(Int32.min)]
        case .quad: [0, 127, 128, -128, -129, 0x7FFF_FFFF, Int(Int32.min)]
        }
    }

    private static var immediates: [AssemblerCase] {
        var cases: [AssemblerCase] = []
        for width in widths {
            for value in values(width) {
                for register in few {
                    let to = name(register, width)
                    for operation in Assembler.Operation.allCases {
                        cases.append(
                            AssemblerCase("\(operation) \(to), \(value)") { $0.alu(operation, register, value, width) })
                    }
                    cases.append(AssemblerCase("test \(to), \(value)") { $0.test(register, value, width) })
                    if width != .byte {
                        cases.append(
                            AssemblerCase("imul \(to), \(name(.r9, width)), \(value)") {
                                $0.imul(register, .r9, by: Int64(value), width)
                            })
                    }
                }
                for place in fewMemories {
                    let to = keyword(width) + " " + text(place)
                    cases.append(AssemblerCase("sub \(to), \(value)", memory: place) { $0.sub(place, value, width) })
                    cases.append(AssemblerCase("test \(to), \(value)", memory: place) { $0.test(place, value, width) })
                }
            }
        }
        return cases
    }

    /// A method of one register or memory.
    private static func singles(
        _ mnemonic: String, widths: [Width] = widths,
        _ register: @escaping (inout Assembler, GeneralRegister, Width) -> Void,
        _ memory: @escaping (inout Assembler, Memory, Width) -> Void
    ) -> [AssemblerCase] {
        widths.flatMap { width in
            registers.map { a in AssemblerCase("\(mnemonic) \(name(a, width))") { register(&$0, a, width) } }
                + fewMemories.map { a in
                    AssemblerCase("\(mnemonic) \(keyword(width)) \(text(a))", memory: a) { memory(&$0, a, width) }
                }
        }
    }

    private static var unary: [AssemblerCase] {
        singles("inc", { $0.inc($1, $2) }, { $0.inc($1, $2) }) + singles("dec", { $0.dec($1, $2) }, { $0.dec($1, $2) })
            + singles("not", { $0.not($1, $2) }, { $0.not($1, $2) })
            + singles("neg", { $0.neg($1, $2) }, { $0.neg($1, $2) })
            + singles("mul", { $0.mul($1, $2) }, { $0.mul($1, $2) })
            + singles("imul", { $0.imul($1, $2) }, { $0.imul($1, $2) })
            + singles("div", { $0.div($1, $2) }, { $0.div($1, $2) })
            + singles("idiv", { $0.idiv($1, $2) }, { $0.idiv($1, $2) }) + [
                AssemblerCase("cbw") { $0.cbw(.word) }, AssemblerCase("cwde") { $0.cbw(.long) },
                AssemblerCase("cdqe") { $0.cbw() }, AssemblerCase("cwd") { $0.cwd(.word) },
                AssemblerCase("cdq") { $0.cwd(.long) }, AssemblerCase("cqo") { $0.cwd() },
            ]
    }

    private static var shifts: [AssemblerCase] {
        let all: [(String, (inout Assembler, any Assembler.Operand, any Assembler.Operand, Width) -> Void)] = [
            ("rol", { $0.rol($1, $2, $3) }), ("ror", { $0.ror($1, $2, $3) }), ("rcl", { $0.rcl($1, $2, $3) }),
            ("rcr", { $0.rcr($1, $2, $3) }), ("shl", { $0.shl($1, $2, $3) }), ("shr", { $0.shr($1, $2, $3) }),
            ("sar", { $0.sar($1, $2, $3) }),
        ]
        var cases: [AssemblerCase] = []
        for (mnemonic, method) in all {
            for count in [1, 2, 31] {
                cases += singles2(mnemonic, ", \(count)") { method(&$0, $1, count, $2) }
            }
            cases += singles2(mnemonic, ", cl") { method(&$0, $1, GeneralRegister.rcx, $2) }
        }
        for width in wide {
            for a in registers {
                let words = "\(name(a, width)), \(name(.r9, width))"
                cases += [
                    AssemblerCase("shld \(words), 5") { $0.shld(a, .r9, 5, width) },
                    AssemblerCase("shrd \(words), 5") { $0.shrd(a, .r9, 5, width) },
                    AssemblerCase("shld \(words), cl") { $0.shld(a, .r9, .cl, width) },
                    AssemblerCase("shrd \(words), cl") { $0.shrd(a, .r9, .cl, width) },
                ]
            }
        }
        return cases
    }

    /// The same with operands behind.
    private static func singles2(
        _ mnemonic: String, widths: [Width] = widths, _ behind: String,
        _ method: @escaping (inout Assembler, any Assembler.Operand, Width) -> Void
    ) -> [AssemblerCase] {
        singles(mnemonic, widths: widths, { method(&$0, $1, $2) }, { method(&$0, $1, $2) }).map { single in
            AssemblerCase(single.text + behind, memory: single.memory, single.write)
        }
    }

    private static var bits: [AssemblerCase] {
        let all: [(String, (inout Assembler, any Assembler.Operand, any Assembler.Operand, Width) -> Void)] = [
            ("bt", { $0.bt($1, $2, $3) }), ("bts", { $0.bts($1, $2, $3) }), ("btr", { $0.btr($1, $2, $3) }),
            ("btc", { $0.btc($1, $2, $3) }),
        ]
        return all.flatMap { mnemonic, method in
            pairs(mnemonic, widths: wide, registers: { method(&$0, $1, $2, $3) }, memory: { method(&$0, $1, $2, $3) })
                + singles2(mnemonic, widths: wide, ", 13") { method(&$0, $1, 13, $2) }
        }
    }

    private static var bmi: [AssemblerCase] {
        var cases: [AssemblerCase] = []
        for width in [Width.long, .quad] {
            for a in registers {
                for b in few {
                    let (x, y, z) = (name(a, width), name(b, width), name(.r9, width))
                    cases += [
                        AssemblerCase("pext \(x), \(z), \(y)") { $0.pext(a, .r9, b, width) },
                        AssemblerCase("pdep \(x), \(z), \(y)") { $0.pdep(a, .r9, b, width) },
                        AssemblerCase("andn \(x), \(z), \(y)") { $0.andn(a, .r9, b, width) },
                        AssemblerCase("mulx \(x), \(z), \(y)") { $0.mulx(a, .r9, b, width) },
                        AssemblerCase("shlx \(x), \(y), \(z)") { $0.shlx(a, b, .r9, width) },
                        AssemblerCase("shrx \(x), \(y), \(z)") { $0.shrx(a, b, .r9, width) },
                        AssemblerCase("sarx \(x), \(y), \(z)") { $0.sarx(a, b, .r9, width) },
                        AssemblerCase("bextr \(x), \(y), \(z)") { $0.bextr(a, b, .r9, width) },
                        AssemblerCase("bzhi \(x), \(y), \(z)") { $0.bzhi(a, b, .r9, width) },
                        AssemblerCase("rorx \(x), \(y), 17") { $0.rorx(a, b, 17, width) },
                        AssemblerCase("blsr \(x), \(y)") { $0.blsr(a, b, width) },
                        AssemblerCase("blsmsk \(x), \(y)") { $0.blsmsk(a, b, width) },
                        AssemblerCase("blsi \(x), \(y)") { $0.blsi(a, b, width) },
                    ]
                }
                for place in fewMemories {
                    let words = "\(name(a, width)), \(text(place))"
                    cases.append(AssemblerCase("rorx \(words), 3", memory: place) { $0.rorx(a, place, 3, width) })
                    cases.append(AssemblerCase("blsr \(words)", memory: place) { $0.blsr(a, place, width) })
                }
            }
        }
        return cases
    }

    // MARK: Control and system

    private static var control: [AssemblerCase] {
        singles("jmp", widths: [.quad], { a, b, _ in a.jmp(b) }, { a, b, _ in a.jmp(b) })
            + singles("call", widths: [.quad], { a, b, _ in a.call(b) }, { a, b, _ in a.call(b) }) + [
                AssemblerCase("ret") { $0.ret() }, AssemblerCase("ret 0x1234") { $0.ret(0x1234) },
                AssemblerCase("int3") { $0.int3() }, AssemblerCase("int 0x80") { $0.int(0x80) },
                AssemblerCase("ud2") { $0.ud2() }, AssemblerCase("iretq") { $0.iret() },
                AssemblerCase("syscall") { $0.syscall() }, AssemblerCase("o64 sysret") { $0.sysret() },
                AssemblerCase("hlt") { $0.hlt() }, AssemblerCase("nop") { $0.nop() },
                AssemblerCase("pause") { $0.pause() }, AssemblerCase("lahf") { $0.lahf() },
                AssemblerCase("sahf") { $0.sahf() }, AssemblerCase("cmc") { $0.cmc() },
                AssemblerCase("clc") { $0.clc() }, AssemblerCase("stc") { $0.stc() }, AssemblerCase("cli") { $0.cli() },
                AssemblerCase("sti") { $0.sti() }, AssemblerCase("cld") { $0.cld() }, AssemblerCase("std") { $0.std() },
            ]
    }

    private static var system: [AssemblerCase] {
        var cases = registers.flatMap { register in
            [
                AssemblerCase("rdfsbase \(name(register, .quad))") { $0.rdfsbase(register) },
                AssemblerCase("rdgsbase \(name(register, .quad))") { $0.rdgsbase(register) },
                AssemblerCase("wrfsbase \(name(register, .quad))") { $0.wrfsbase(register) },
                AssemblerCase("wrgsbase \(name(register, .long))") { $0.wrgsbase(register, .long) },
            ]
        }
        for (width, name) in [(Width.byte, "al"), (.word, "ax"), (.long, "eax")] {
            cases += [
                AssemblerCase("in \(name), 0x71") { $0.in(0x71, width) },
                AssemblerCase("out 0x71, \(name)") { $0.out(0x71, width) },
                AssemblerCase("in \(name), dx") { $0.inDX(width) },
                AssemblerCase("out dx, \(name)") { $0.outDX(width) },
            ]
        }
        for (width, letter) in [(Width.byte, "b"), (.word, "w"), (.long, "d"), (.quad, "q")] {
            cases += [
                AssemblerCase("rep movs\(letter)") {
                    $0.rep()
                    $0.movs(width)
                },
                AssemblerCase("repne cmps\(letter)") {
                    $0.repne()
                    $0.cmps(width)
                },
                AssemblerCase("stos\(letter)") { $0.stos(width) }, AssemblerCase("lods\(letter)") { $0.lods(width) },
                AssemblerCase("scas\(letter)") { $0.scas(width) },
            ]
        }
        return cases + [
            AssemblerCase("cpuid") { $0.cpuid() }, AssemblerCase("rdtsc") { $0.rdtsc() },
            AssemblerCase("rdtscp") { $0.rdtscp() }, AssemblerCase("xgetbv") { $0.xgetbv() },
            AssemblerCase("xsetbv") { $0.xsetbv() }, AssemblerCase("rdmsr") { $0.rdmsr() },
            AssemblerCase("wrmsr") { $0.wrmsr() }, AssemblerCase("swapgs") { $0.swapgs() },
            AssemblerCase("lfence") { $0.lfence() }, AssemblerCase("mfence") { $0.mfence() },
            AssemblerCase("sfence") { $0.sfence() },
        ]
    }

    // MARK: Vectors and x87

    private static var vectors: [AssemblerCase] {
        var cases: [AssemblerCase] = []
        typealias Move = (inout Assembler, any Assembler.Operand, any Assembler.Operand) -> Void
        let moves: [(String, Move)] = [
            ("movups", { $0.movups($1, $2) }), ("movaps", { $0.movaps($1, $2) }), ("movdqu", { $0.movdqu($1, $2) }),
            ("movdqa", { $0.movdqa($1, $2) }), ("vmovups", { $0.vmovups($1, $2) }), ("vmovaps", { $0.vmovaps($1, $2) }),
            ("vmovdqu", { $0.vmovdqu($1, $2) }), ("vmovdqa", { $0.vmovdqa($1, $2) }),
        ]
        for number in 0..<16 as Range<UInt8> {
            let xmm = Assembler.Vector.xmm(number)
            for (mnemonic, method) in moves {
                for place in fewMemories {
                    for vector in mnemonic.hasPrefix("v") ? [xmm, .ymm(number)] : [xmm] {
                        let words = "\(vector.bank)\(number)"
                        cases += [
                            AssemblerCase("\(mnemonic) \(words), \(text(place))", memory: place) {
                                method(&$0, vector, place)
                            },
                            AssemblerCase("\(mnemonic) \(text(place)), \(words)", memory: place) {
                                method(&$0, place, vector)
                            },
                        ]
                    }
                }
                cases.append(
                    AssemblerCase("\(mnemonic) xmm\(number), xmm3") { method(&$0, xmm, Assembler.Vector.xmm(3)) })
            }
            for register in few {
                cases += [
                    AssemblerCase("movd xmm\(number), \(name(register, .long))") { $0.movd(xmm, register) },
                    AssemblerCase("movd \(name(register, .long)), xmm\(number)") { $0.movd(register, xmm) },
                    AssemblerCase("movq xmm\(number), \(name(register, .quad))") { $0.movq(xmm, register) },
                    AssemblerCase("movq \(name(register, .quad)), xmm\(number)") { $0.movq(register, xmm) },
                ]
            }
            cases += [
                AssemblerCase("movq xmm\(number), [r9]") { $0.movq(xmm, .at(.r9)) },
                AssemblerCase("movq [r9], xmm\(number)") { $0.movq(.at(.r9), xmm) },
                AssemblerCase("movq xmm\(number), xmm12") { $0.movq(xmm, .xmm(12)) },
                AssemblerCase("movd dword [r9], xmm\(number)") { $0.movd(.at(.r9), xmm) },
                AssemblerCase("pxor xmm\(number), xmm8") { $0.pxor(xmm, .xmm(8)) },
                AssemblerCase("paddd xmm\(number), [rsi]") { $0.paddd(xmm, .at(.rsi)) },
                AssemblerCase("vpxor ymm\(number), ymm9, [rsi]") { $0.vpxor(.ymm(number), .ymm(9), .at(.rsi)) },
                AssemblerCase("vpxor xmm1, xmm\(number), xmm9") { $0.vpxor(.xmm(1), xmm, .xmm(9)) },
                AssemblerCase("vinsertf128 ymm\(number), ymm9, [r13], 1") {
                    $0.vinsertf128(.ymm(number), .ymm(9), .at(.r13), half: 1)
                },
                AssemblerCase("vextractf128 [rdi], ymm\(number), 1") {
                    $0.vextractf128(.at(.rdi), .ymm(number), half: 1)
                },
                AssemblerCase("vpshufb ymm\(number), ymm9, [r13]") {
                    $0.vex(.map0F38, .p66, 0x00, .ymm(number), vvvv: .ymm(9), .at(.r13))
                },
            ]
        }
        for number in 0..<8 as Range<UInt8> {
            let mm = Assembler.Vector.mm(number)
            cases += [
                AssemblerCase("movq mm\(number), [r9]") { $0.movq(mm, .at(.r9)) },
                AssemblerCase("movq [r9], mm\(number)") { $0.movq(.at(.r9), mm) },
                AssemblerCase("movq mm\(number), mm5") { $0.movq(mm, .mm(5)) },
                AssemblerCase("movd mm\(number), r9d") { $0.movd(mm, .r9) },
                AssemblerCase("movq rax, mm\(number)") { $0.movq(.rax, mm) },
                AssemblerCase("paddd mm\(number), mm2") { $0.paddd(mm, .mm(2)) },
            ]
        }
        for place in fewMemories {
            let images: [(String, (inout Assembler, Memory) -> Void)] = [
                ("ldmxcsr", { $0.ldmxcsr($1) }), ("stmxcsr", { $0.stmxcsr($1) }), ("fxsave64", { $0.fxsave($1) }),
                ("fxrstor64", { $0.fxrstor($1) }), ("xsave64", { $0.xsave($1) }), ("xrstor64", { $0.xrstor($1) }),
                ("xsaveopt64", { $0.xsaveopt($1) }), ("xsavec64", { $0.xsavec($1) }),
            ]
            cases += images.map { mnemonic, method in
                AssemblerCase("\(mnemonic) \(text(place))", memory: place) { method(&$0, place) }
            }
        }
        return cases + [
            AssemblerCase("emms") { $0.emms() }, AssemblerCase("vzeroupper") { $0.vzeroupper() },
            AssemblerCase("vzeroall") { $0.vzeroall() },
        ]
    }

    private static var x87: [AssemblerCase] {
        var cases: [AssemblerCase] = []
        let methods: [(String, (inout Assembler, Memory) -> Void)] = [
            ("fld dword", { $0.fld($1, .real32) }), ("fld qword", { $0.fld($1, .real64) }),
            ("fld tword", { $0.fld($1, .real80) }), ("fstp dword", { $0.fstp($1, .real32) }),
            ("fstp qword", { $0.fstp($1, .real64) }), ("fstp tword", { $0.fstp($1, .real80) }),
            ("fild word", { $0.fild($1, .integer16) }), ("fild dword", { $0.fild($1, .integer32) }),
            ("fild qword", { $0.fild($1, .integer64) }), ("fistp word", { $0.fistp($1, .integer16) }),
            ("fistp dword", { $0.fistp($1, .integer32) }), ("fistp qword", { $0.fistp($1, .integer64) }),
            ("fldcw", { $0.fldcw($1) }), ("fnstcw", { $0.fnstcw($1) }), ("fnstsw", { $0.fnstsw($1) }),
            ("fldenv", { $0.fldenv($1) }), ("fnstenv", { $0.fnstenv($1) }), ("frstor", { $0.frstor($1) }),
            ("fnsave", { $0.fnsave($1) }),
        ]
        for place in fewMemories {
            cases += methods.map { mnemonic, method in
                AssemblerCase("\(mnemonic) \(text(place))", memory: place) { method(&$0, place) }
            }
        }
        for index in 0..<8 as Range<UInt8> {
            cases += [
                AssemblerCase("fld st\(index)") { $0.fld(st: index) },
                AssemblerCase("fxch st\(index)") { $0.fxch(st: index) },
                AssemblerCase("fstp st\(index)") { $0.fstp(st: index) },
                AssemblerCase("ffree st\(index)") { $0.ffree(st: index) },
            ]
        }
        return cases + [
            AssemblerCase("fld1") { $0.fld1() }, AssemblerCase("fldz") { $0.fldz() },
            AssemblerCase("fnstsw ax") { $0.fnstsw() }, AssemblerCase("fninit") { $0.fninit() },
            AssemblerCase("fnclex") { $0.fnclex() }, AssemblerCase("wait") { $0.fwait() },
        ]
    }
}
