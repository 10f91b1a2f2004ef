extension InstructionFamilies {
    /// Instructions on general registers and memory.
    static let integer: [Family] = [Interpreter.arithmetic]
}
