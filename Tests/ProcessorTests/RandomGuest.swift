import TestSupport
import X86

@testable import Processor

/// Random 64-bit code at level 0 that comes to an end: arithmetic, memory, loops, calls, indirect jumps, instructions inside
/// others, stores into its own code, changed mappings, faults, single steps.
///
/// It lives in pages of 4 KiB whose physical places are not in their order.
struct RandomGuest {
    static let window: UInt64 = 0x4000_0000
    /// Pages of the window: data first, then code, of which there are two versions.
    static let dataPages = 16, codePages = 8
    static let missingPage = 5, readOnlyPage = 9
    static let code = window + 0x10_0000
    static let physical: UInt64 = 0x40_0000
    /// Their page table's physical address, which is its linear address, too.
    static let table: UInt64 = 0x1_5000

    /// Where a page of the window lies: neighbours apart.
    static func place(_ page: Int) -> UInt64 { physical + UInt64(page * 37 % 512) << 12 }
    static let firstCodePage = 256
    static let otherCodePage = 300

    private var random: SplitMix64
    private var a = Assembler()
    private var depth = 0
    /// Where the parts begin, each of which ends in HLT.
    private(set) var starts: [Int] = []
    private(set) var bytes: [UInt8] = []

    private static let bases: [GeneralRegister] = [.rbx, .rbp, .r12, .r9]
    private static let values: [GeneralRegister] = [.rax, .rcx, .rdx, .rsi, .rdi, .r8, .r10, .r11, .r13, .r14, .r15]

    init(seed: UInt64) {
        random = SplitMix64(seed: seed &* 0x9E37_79B9 &+ 17)
        var labels: [Assembler.Label] = []
        for _ in 0..<10 {
            labels.append(a.here())
            for base in RandomGuest.bases { setBase(base) }
            for _ in 0..<(3 + below(12)) { piece() }
            a.hlt()
            // So that instructions lie across the ends of pages in many ways.
            a.nop(below(400))
        }
        let finished = a.finished()
        bytes = Array(finished.bytes.prefix(RandomGuest.codePages * 4096))
        starts = labels.map { finished.offset(of: $0) }.filter { $0 < bytes.count - 2048 }
    }

    // MARK: Choices

    private mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    private mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    private mutating func value() -> GeneralRegister { RandomGuest.values[below(RandomGuest.values.count)] }
    private mutating func width() -> Assembler.Width { Assembler.Width.allCases[below(4)] }
    private mutating func condition() -> Condition { Condition.allCases[below(16)] }

    /// Not what counts a loop.
    private mutating func written() -> GeneralRegister {
        while true {
            let register = value()
            if depth == 0 || register != .rcx { return register }
        }
    }

    private mutating func setBase(_ base: GeneralRegister) {
        // Most of it is there and writable; a few bytes before a page's end as often as anywhere.
        var page = below(RandomGuest.dataPages)
        while page == RandomGuest.missingPage || page == RandomGuest.readOnlyPage || page == 15 {
            page = below(RandomGuest.dataPages)
        }
        let offset = chance(30) ? 4096 - below(24) : below(4096)
        let isHazard = [4, 8].contains(page) && offset > 3500
        a.mov(base, Int(RandomGuest.window) + page << 12 + (isHazard && !chance(10) ? 100 : offset))
    }

    private mutating func memory() -> Assembler.Memory {
        let base = RandomGuest.bases[below(RandomGuest.bases.count)]
        return .at(base, below(120) - 40)
    }

    // MARK: Pieces

    private mutating func piece() {
        switch below(40) {
        case 0..<8: arithmetic()
        case 8..<16: access()
        case 16..<18: atomic()
        case 18..<21: flags()
        case 21..<24: branch()
        case 24..<27: loop()
        case 27..<29: call()
        case 29: jumpIndirect()
        case 30: insideAnother()
        case 31..<33: storeIntoCode()
        case 33: string()
        case 34: stack()
        case 35: setBase(RandomGuest.bases[below(4)])
        case 36: if chance(50) { remap() } else { vector() }
        case 37: vector()
        case 38: if depth == 0 { fault() }
        default: if depth == 0 { a.out(0x10, .byte) }
        }
    }

    private mutating func arithmetic() {
        let (to, from, width) = (written(), value(), width())
        switch below(12) {
        case 0..<4: a.alu(Assembler.Operation.allCases[below(8)], to, from, width)
        case 4..<6: a.alu(Assembler.Operation.allCases[below(8)], to, below(256) - 128, width)
        case 6: a.lea(to, .at(from, index: value(), scale: 1 << below(4), below(1000)), chance(50) ? .quad : .long)
        case 7:
            a.imul(to, from, width == .byte ? .long : width)
            defineFlags()
        case 8:
            // Farther than its operand is wide CF is undefined.
            let count = below(width == .byte ? 8 : width == .word ? 16 : 34)
            switch below(5) {
            case 0: a.shl(to, count, width)
            case 1: a.sar(to, count, width)
            case 2: a.ror(to, count, width)
            case 3: a.rcl(to, count, width)
            default: a.shr(to, count, width)
            }
            defineFlags()
        case 9: a.setcc(condition(), to)
        case 10: a.cmovcc(condition(), to, from, width == .byte ? .quad : width)
        default:
            switch below(6) {
            case 0: a.inc(to, width)
            case 1: a.dec(to, width)
            case 2: a.neg(to, width)
            case 3: a.not(to, width)
            case 4: a.bswap(to, chance(50) ? .long : .quad)
            default: a.movzx(to, from, from: .byte)
            }
        }
    }

    /// Behind an instruction that leaves flags undefined, which each executor has as it likes. CF is looked at before.
    private mutating func defineFlags() {
        if chance(30) { a.setcc(.b, written()) }
        a.cmp(value(), value(), width())
    }

    private mutating func access() {
        let (register, width, memory) = (written(), width(), memory())
        switch below(8) {
        case 0, 1: a.mov(register, memory, width)
        case 2, 3: a.mov(memory, register, width)
        case 4: a.alu(Assembler.Operation.allCases[below(8)], register, memory, width)
        case 5: a.alu(Assembler.Operation.allCases[below(8)], memory, register, width)
        case 6: a.mov(memory, below(256) - 128, width)
        default: a.movsx(register, memory, from: chance(50) ? .byte : .word)
        }
    }

    private mutating func atomic() {
        if chance(50) { a.bytes(0xF0) }
        switch below(3) {
        case 0: a.xadd(memory(), written(), width())
        case 1: a.cmpxchg(memory(), value(), width())
        default: a.inc(memory(), width())
        }
    }

    private mutating func flags() {
        switch below(7) {
        case 0: a.cmc()
        case 1: a.stc()
        case 2: a.clc()
        case 3: a.lahf()
        case 4: a.sahf()
        case 5:
            a.pushf()
            a.alu(.xor, Assembler.Memory.at(.rsp), below(2) * 0x800 | below(256) & 0xD5, .long)
            a.popf()
        default:
            a.pushf()
            a.pop(written())
        }
    }

    private mutating func branch() {
        let over = a.label()
        a.jcc(condition(), over, chance(50) ? .near : .shortest)
        for _ in 0...below(4) { piece() }
        a.place(over)
    }

    private mutating func loop() {
        guard depth == 0 else { return arithmetic() }
        a.mov(.rcx, 1 + below(30), .long)
        depth = 1
        let again = a.here()
        for _ in 0...below(6) { piece() }
        depth = 0
        a.dec(.rcx, .long)
        a.jcc(.nz, again, .near)
    }

    private mutating func call() {
        let (function, over) = (a.label(), a.label())
        a.call(function)
        a.jmp(over, .near)
        a.place(function)
        for _ in 0...below(3) { arithmetic() }
        if chance(20) {
            a.push(5)
            a.ret(8)
        } else {
            a.ret()
        }
        a.place(over)
    }

    /// call next; next: pop r10; add r10, 9 + n; jmp r10; n bytes that are not executed
    private mutating func jumpIndirect() {
        let skipped = below(20)
        a.bytes(0xE8, 0, 0, 0, 0, 0x41, 0x5A, 0x49, 0x83, 0xC2, UInt8(9 + skipped), 0x41, 0xFF, 0xE2)
        a.bytes((0..<skipped).map { _ in 0x06 })
    }

    /// A branch into an instruction's immediate, which is four others: cmc, inc eax, nop.
    private mutating func insideAnother() {
        a.bytes(0x70 | condition().rawValue, 1, 0xB8, 0xF5, 0xFF, 0xC0, 0x90)
    }

    /// A store into the immediate of an instruction not far ahead, which it changes each time.
    private mutating func storeIntoCode() {
        // call next; next: pop r10; mov [r10 + 7 + n], cl; n times nop; mov eax, imm32
        let between = chance(50) ? 0 : below(100)
        a.bytes(0xE8, 0, 0, 0, 0, 0x41, 0x5A, 0x41, 0x88, 0x4A, UInt8(7 + between))
        a.bytes((0..<between).map { _ in 0x90 })
        a.bytes(0xB8, 1, 2, 3, 4)
    }

    private mutating func string() {
        let saved = depth == 1
        if saved { a.mov(.r15, .rcx) }
        a.mov(.rdi, Int(RandomGuest.window) + below(4) << 12 + below(4000))
        a.mov(.rsi, Int(RandomGuest.window) + below(4) << 12 + below(4000))
        a.mov(.rcx, below(40), .long)
        a.bytes([0xF3, 0xF2][below(2)])
        a.bytes([0xA4, 0xA5, 0xAA, 0xAB, 0xA6, 0xAE][below(6)])
        if saved { a.mov(.rcx, .r15) }
    }

    private mutating func stack() {
        let count = 1 + below(4)
        for _ in 0..<count { a.push(value()) }
        if chance(30) { a.mov(written(), .at(.rsp, 8 * below(count))) }
        for _ in 0..<count { a.pop(written()) }
    }

    /// A page of the window is another one from here on, with INVLPG, or with a load of CR3.
    private mutating func remap() {
        let isCode = chance(40)
        let page = isCode ? RandomGuest.firstCodePage + below(RandomGuest.codePages) : below(4)
        let other = isCode ? RandomGuest.otherCodePage + page - RandomGuest.firstCodePage : page + 16
        let entry = Int(RandomGuest.table) + page * 8
        let change = RandomGuest.place(page) ^ RandomGuest.place(other)
        a.push(.rax)
        a.mov(.rax, Int(change))
        a.alu(.xor, Assembler.Memory.absolute(entry), .rax, .quad)
        if chance(60) {
            a.mov(.rax, Int(RandomGuest.window) + page << 12)
            a.bytes(0x0F, 0x01, 0x38)  // invlpg [rax]
        } else {
            a.mov(.rax, control: 3)
            a.mov(control: 3, .rax)
        }
        a.pop(.rax)
    }

    /// Moves between the files and a little arithmetic.
    private mutating func vector() {
        let registers = UInt8(below(64))
        switch below(6) {
        case 0: a.bytes(0x66, 0x0F, 0x6E, 0xC0 | registers & 0x3A)
        case 1: a.bytes(0x66, 0x0F, 0xFE, 0xC0 | registers)
        case 2: a.bytes(0x66, 0x0F, 0xEF, 0xC0 | registers)
        case 3: a.bytes(0x0F, 0x11, 0x43, UInt8(below(100)))  // movups [rbx + …], xmm0
        case 4: a.bytes(0x0F, 0x10, 0x4D, UInt8(below(100)))  // movups xmm1, [rbp + …]
        default: a.bytes(0xF2, 0x0F, 0x58, 0xC0 | registers)
        }
    }

    /// The end of this part, most often.
    private mutating func fault() {
        switch below(8) {
        case 0: a.mov(value(), .absolute(Int(RandomGuest.window) + RandomGuest.missingPage << 12 + below(4096)))
        case 1: a.mov(.absolute(Int(RandomGuest.window) + RandomGuest.readOnlyPage << 12 + below(4000)), value())
        case 2: a.push(.absolute(Int(RandomGuest.window) + RandomGuest.missingPage << 12 - 4))
        case 3:
            a.div(value(), width())
            a.cmp(value(), value(), width())
        case 4:
            a.mov(.r11, 1 << 62)
            a.alu(.add, .at(.r11), value(), .quad)
        case 5: a.ud2()
        case 6: a.int3()
        default:
            // A trap behind the next instruction.
            a.pushf()
            a.alu(.or, Assembler.Memory.at(.rsp), 0x100, .long)
            a.popf()
            arithmetic()
        }
    }
}
