// The vCPU's TSC, and kvm-clock as the guest sees it in its own memory.
// Linux, Documentation/virt/kvm/x86/msr.rst; Documentation/virt/kvm/api.rst, sections 4.55, 4.56; devices/vcpu.rst, 4.1.

internal import Chipset
internal import KVMABI
internal import Locking
internal import Processor

extension VirtualCPU {
    /// A guest's write of the TSC or of TSC_ADJUST moves both.
    func adjustTSC(by difference: UInt64) {
        tsc.offset &+= difference
        msrs.tscAdjust &+= difference
        tscChanged()
    }

    /// A client's write.
    func synchronizeTSC(_ value: UInt64) {
        let kilohertz = tsc.kilohertz
        tsc = machine.configuration.withLock { $0.clientsTSC(value, kilohertz: kilohertz, at: HostTSC.now) }
        tscChanged()
    }

    private func setTSCOffset(_ offset: UInt64) {
        tsc.offset = offset
        machine.configuration.withLock { [tsc] configuration in
            configuration.lastTSC = tsc
            configuration.hasClientsTSC = true
        }
        tscChanged()
    }

    private func tscChanged() {
        chipset?.setTSC(Int(id), timeStampCounter, kilohertz: tsc.kilohertz)
        doorbell.timeChanged()
    }

    func setTSCKilohertz(_ value: UInt) throws(Errno) {
        let kilohertz = value == 0 ? HostTSC.kilohertz : UInt32(truncatingIfNeeded: value)
        guard value <= UInt(UInt32.max), kilohertz > 0, kilohertz < 1_000_000_000 else { throw .invalidArgument }
        // The counter goes on from where it is.
        let now = HostTSC.now
        let current = tsc.value(at: now)
        tsc.kilohertz = kilohertz
        tsc.offset = tsc.offset(for: current, at: now)
        tscChanged()
    }

    /// KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET: struct kvm_device_attr { flags, group, attr, addr }.
    func deviceAttribute(_ request: Request, _ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(24))
        guard record.load(4, as: UInt32.self) == 0, record.load(8, as: UInt64.self) == 0 else {
            throw .noSuchDeviceOrAddress
        }
        let place = ClientArgument(record.load(16, as: UInt64.self))
        if request == .getDeviceAttr {
            try place.store(tsc.offset)
        } else if request == .setDeviceAttr {
            setTSCOffset(try place.load())
        }
    }

    // MARK: kvm-clock

    /// Shows the guest the current parameters. On the vCPU's thread, inside guest code's gate.
    func updateGuestTime() {
        let wasPaused = doorbell.takeStandstill()
        guard msrs.systemTime & 1 != 0 else { return }
        let isOld = msrs.usesOldClock
        let time = machine.clock.withLock { $0.systemTime(tsc, paused: wasPaused, stable: !isOld) }
        let address = msrs.systemTime & ~1
        guard let version = machine.readPhysical32(address) else { return }
        apply(time.writes(after: version), at: address)
    }

    /// The time of day at which the guest's clock was zero.
    func writeWallClock() {
        let address = msrs.wallClock
        guard address != 0, let version = machine.readPhysical32(address) else { return }
        let boot = HostClock.realtime &- machine.clock.withLock { $0.nanoseconds(at: HostTSC.now) }
        apply(WallClock(bootTime: boot).writes(after: version), at: address)
    }

    private func apply(_ writes: [ClockWrite], at address: UInt64) {
        for write in writes { machine.writePhysical(address &+ UInt64(write.offset), write.bytes, by: self) }
    }
}

extension VirtualMachine.Configuration {
    /// A new vCPU's TSC: as the last one's, if that has the rate of new ones, else from zero on.
    mutating func newTSC(at now: UInt64) -> TimeStampCounter { agreeingTSC(0, kilohertz: tscKilohertz, at: now) }

    /// The TSC of a vCPU whose client writes `value` to it. Zero, or less than a second from what the one reads that the client wrote
    /// before, means that both are to agree.
    mutating func clientsTSC(_ value: UInt64, kilohertz: UInt32, at now: UInt64) -> TimeStampCounter {
        defer { hasClientsTSC = true }
        return agreeingTSC(value, kilohertz: kilohertz, at: now)
    }

    private mutating func agreeingTSC(_ value: UInt64, kilohertz: UInt32, at now: UInt64) -> TimeStampCounter {
        if let last = lastTSC, last.kilohertz == kilohertz {
            let second = Int64(kilohertz) * 1000
            let difference = Int64(bitPattern: value &- last.value(at: now))
            if value == 0 || hasClientsTSC && difference > -second && difference < second { return last }
        }
        var tsc = TimeStampCounter(kilohertz: kilohertz)
        tsc.offset = tsc.offset(for: value, at: now)
        lastTSC = tsc
        return tsc
    }
}
