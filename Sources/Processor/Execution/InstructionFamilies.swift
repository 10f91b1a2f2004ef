import X86

/// All families; each mnemonic belongs to one.
enum InstructionFamilies {
    typealias Family = [(Mnemonic, Lowering.Lowerer)]

    static let all: [Family] = integer + system + floatingPoint
}
