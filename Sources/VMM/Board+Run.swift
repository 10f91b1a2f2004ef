// A vCPU's life: run, answer the exit, run again, until the machine ends.

internal import Devices
internal import KVM
internal import KVMABI
internal import Synchronization

extension Board {
    /// Runs a vCPU until the machine ends, and closes it.
    func run(_ cpu: consuming VirtualCPU) {
        var cpu = cpu
        while !end.hasEnded {
            do {
                try cpu.run()
            } catch {
                crash("\(error)", cpu)
                break
            }
            answer(cpu)
        }
        // A hypervisor may have none.
        let counters = (try? cpu.statistics()) ?? []
        let id = cpu.id
        statistics.withLock { $0[id] = counters }
    }

    private func crash(_ cause: String, _ cpu: borrowing VirtualCPU) {
        // Registers are looked at only if this is the first reason to end.
        guard !end.hasEnded else { return }
        end.end(.crashed(CrashReport(cause, cpu, memory)))
    }

    private func answer(_ cpu: borrowing VirtualCPU) {
        switch cpu.exit {
        case .portOut(let access):
            let (port, size) = (access.port, access.size)
            for index in 0..<access.count { ports.write(port: port, width: size, value: access.value(at: index)) }
        case .portIn(let access):
            let (port, size) = (access.port, access.size)
            for index in 0..<access.count { access.answer(ports.read(port: port, width: size), at: index) }
        case .mmioRead(let access): access.answer(load(access.address, access.size))
        case .mmioWrite(let access): store(access.address, access.bytes)
        case .interrupted, .signal: noteStopped(cpu)
        case .shutdown:
            if tripleFaultIsReset {
                end.end(.reset("triple fault"))
            } else {
                crash("triple fault (KVM_EXIT_SHUTDOWN)", cpu)
            }
        case .systemEvent(let event): answer(event, cpu)
        case .internalError(let error):
            let data = error.data.map { "0x" + String($0, radix: 16) }.joined(separator: " ")
            crash(
                "the hypervisor gave up (KVM_EXIT_INTERNAL_ERROR, suberror \(error.suberror)"
                    + (data.isEmpty ? ")" : ", data \(data))"), cpu)
        case .failEntry(let reason, _):
            crash("the processor refused the guest's state (KVM_EXIT_FAIL_ENTRY, 0x\(String(reason, radix: 16)))", cpu)
        case .hardware(let reason):
            crash(
                "the hypervisor does not know the hardware's exit 0x\(String(reason, radix: 16)) (KVM_EXIT_UNKNOWN)",
                cpu)
        case .memoryFault: crash("the guest reached memory that it can't have (KVM_EXIT_MEMORY_FAULT)", cpu)
        case let exit: crash("an exit that nobody asked for (reason \(exit.reason.rawValue))", cpu)
        }
    }

    /// A run that a machine goes on after ended because the process stood still: somebody has said so, or the kernel's
    /// hypervisor has seen it. A guest that lost the time otherwise takes itself to be locked up.
    private func noteStopped(_ cpu: borrowing VirtualCPU) {
        guard !end.hasEnded else { return }
        // One that has no clock of the hypervisor's is not told.
        try? cpu.noteClockStopped()
    }

    /// `KVM_SYSTEM_EVENT_*`: 1 shutdown, 2 reset, 3 crash.
    private func answer(_ event: borrowing SystemEvent, _ cpu: borrowing VirtualCPU) {
        switch event.type {
        case 1: end.end(.poweredOff)
        case 2: end.end(.reset("system event"))
        default: crash("the guest reported a crash (KVM_EXIT_SYSTEM_EVENT, type \(event.type))", cpu)
        }
    }

    /// Exits come in any size up to 8; buses know powers of two.
    private func load(_ address: UInt64, _ size: Int) -> UInt64 {
        guard ![1, 2, 4, 8].contains(size) else { return mmio.read(address: address, width: size) }
        return (0..<size).reduce(0 as UInt64) {
            $0 | mmio.read(address: address &+ UInt64($1), width: 1) << UInt64($1 * 8)
        }
    }

    private func store(_ address: UInt64, _ bytes: [UInt8]) {
        let value = bytes.reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        if [1, 2, 4, 8].contains(bytes.count) {
            mmio.write(address: address, width: bytes.count, value: value)
        } else {
            for (index, byte) in bytes.enumerated() {
                mmio.write(address: address &+ UInt64(index), width: 1, value: UInt64(byte))
            }
        }
    }
}
