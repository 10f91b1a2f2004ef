// What a vCPU asks of the chipset: its local APIC's registers, its interrupts and events.

extension Chipset {
    /// Adds a vCPU in the state after power-up reset.
    /// - Returns: what its run loop looks at without a lock; nil if the id is taken or above 16383.
    public func addVirtualCPU(_ id: Int) -> VirtualCPUStatus? {
        guard id >= 0, id < LocalAPICs.idLimit else { return nil }
        return change { guarded in
            let apic = LocalAPIC(
                id: UInt32(truncatingIfNeeded: id), isBootProcessor: id == guarded.state.bootProcessor,
                hasDirectedEOI: mode != .full, reenablesLINT0: guarded.state.reenablesLINT0)
            guard guarded.state.apics.add(apic) else { return nil }
            let status = VirtualCPUStatus(id: id)
            guarded.statuses.append(status)
            return status
        }
    }

    /// Resets a vCPU's local APIC: to power-up state, or, with `initialize`, as INIT does (APIC base and id stay).
    public func reset(_ vcpu: Int, initialize: Bool) {
        _ = change(vcpu) { state, place in
            state.apics.all[place].reset(initialize: initialize)
            state.ioapic?.trackRTC(state.apics)
            state.timersChanged = true
        }
    }

    /// What the vCPU's CPUID says that the APIC depends on (KVM_SET_CPUID2).
    public func setFeatures(_ vcpu: Int, _ features: ProcessorFeatures) {
        _ = change(vcpu) { state, place in
            state.apics.all[place].features = features
            state.apics.all[place].updateVersion()
        }
    }

    /// The vCPU's TSC reads `value` now and has that frequency: a timer that waits for a deadline in its ticks waits as long as the
    /// counter takes to come there.
    public func setTSC(_ vcpu: Int, _ value: UInt64, kilohertz: UInt32) {
        let now = clock()
        _ = change(vcpu) { state, place in
            state.apics.all[place].setTSC(value, kilohertz: kilohertz, now: now)
            state.timersChanged = true
        }
    }

    /// Which vCPU is the bootstrap processor (KVM_SET_BOOT_CPU_ID); 0 at first. Before any vCPU is added.
    public func setBootProcessor(_ id: Int) {
        look { $0.state.bootProcessor = id }
    }

    /// KVM_CAP_X2APIC_API: 32-bit ids in MSI address_hi and in the APIC page; no broadcast by 0xFF to x2APICs.
    public func setX2APICFormat(wideIDs: Bool, broadcastQuirkDisabled: Bool) {
        look {
            $0.state.apics.wideIDs = wideIDs
            $0.state.apics.broadcastQuirk = !broadcastQuirkDisabled
        }
    }

    /// KVM_X86_QUIRK_LINT0_REENABLED and KVM_X86_QUIRK_LAPIC_MMIO_HOLE; both on at first.
    public func setQuirks(lint0Reenabled: Bool, mmioHole: Bool) {
        look {
            $0.state.hasMMIOHole = mmioHole
            $0.state.reenablesLINT0 = lint0Reenabled
            for place in $0.state.apics.all.indices { $0.state.apics.all[place].reenablesLINT0 = lint0Reenabled }
        }
    }
}

// MARK: Registers

extension Chipset {
    private func time(_ register: UInt32) -> UInt64 { LocalAPIC.usesTime(Int(register)) ? clock() : 0 }

    /// Reads the APIC page (the 4 KiB at ``VirtualCPUStatus/apicPage``). Sizes are 1, 2, 4 or 8 bytes.
    /// - Returns: the value; all ones when the xAPIC is disabled or in x2APIC mode (without the MMIO-hole quirk: nil, the
    ///   access goes to user space).
    public func readAPIC(_ vcpu: Int, offset: UInt32, size: Int) -> UInt64? {
        let now = time(offset >> 4)
        return look(vcpu) { state, place -> UInt64? in
            guard state.apics.all[place].isHardwareEnabled, !state.apics.all[place].isX2APIC else {
                guard state.hasMMIOHole else { return nil }
                return size >= 8 ? ~0 : 1 << UInt64(max(0, size) * 8) - 1
            }
            return state.apics.all[place].readPage(offset, size: size, now: now)
        } ?? nil
    }

    /// Writes the APIC page; only aligned 4-byte writes have an effect.
    /// - Returns: false if the access goes to user space.
    public func writeAPIC(_ vcpu: Int, offset: UInt32, size: Int, value: UInt64) -> Bool {
        let now = time(offset >> 4)
        return change(vcpu) { state, place in
            guard state.apics.all[place].isHardwareEnabled, !state.apics.all[place].isX2APIC else {
                return state.hasMMIOHole
            }
            let action = state.apics.all[place].writePage(offset, size: size, value: value, now: now)
            noteTimer(offset >> 4, &state)
            _ = state.carryOut(action, by: place)
            return true
        } ?? false
    }

    /// Reads MSR 0x800–0x8FF. nil means #GP.
    public func readX2APIC(_ vcpu: Int, msr: UInt32) -> UInt64? {
        let now = time(msr &- 0x800)
        return look(vcpu) { state, place in state.apics.all[place].readMSR(msr, now: now) } ?? nil
    }

    /// Writes MSR 0x800–0x8FF. false means #GP.
    public func writeX2APIC(_ vcpu: Int, msr: UInt32, value: UInt64) -> Bool {
        let now = time(msr &- 0x800)
        return change(vcpu) { state, place in
            let action = state.apics.all[place].writeMSR(msr, value: value, now: now)
            noteTimer(msr &- 0x800, &state)
            return state.carryOut(action, by: place)
        } ?? false
    }

    private func noteTimer(_ register: UInt32, _ state: inout ChipsetState) {
        if LocalAPIC.concernsTimer(Int(register)) { state.timersChanged = true }
    }

    /// IA32_APIC_BASE.
    public func apicBase(_ vcpu: Int) -> UInt64 {
        look(vcpu) { state, place in state.apics.all[place].base } ?? 0
    }

    /// Writes IA32_APIC_BASE. false means #GP (from the guest) or EINVAL (from the host, which may make any transition
    /// between valid modes).
    public func setAPICBase(_ vcpu: Int, _ value: UInt64, fromHost: Bool) -> Bool {
        change(vcpu) { state, place in state.apics.all[place].setBase(value, fromHost: fromHost) } ?? false
    }

    /// CR8: the task priority's upper four bits.
    public func cr8(_ vcpu: Int) -> UInt64 {
        look(vcpu) { state, place in state.apics.all[place].cr8 } ?? 0
    }

    /// CR8 and IA32_APIC_BASE together, as each KVM_RUN shows them.
    public func priorityAndBase(_ vcpu: Int) -> (cr8: UInt64, base: UInt64) {
        look(vcpu) { state, place in (state.apics.all[place].cr8, state.apics.all[place].base) } ?? (0, 0)
    }

    /// Writes CR8; bits above 3 are ignored here.
    public func setCR8(_ vcpu: Int, _ value: UInt64) {
        _ = change(vcpu) { state, place in state.apics.all[place].cr8 = value }
    }

    /// IA32_TSC_DEADLINE; 0 unless the timer is in TSC-deadline mode and armed.
    public func tscDeadline(_ vcpu: Int) -> UInt64 {
        let now = clock()
        return change(vcpu) { state, place in
            if state.apics.all[place].advanceTimer(now: now) { state.timersChanged = true }
            return state.apics.all[place].tscDeadline
        } ?? 0
    }

    /// Writes IA32_TSC_DEADLINE (ignored unless the timer is in TSC-deadline mode). `tsc` is the guest's TSC now.
    public func setTSCDeadline(_ vcpu: Int, _ value: UInt64, tsc: UInt64) {
        let now = clock()
        _ = change(vcpu) { state, place in
            _ = state.apics.all[place].advanceTimer(now: now)
            state.apics.all[place].setTSCDeadline(value, tsc: tsc, now: now)
            // If it is past already, the interrupt is there before the next instruction.
            _ = state.apics.all[place].advanceTimer(now: now)
            state.timersChanged = true
        }
    }
}

// MARK: Interrupts and events

extension Chipset {
    /// Whether ``acknowledge(_:)`` would give a vector: the exact answer to the hint ``PendingEvents/interrupt``.
    public func hasInterrupt(_ vcpu: Int) -> Bool {
        look(vcpu) { state, place in
            state.apics.all[place].pending(external: state.pic?.output == true).contains(.interrupt)
        } ?? false
    }

    /// The interrupt acknowledge cycle: the 8259's vector (through LINT0 as ExtINT, or an APIC that is disabled) first,
    /// then the local APIC's highest vector above the processor priority. nil if there is none.
    public func acknowledge(_ vcpu: Int) -> UInt8? {
        change(vcpu) { state, place in state.acknowledge(place) } ?? nil
    }

    /// Takes what is pending besides interrupts; it is pending no more.
    public func takeEvents(_ vcpu: Int) -> VirtualCPUEvents {
        change(vcpu) { state, place in
            defer { state.apics.all[place].events = VirtualCPUEvents() }
            return state.apics.all[place].events
        } ?? VirtualCPUEvents()
    }

    /// What ``takeEvents(_:)`` would take.
    public func pendingEvents(_ vcpu: Int) -> VirtualCPUEvents {
        look(vcpu) { state, place in state.apics.all[place].events } ?? VirtualCPUEvents()
    }

    /// Takes only an INIT and a SIPI (the vCPU is not ready for the others).
    public func takeStartup(_ vcpu: Int) -> VirtualCPUEvents {
        change(vcpu) { state, place in
            var taken = VirtualCPUEvents()
            swap(&taken.initialize, &state.apics.all[place].events.initialize)
            swap(&taken.startUp, &state.apics.all[place].events.startUp)
            return taken
        } ?? VirtualCPUEvents()
    }

    /// Makes events pending as if they had arrived (KVM_SET_VCPU_EVENTS, KVM_SET_MP_STATE, KVM_SMI).
    public func post(_ vcpu: Int, _ events: VirtualCPUEvents) {
        _ = change(vcpu) { state, place in
            let old = state.apics.all[place].events
            var new = old
            new.nmis = UInt8(min(2, Int(old.nmis) + Int(events.nmis)))
            new.initialize = old.initialize || events.initialize
            new.startUp = events.startUp ?? old.startUp
            new.systemManagement = old.systemManagement || events.systemManagement
            new.unhalt = old.unhalt || events.unhalt
            new.ioapicEOI = events.ioapicEOI ?? old.ioapicEOI
            new.taskPriority = old.taskPriority || events.taskPriority
            state.apics.all[place].events = new
        }
    }

    /// KVM_NMI, and the NMI that a device sends.
    public func sendNMI(_ vcpu: Int) {
        var events = VirtualCPUEvents()
        events.nmis = 1
        post(vcpu, events)
    }

    /// Whether the vCPU takes interrupts of the 8259 now (APIC disabled, or LINT0 unmasked as ExtINT).
    public func acceptsExternalInterrupt(_ vcpu: Int) -> Bool {
        look(vcpu) { state, place in state.apics.all[place].acceptsExternal } ?? false
    }

    /// KVM_INTERRUPT in split mode: the vector that a user-space 8259 gives. false (EEXIST) if one is pending already.
    public func setExternalInterrupt(_ vcpu: Int, vector: UInt8) -> Bool {
        change(vcpu) { state, place in
            guard state.apics.all[place].externalVector == nil else { return false }
            state.apics.all[place].externalVector = vector
            return true
        } ?? false
    }

    /// KVM_HC_KICK_CPU: makes the vCPU with this APIC id leave HLT.
    public func unhalt(apicID: UInt32) {
        var message = InterruptMessage(vector: 0, destination: apicID)
        message.deliveryMode = .remoteRead
        _ = change { [message] in $0.state.apics.deliver(message) }
    }

    /// KVM_HC_SEND_IPI: sends `icr` to the vCPUs whose APIC ids are `minimum` plus the set bits of `bitmap`.
    /// - Returns: to how many it was delivered, or −22 (EINVAL) for an ICR with a logical destination or a shorthand.
    public func sendIPIs(bitmap: [UInt64], minimum: UInt32, icr: UInt32) -> Int {
        guard icr & 0xC_0800 == 0 else { return MSI.invalid }
        let message = InterruptMessage(icr: icr, destination: 0)
        return change { guarded in
            var count = 0
            for (index, word) in bitmap.prefix(LocalAPICs.idLimit / 64).enumerated() {
                for bit in 0..<64 where word & 1 << UInt64(bit) != 0 {
                    guard let place = guarded.state.apics.place(Int(minimum) + index * 64 + bit) else { continue }
                    if guarded.state.apics.accept(message, at: place) { count += 1 }
                }
            }
            return count
        }
    }
}
