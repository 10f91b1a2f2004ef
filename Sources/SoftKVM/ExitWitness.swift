// The only way to an exit: `kvm_run.exit_reason` is written here, for a witness that the client knows of the exit. The exits of
// the base interface always have one; any other has it from the vCPU alone, whose state shows what the table of opt-ins
// (KVMABI, ExitReason.optIn) asks for.

internal import Chipset
internal import KVMABI
internal import Locking

/// That the client has asked for an exit, or need not ask.
struct ExitWitness {
    fileprivate let reason: ExitReason

    private init(_ reason: ExitReason) { self.reason = reason }

    init(_ exit: BaseExit) { self.init(ExitReason(exit)) }

    fileprivate init?(_ reason: ExitReason, where isAskedFor: Bool) {
        guard isAskedFor else { return nil }
        self.init(reason)
    }
}

extension RunArea {
    /// Writes an exit's reason.
    func leave(with witness: ExitWitness) { store(witness.reason.rawValue, Offset.exitReason) }
}

extension VirtualCPU {
    /// nil where the client has not asked for the exit.
    /// - Parameter bits: those of the capability's argument that ask for this very case.
    func witness(_ reason: ExitReason, bits: UInt64 = .max) -> ExitWitness? {
        let isAskedFor =
            switch reason.optIn {
            case .base: true
            case .noLocalAPIC: chipset == nil
            case .interruptWindowRequest: area.run.requestInterruptWindow
            case .capability(let capabilities, nil): capabilities.contains { has($0) }
            case .capability(let capabilities, let accepted?):
                capabilities.contains { machine.enabled($0) & accepted & bits != 0 }
            case .request(.setGuestDebug, _): guestDebug & 1 != 0
            case .request(.tprAccessReporting, _): taskPrioritySharing.reportsAccesses
            case .request, .never: false
            }
        return ExitWitness(reason, where: isAskedFor)
    }

    private func has(_ capability: Capability) -> Bool {
        // The chipset itself shows this one, which may have been made an instant ago.
        capability == .splitIRQCHIP ? isSplit : machine.configuration.withLock { $0.enabled[capability] != nil }
    }
}
