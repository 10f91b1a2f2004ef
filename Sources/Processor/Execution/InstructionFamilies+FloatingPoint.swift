import X86

extension InstructionFamilies {
    /// x87, MMX, SSE, AVX and what else the host executes for us.
    static let floatingPoint: [Family] = [byClass, elementwise, stateImages]

    /// Every mnemonic of these classes; those that need more than their row follow and take precedence.
    private static let byClass: Family = OpcodeTable.rows.compactMap { row in
        switch row.opcodeClass {
        case .x87: (row.mnemonic, Lowering.x87)
        case .mmx, .sse, .vex: (row.mnemonic, Lowering.vector)
        case .integer, .system: nil
        }
    }

    private static let elementwise: Family =
        [
            .emms, .maskmovq, .maskmovdqu, .vmaskmovdqu, .vmaskmovps, .vmaskmovpd, .vpmaskmovd, .vpmaskmovq,
            .vzeroupper, .vzeroall,
        ]
        .map { ($0, Lowering.vectorMemory) }
        + OpcodeTable.rows.filter(\.vsib).map { ($0.mnemonic, Lowering.vectorMemory) }

    private static let stateImages: Family =
        [
            .fxsave, .fxrstor, .xsave, .xsaveopt, .xsavec, .xsaves, .xrstor, .xrstors, .ldmxcsr, .stmxcsr, .vldmxcsr,
            .vstmxcsr,
        ]
        .map { ($0, Lowering.stateImage) }
}
