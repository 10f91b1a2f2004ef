extension InstructionFamilies {
    /// x87, MMX, SSE, AVX and what else the host executes for us.
    static let floatingPoint: [Family] = []
}
