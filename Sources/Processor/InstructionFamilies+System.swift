extension InstructionFamilies {
    /// Segments, control transfers between them, control registers, MSRs, ports, events.
    static let system: [Family] = []
}
