extension InstructionFamilies {
    /// Instructions on general registers and memory.
    static let integer: [Family] = [
        Interpreter.arithmetic, Interpreter.unary, Interpreter.shifts, Interpreter.products, Interpreter.moves,
        Interpreter.exchanges,
        Interpreter.bitTests, Interpreter.bitScans, Interpreter.bitManipulations, Interpreter.conditions,
        Interpreter.stack,
        Interpreter.branches, Interpreter.strings, Interpreter.decimal, Interpreter.hints, Interpreter.special,
    ]
}
