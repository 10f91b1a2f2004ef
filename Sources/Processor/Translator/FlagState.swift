import X86

/// Where the guest's status flags are at a point of emitted code, as far as anyone may still see them.
struct FlagState: Hashable {
    /// In the host's flags.
    var isInHost = false
    /// In `CPUState.packedFlags`.
    var isSaved = false
    /// What makes them again out of registers that are as they were.
    var source: FlagSource?

    static let saved = FlagState(isSaved: true)
    static let inHost = FlagState(isInHost: true)
    /// Nobody sees them: they are overwritten before anything reads them or may leave.
    static let dead = FlagState()

    /// An instruction of ours may overwrite the host's.
    var survivesClobbering: Bool { isSaved || source != nil || self == .dead }

    /// They can be made again out of guest registers among these.
    func isMade(of registers: RegisterSet) -> Bool {
        guard let source else { return false }
        for number in registers {
            if let home = Homes.home(number), source.uses(home) { return true }
        }
        return false
    }

    /// Guest registers are about to be written of which alone they could be made again.
    func isLost(writing registers: RegisterSet) -> Bool { !isSaved && isMade(of: registers) }
}

/// Host instructions that leave the flags which an instruction of the guest has left, from registers that hold what they held
/// then: nothing has to be put by for them, and they are made anew where somebody wants them, which is seldom.
///
/// What the manuals leave undefined after AND, OR and XOR (AF) is 0 in the interpreter, and after TEST on hosts.
enum FlagSource: Hashable {
    case compare(GeneralRegister, Term, Assembler.Width)
    case test(GeneralRegister, Term, Assembler.Width)
    /// The register is a sum or difference with this second term.
    case sum(GeneralRegister, Term, Assembler.Width)
    case difference(GeneralRegister, Term, Assembler.Width)
    case negation(GeneralRegister, Assembler.Width)

    enum Term: Hashable {
        case register(GeneralRegister)
        case immediate(Int)
    }

    /// What they are after an instruction whose registers have homes; nil where they can't be made again.
    init?(_ instruction: Instruction) {
        guard case .register(let number, let size) = instruction.operands[0], let home = Homes.home(number),
            let width = Assembler.Width(rawValue: size)
        else { return nil }
        func term(_ index: Int) -> Term? {
            switch instruction.operands[index] {
            case .register(let number, _): return Homes.home(number).map { .register($0) }
            case .immediate:
                let value = Int(truncatingIfNeeded: Int64(bitPattern: instruction.immediate))
                let cut =
                    size == 1
                    ? Int(Int8(truncatingIfNeeded: value))
                    : size == 2 ? Int(Int16(truncatingIfNeeded: value)) : Int(Int32(truncatingIfNeeded: value))
                return cut == Int(Int32.min) ? nil : .immediate(cut)
            default: return nil
            }
        }
        switch instruction.mnemonic {
        case .cmp:
            guard let other = term(1) else { return nil }
            self = .compare(home, other, width)
        case .test:
            guard let other = term(1) else { return nil }
            self = .test(home, other, width)
        case .and, .or, .xor: self = .test(home, .register(home), width)
        case .add, .sub:
            guard let other = term(1), other != .register(home) else { return nil }
            self = instruction.mnemonic == .add ? .sum(home, other, width) : .difference(home, other, width)
        case .neg: self = .negation(home, width)
        default: return nil
        }
    }

    /// Whether it is made out of a register.
    func uses(_ register: GeneralRegister) -> Bool {
        func isIt(_ term: Term) -> Bool { term == .register(register) }
        switch self {
        case .compare(let a, let b, _), .test(let a, let b, _), .sum(let a, let b, _), .difference(let a, let b, _):
            return a == register || isIt(b)
        case .negation(let a, _): return a == register
        }
    }
}
