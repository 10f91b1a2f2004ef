// kvm-clock and TSC frequency of a VM. Documentation/virt/kvm/api.rst, sections 4.29, 4.30, 4.55, 4.56.

internal import KVMABI
internal import Locking

extension VirtualMachine {
    /// KVM_GET_CLOCK: struct kvm_clock_data { clock, flags, pad0, realtime, host_tsc, pad[4] }.
    func getClock(_ argument: ClientArgument) throws(Errno) {
        let now = HostClock.now
        let realtime = HostClock.realtime
        var record = Record(count: 48)
        record.store(clock.withLock { $0.nanoseconds(at: now) }, 0)
        record.store(Capabilities.clockFlags, 8)
        record.store(realtime, 16)
        record.store(TimeStampCounter.ticks(now, kilohertz: HostTSC.kilohertz), 24)
        try argument.storeBytes(record.bytes)
    }

    /// KVM_SET_CLOCK.
    func setClock(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(48))
        let flags: UInt32 = record.load(8)
        guard flags & ~Capabilities.clockFlags == 0 else { throw .invalidArgument }
        var nanoseconds: UInt64 = record.load(0)
        let now = HostClock.now
        let realtime = HostClock.realtime
        // KVM_CLOCK_REALTIME: the time that has passed since the clock was read.
        if flags & 4 != 0, realtime > record.load(16, as: UInt64.self) {
            nanoseconds &+= realtime - record.load(16, as: UInt64.self)
        }
        clock.withLock { $0.set(nanoseconds, at: now) }
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
