// KVM_IRQFD: eventfds that raise a GSI. Documentation/virt/kvm/api.rst, section 4.75.
//
// The kernel drops an irqfd when the last descriptor of its eventfd is closed. Here it stays until it is taken away or the
// VM goes: the descriptor by which it is waited for is one itself, and a process can't see when it is the last.

internal import Chipset
internal import KVMABI
internal import Locking
internal import Synchronization

/// The irqfds of one VM with an interrupt controller.
final class IRQFDs: Sendable {
    private struct Entry {
        var gsi: UInt32
        var token: UInt64
        var event: EventDescriptor
        var resample: EventDescriptor?
    }

    private let chipset: Chipset
    private let loop: EventLoop
    /// By the eventfd's identity.
    private let entries = Lock<[UInt64: Entry]>([:])
    private let nextToken = Atomic<UInt64>(16)
    /// Whom the end of an interrupt is told, by GSI; apart, as it is looked at while a handler runs.
    private let resamplers: Resamplers

    init(_ chipset: Chipset, _ loop: EventLoop, _ resamplers: Resamplers) {
        self.chipset = chipset
        self.loop = loop
        self.resamplers = resamplers
    }

    /// struct kvm_irqfd: fd, gsi, flags, resamplefd. `isFull`: there are 8259s and an I/O APIC.
    func change(_ record: Record, isFull: Bool) throws(Errno) {
        let number: Int32 = record.load(0)
        let gsi: UInt32 = record.load(4)
        let flags: UInt32 = record.load(8)
        guard flags & ~3 == 0 else { throw .invalidArgument }
        if flags & 1 != 0 {
            try remove(number, gsi)
            return
        }
        if flags & 2 != 0, !isFull { throw .invalidArgument }
        let event = try EventDescriptor(number)
        let resample: EventDescriptor? = flags & 2 != 0 ? try EventDescriptor(record.load(12, as: Int32.self)) : nil
        let token = nextToken.wrappingAdd(1, ordering: .relaxed).newValue
        let source: Chipset.Source = resample == nil ? .userspace : .resampler
        let entry = Entry(gsi: gsi, token: token, event: event, resample: resample)
        let added: Bool = entries.withLock { entries in
            if entries[event.identity] != nil { return false }
            entries[event.identity] = entry
            return true
        }
        guard added else { throw .busy }
        if let resample {
            resamplers.add(gsi, resample)
            chipset.watchEndOfInterrupt(gsi, true)
        }
        let chipset = chipset
        do throws(Errno) {
            try loop.add(event.descriptor, token: token) {
                guard event.drain() != 0 else { return }
                if resample == nil {
                    chipset.pulse(gsi)
                } else {
                    chipset.setLine(gsi, level: true, source: source)
                }
            }
        } catch {
            entries.withLock { $0[event.identity] = nil }
            end(entry)
            throw error
        }
    }

    private func remove(_ number: Int32, _ gsi: UInt32) throws(Errno) {
        let identity = try EventDescriptor.identity(of: number)
        let removed: Entry? = entries.withLock { entries in
            guard entries[identity]?.gsi == gsi else { return nil }
            return entries.removeValue(forKey: identity)
        }
        if let removed { end(removed) }
    }

    /// It is in the list no longer.
    private func end(_ entry: Entry) {
        loop.remove(token: entry.token)
        guard let resample = entry.resample else { return }
        // The line is all of theirs together: it stays as it is until the last one goes.
        guard resamplers.remove(entry.gsi, resample) else { return }
        chipset.watchEndOfInterrupt(entry.gsi, false)
        chipset.setLine(entry.gsi, level: false, source: .resampler)
    }
}

/// The eventfds that the end of an interrupt signals.
final class Resamplers: Sendable {
    private let events = Lock<[UInt32: [EventDescriptor]]>([:])

    func add(_ gsi: UInt32, _ event: EventDescriptor) { events.withLock { $0[gsi, default: []].append(event) } }

    /// True when it was the GSI's last.
    func remove(_ gsi: UInt32, _ event: EventDescriptor) -> Bool {
        events.withLock { events in
            events[gsi]?.removeAll { $0 === event }
            guard events[gsi]?.isEmpty ?? true else { return false }
            events[gsi] = nil
            return true
        }
    }

    func signal(_ gsi: UInt32) {
        events.withLock { events in
            for event in events[gsi] ?? [] { event.signal() }
        }
    }
}
