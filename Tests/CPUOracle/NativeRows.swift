import Processor
public import X86

/// Which rows of the opcode table the host's CPU can judge at user level, and what judges the others.
public enum NativeRows {
    /// Why a row isn't compared natively, and the tests that show it instead; nil where it is.
    public static func elsewhere(_ row: OpcodeRow) -> String? {
        if !HostProcessor.offered.permits(row.feature) { return "not offered on this host: #UD, DecoderTests" }
        if row.mnemonic == .monitor || row.mnemonic == .mwait {
            return "#UD at user level; at CPL 0: CapabilityWalkTests"
        }
        if row.privileged {
            return "#GP(0) at user level, compared natively; at CPL 0: SystemRegisterTests, SystemTransferTests"
        }
        switch row.mnemonic {
        case .rdtsc, .rdtscp, .rdpmc, .rdrand, .rdseed, .rdpid, .cpuid, .xgetbv:
            return "differs by machine or by time: SystemRegisterTests, IntegerProgramTests, EndpointTests"
        case .sgdt, .sidt, .sldt, .str, .smsw, .lar, .lsl, .verr, .verw, .arpl:
            return "shows the host's own tables: SystemTransferTests"
        case .syscall, .sysret, .sysenter, .sysexit, .int, .vmcall, .vmmcall, .rsm, .iret:
            return "enters the host's system: SystemTransferTests, SystemEventTests"
        case .int1: return "a hypervisor below shows it otherwise: SystemEventTests"
        case .callFar, .jmpFar, .retFar, .les, .lds, .lss, .lfs, .lgs:
            return "needs descriptors: SystemTransferTests"
        case .fxsave, .fnsave, .fnstenv:
            return "but for what the host saves of its own, in CPUOracleTests/stateImages"
        case .xsave, .xsavec, .xsaveopt, .xrstor, .xsaves, .xrstors:
            return "of the components that guests have, in CPUOracleTests/stateImages"
        default: break
        }
        for index in 0..<Int(row.operandCount) {
            switch row.operands[index].kind {
            case .S, .T, .fixedSegment: return "needs descriptors: SystemTransferTests"
            default: break
            }
        }
        return nil
    }

    /// Whether single instructions of the row are compared: those that the host can judge, and the privileged ones, which are
    /// #GP at user level.
    public static func isCompared(_ row: OpcodeRow) -> Bool {
        guard let reason = elsewhere(row) else { return true }
        return reason.hasPrefix("#GP(0)")
    }

    /// Rows that may stand in a random sequence: judged natively, and not ending it at once.
    public static func isOrdinary(_ row: OpcodeRow) -> Bool {
        guard elsewhere(row) == nil, !row.isBranch else { return false }
        switch row.mnemonic {
        case .in, .out, .ins, .outs, .cli, .sti, .hlt, .int1, .int3, .into, .bound: return false
        default: return true
        }
    }
}
