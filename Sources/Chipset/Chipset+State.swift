// Whole state, as the ioctls that save and restore a VM see it.

extension Chipset {
    /// KVM_GET_LAPIC: the 1024 bytes of the register page, with the interrupt of a timer that is due. nil for an unknown
    /// vCPU.
    public func localAPICPage(_ vcpu: Int) -> [UInt8]? {
        let now = clock()
        return change(vcpu) { state, place in
            if state.apics.all[place].advanceTimer(now: now) { state.timersChanged = true }
            return state.apics.all[place].page(now: now, wideIDs: state.apics.wideIDs)
        }
    }

    /// KVM_SET_LAPIC. `tsc` is the guest's TSC now. false (EINVAL): not 1024 bytes, or an x2APIC id that is not the vCPU's.
    public func setLocalAPICPage(_ vcpu: Int, _ page: [UInt8], tsc: UInt64) -> Bool {
        let now = clock()
        return change(vcpu) { state, place in
            state.timersChanged = true
            defer { state.ioapic?.trackRTC(state.apics) }
            return state.apics.all[place].setPage(page, now: now, tsc: tsc, wideIDs: state.apics.wideIDs)
        } ?? false
    }

    /// KVM_GET_IRQCHIP of one 8259; nil in split mode.
    public func pic(_ chip: PICState.Chip) -> PICState? { look { $0.state.pic?[chip] } }

    /// KVM_SET_IRQCHIP of one 8259. false in split mode.
    public func setPIC(_ chip: PICState.Chip, _ state: PICState) -> Bool {
        change { $0.state.withPIC { $0[chip] = state } != nil }
    }

    /// KVM_GET_IRQCHIP of the I/O APIC; nil in split mode.
    public func ioapic() -> IOAPICState? { look { $0.state.ioapic?.state } }

    /// KVM_SET_IRQCHIP of the I/O APIC. false in split mode.
    public func setIOAPIC(_ state: IOAPICState) -> Bool {
        change { $0.state.ioapic?.setState(state, to: &$0.state.apics) != nil }
    }

    /// KVM_CREATE_PIT2. `speaker` is KVM_PIT_SPEAKER_DUMMY: port 0x61 is modelled too.
    /// - Returns: false if there is one already (EEXIST) or the mode is split (ENOENT).
    public func createPIT(speaker: Bool) -> Bool {
        let now = clock()
        return change {
            guard $0.state.pit == nil, $0.state.ioapic != nil else { return false }
            $0.state.pit = PIT8254(speaker: speaker, now: now)
            return true
        }
    }

    /// Whether ``createPIT(speaker:)`` has made one.
    public var hasPIT: Bool { look { $0.state.pit != nil } }

    /// KVM_GET_PIT2; nil without a PIT.
    public func pit() -> PITState? { look { $0.state.pit?.state } }

    /// KVM_SET_PIT2: channel 0 starts over from its count. false without a PIT.
    public func setPIT(_ state: PITState) -> Bool {
        let now = clock()
        return change {
            $0.state.timersChanged = true
            return $0.state.pit?.setState(state, now: now) != nil
        }
    }

    /// KVM_REINJECT_CONTROL: whether ticks that the guest missed are delivered later; on at first. false without a PIT.
    public func setPITReinjection(_ enabled: Bool) -> Bool {
        look {
            guard $0.state.pit != nil else { return false }
            $0.state.pit?.reinjects = enabled
            return true
        }
    }
}
