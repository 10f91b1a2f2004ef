// What a vCPU asks of the chipset to share the task priority with the guest's memory and the client.

extension Chipset {
    /// Whether the vCPU's task priority is the guest's in its memory. INIT and reset end it.
    public func setTaskPriorityMirrored(_ vcpu: Int, _ mirrored: Bool) {
        _ = change(vcpu) { state, place in
            state.apics.all[place].mirrorsTaskPriority = mirrored
            if !mirrored { state.apics.all[place].mirrorDeadline = nil }
        }
    }

    /// The word that the guest is to find in its memory; nil while nothing is to be written there.
    ///
    /// While a vector waits for a lower task priority, ``PendingEvents/taskPriority`` becomes pending again and again.
    public func taskPriorityWord(_ vcpu: Int) -> UInt32? {
        let now = clock()
        return change(vcpu) { state, place in
            if state.apics.all[place].armMirror(now: now) { state.timersChanged = true }
            return state.apics.all[place].mirrorWord
        } ?? nil
    }

    /// Sets the task priority, all eight bits.
    public func setTaskPriority(_ vcpu: Int, _ value: UInt8) {
        _ = change(vcpu) { state, place in state.apics.all[place].setTaskPriority(value) }
    }

    /// Whether an access to the APIC page reads or writes the task priority register.
    public func isTaskPriority(_ vcpu: Int, offset: UInt32, size: Int, isWrite: Bool) -> Bool {
        look(vcpu) { state, place in
            state.apics.all[place].isTaskPriority(offset, size: size, isWrite: isWrite)
        } ?? false
    }
}
