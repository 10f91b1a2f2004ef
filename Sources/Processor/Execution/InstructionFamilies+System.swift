extension InstructionFamilies {
    /// Segments, control transfers between them, control registers, MSRs, ports, events.
    static let system: [Family] = [
        Interpreter.segments, Interpreter.farTransfers, Interpreter.systemCalls, Interpreter.systemFlags,
        Interpreter.controlRegisters, Interpreter.processorControl, Interpreter.modelSpecific, Interpreter.ports,
    ]
}
