/// The operation that an opcode row performs, by the manuals' mnemonics in lower case.
public enum Mnemonic: String, CaseIterable, Sendable {
    case invalid
}
