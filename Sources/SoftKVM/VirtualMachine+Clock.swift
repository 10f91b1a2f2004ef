// kvm-clock and TSC frequency of a VM. Documentation/virt/kvm/api.rst, sections 4.29, 4.30, 4.55, 4.56.

internal import KVMABI
internal import Locking

extension VirtualMachine {
    /// KVM_GET_CLOCK: struct kvm_clock_data { clock, flags, pad0, realtime, host_tsc, pad[4] }.
    func getClock(_ argument: ClientArgument) throws(Errno) {
        var record = Record(count: 48)
        let now = clock.withLock { clock in
            let now = HostTSC.now
            record.store(clock.nanoseconds(at: now), 0)
            return now
        }
        var flags = Capabilities.clockFlags
        // A counter that the client can't read tells it nothing.
        if HostTSC.shared.isRDTSC { record.store(now, 24) } else { flags &= ~Capabilities.hostTSCFlag }
        record.store(flags, 8)
        record.store(HostClock.realtime, 16)
        try argument.storeBytes(record.bytes)
    }

    /// KVM_SET_CLOCK.
    func setClock(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(48))
        let flags: UInt32 = record.load(8)
        guard flags & ~Capabilities.clockFlags == 0 else { throw .invalidArgument }
        var nanoseconds: UInt64 = record.load(0)
        let realtime = HostClock.realtime
        // KVM_CLOCK_REALTIME: the time that has passed since the clock was read.
        if flags & 4 != 0, realtime > record.load(16, as: UInt64.self) {
            nanoseconds &+= realtime - record.load(16, as: UInt64.self)
        }
        clock.withLock { [nanoseconds] in $0.set(nanoseconds, at: HostTSC.now) }
        world.forEach(except: nil) { $0.timeChanged() }
    }

    /// KVM_SET_TSC_KHZ on the VM: for vCPUs to come.
    func setTSCKilohertz(_ value: UInt) throws(Errno) {
        let kilohertz = value == 0 ? HostTSC.kilohertz : UInt32(truncatingIfNeeded: value)
        guard UInt64(value) <= UInt64(UInt32.max), kilohertz < 1_000_000_000 else { throw .invalidArgument }
        guard !hasVCPUs else { throw .invalidArgument }
        configuration.withLock { $0.tscKilohertz = kilohertz }
    }
}
