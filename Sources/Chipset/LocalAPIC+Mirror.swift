// The task priority in guest memory: KVM_SET_VAPIC_ADDR, by which a guest without hardware's help changes its priority without
// an exit. The word has the task priority in bits 7:0, the class in service in bits 15:8 and the highest requested vector in
// bits 31:24, which tells the guest whether a lower priority lets something through.

extension LocalAPIC {
    /// The kernel finds out at its next exit, which is a tick of its clock away at most. So is the owner's next look here.
    package static let mirrorPeriod: UInt64 = 1_000_000

    /// The word that the guest is to find; nil while the APIC is off, when nothing is written.
    package var mirrorWord: UInt32? {
        guard isHardwareEnabled, isSoftwareEnabled else { return nil }
        let service = UInt32(highest(.inService) ?? 0) & 0xF0
        return self[.taskPriority] & 0xFF | service << 8 | UInt32(highest(.request) ?? 0) << 24
    }

    /// The task priority that the guest has left in its word.
    package mutating func setTaskPriority(_ value: UInt8) {
        self[.taskPriority] = UInt32(value)
        updatePriority()
    }

    /// Whether a requested vector waits for nothing but a lower task priority.
    private var isHeldByTaskPriority: Bool {
        guard isHardwareEnabled, deliverable == nil, let vector = highest(.request) else { return false }
        return vector & 0xF0 > (highest(.inService) ?? 0) & 0xF0
    }

    /// While a vector waits, the word is looked at again though the guest may never exit.
    /// - Returns: whether there is a new deadline.
    package mutating func armMirror(now: UInt64) -> Bool {
        guard mirrorsTaskPriority, mirrorDeadline == nil, isHeldByTaskPriority else { return false }
        mirrorDeadline = saturatingSum(now, Self.mirrorPeriod)
        return true
    }

    /// - Returns: whether the deadline has come.
    mutating func advanceMirror(now: UInt64) -> Bool {
        guard let deadline = mirrorDeadline, deadline <= now else { return false }
        mirrorDeadline = nil
        if mirrorsTaskPriority { events.taskPriority = true }
        return true
    }

    /// Whether an access to the page reads or writes the task priority, as `readPage` and `writePage` take it.
    package func isTaskPriority(_ offset: UInt32, size: Int, isWrite: Bool) -> Bool {
        guard isHardwareEnabled, !isX2APIC, Int(offset >> 4) == Register.taskPriority.rawValue else { return false }
        if isWrite { return size == 4 && offset & 0xF == 0 }
        return (size == 1 || size == 2 || size == 4) && Int(offset & 0xF) + size <= 4
    }
}
