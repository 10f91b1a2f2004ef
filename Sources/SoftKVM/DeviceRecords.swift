// The chipset's states as the interface's structures: kvm_pic_state, kvm_ioapic_state, kvm_pit_state2. <asm/kvm.h>.

internal import Chipset
internal import KVMABI

extension Record {
    private static var picFields: [WritableKeyPath<PICState, UInt8>] {
        [
            \.lastIRR, \.irr, \.imr, \.isr, \.priorityAdd, \.irqBase, \.readRegisterSelect, \.poll, \.specialMask,
            \.initState, \.autoEOI, \.rotateOnAutoEOI, \.specialFullyNestedMode, \.init4, \.elcr, \.elcrMask,
        ]
    }

    mutating func storePIC(_ state: PICState, at offset: Int) {
        for (index, field) in Record.picFields.enumerated() { store(state[keyPath: field], offset + index) }
    }

    func loadPIC(at offset: Int) -> PICState {
        var state = PICState()
        for (index, field) in Record.picFields.enumerated() { state[keyPath: field] = load(offset + index) }
        return state
    }

    mutating func storeIOAPIC(_ state: IOAPICState, at offset: Int) {
        store(state.baseAddress, offset)
        store(state.ioregsel, offset + 8)
        store(state.id, offset + 12)
        store(state.irr, offset + 16)
        for (pin, entry) in state.redirectionTable.prefix(IOAPICState.pinCount).enumerated() {
            store(entry, offset + 24 + 8 * pin)
        }
    }

    func loadIOAPIC(at offset: Int) -> IOAPICState {
        var state = IOAPICState()
        state.baseAddress = load(offset)
        state.ioregsel = load(offset + 8)
        state.id = load(offset + 12)
        state.irr = load(offset + 16)
        state.redirectionTable = (0..<IOAPICState.pinCount).map { load(offset + 24 + 8 * $0) }
        return state
    }

    mutating func storePIT(_ state: PITState, withFlags: Bool) {
        for (index, channel) in state.channels.prefix(3).enumerated() {
            let at = 24 * index
            store(channel.count, at)
            store(channel.latchedCount, at + 4)
            let bytes = [
                channel.countLatched, channel.statusLatched, channel.status, channel.readState, channel.writeState,
                channel.writeLatch, channel.rwMode, channel.mode, channel.bcd, channel.gate,
            ]
            for (place, byte) in bytes.enumerated() { store(byte, at + 6 + place) }
            store(channel.countLoadTime, at + 16)
        }
        if withFlags { store(state.flags, 72) }
    }

    func loadPIT(withFlags: Bool) -> PITState {
        var state = PITState()
        state.channels = (0..<3).map { index in
            let at = 24 * index
            var channel = PITState.Channel()
            channel.count = load(at)
            channel.latchedCount = load(at + 4)
            channel.countLatched = load(at + 6)
            channel.statusLatched = load(at + 7)
            channel.status = load(at + 8)
            channel.readState = load(at + 9)
            channel.writeState = load(at + 10)
            channel.writeLatch = load(at + 11)
            channel.rwMode = load(at + 12)
            channel.mode = load(at + 13)
            channel.bcd = load(at + 14)
            channel.gate = load(at + 15)
            channel.countLoadTime = load(at + 16)
            return channel
        }
        if withFlags { state.flags = load(72) }
        return state
    }
}
