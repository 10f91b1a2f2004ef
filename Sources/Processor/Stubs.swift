import X86
extension VirtualProcessor {
    var isStepping: Bool { false }
    func deliverFault(_ stop: Stop) -> ProcessorExit? { .shutdown }
    func attend() -> ProcessorExit? { withdraw(.leave); return .requested }
    func afterInstruction(trap: Bool) {}
    func reset() {}
    func noteDataBreakpoints(_ l: UInt64, size: Int, isWrite: Bool) {}
}
extension CPU { func updateMode() { state.codeMode = CodeMode(rawValue: 8) } }
