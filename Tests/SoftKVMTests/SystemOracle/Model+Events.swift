// Interrupts and exceptions on their way to a handler: the operation section of INT n, branch by branch.
// Intel SDM vol. 2, INT n/INTO/INT3/INT1; vol. 3, 6.10 to 6.14, 20.1.4, 20.3.

import KVMABI

/// What an event came from.
enum EventSource {
    case exception, external
    /// INT n, INT3 and INTO.
    case software
    /// INT1.
    case privilegedSoftware
}

extension Model {
    /// Sends the event to its handler, which is to return to `next`.
    mutating func deliver(_ vector: UInt8, code: UInt32?, source: EventSource, next: UInt64) throws(Fault) {
        let ext: UInt32 = source == .software ? 0 : 1
        if isReal { return try deliverReal(vector, next: next, ext) }
        let own = Fault(vector: 13, code: UInt32(vector) << 3 | 2 | ext)
        let size: UInt64 = isLongMode ? 16 : 8
        let place = UInt64(vector) * size
        guard place + size - 1 <= UInt64(state.special.idt.limit) else { throw own }
        let address = state.special.idt.base + place
        let gate = TableEntry(value: read(address), upper: isLongMode ? read(address + 8) : 0, address: address)
        let allowed: Set<UInt8> = isLongMode ? [14, 15] : [5, 6, 7, 14, 15]
        guard gate.isSystem, allowed.contains(gate.type) else { throw own }
        if source == .software, gate.dpl < cpl { throw own }
        guard gate.isPresent else { throw Fault(vector: 11, code: own.code) }
        if gate.type == 5 {
            return try switchTask(gate.gateSelector, .event, next: next, code: code, ext)
        }
        try enter(gate, code: code, setsRF: source == .exception && ![1, 3, 4, 8].contains(vector), next: next, ext)
    }

    private mutating func deliverReal(_ vector: UInt8, next: UInt64, _ ext: UInt32) throws(Fault) {
        guard UInt64(vector) * 4 + 3 <= UInt64(state.special.idt.limit) else {
            throw Fault(vector: 13, code: UInt32(vector) << 3 | 2 | ext)
        }
        var stack = stack
        try push(state.general.rflags & 0xFFFF, 2, on: &stack)
        try push(UInt64(state.special.cs.selector), 2, on: &stack)
        try push(next, 2, on: &stack)
        commit(stack)
        state.general.rflags &= ~0x5_0300  // IF, TF, RF, AC
        let entry: UInt32 = read(state.special.idt.base + UInt64(vector) * 4)
        state.special.cs = realSegment(state.special.cs, UInt16(entry >> 16))
        state.general.rip = UInt64(entry & 0xFFFF)
    }

    /// TRAP-OR-INTERRUPT-GATE.
    private mutating func enter(_ gate: TableEntry, code: UInt32?, setsRF: Bool, next: UInt64, _ ext: UInt32)
        throws(Fault)
    {
        let selector = gate.gateSelector
        if isNull(selector) { throw Fault(vector: 13, code: ext) }
        let entry = try entry(selector, else: .gp(selector, ext))
        guard entry.isCode, entry.dpl <= cpl else { throw .gp(selector, ext) }
        if isLongMode, !entry.isLong || entry.isBig { throw .gp(selector, ext) }
        guard entry.isPresent else { throw .np(selector, ext) }
        let level = entry.isConforming ? cpl : entry.dpl
        if isV86, level != 0 { throw .gp(selector, ext) }
        let size = isLongMode ? 8 : gate.type & 8 != 0 ? 4 : 2
        let offset = size == 2 ? gate.gateOffset & 0xFFFF : gate.gateOffset

        let code64 = isLongMode
        var stack = stack
        stack.code = ext
        var segment: kvm_segment?
        if isLongMode {
            let ist = UInt64(gate.value >> 32 & 7)
            if level < cpl || ist != 0 {
                stack = Stack(segment: .null(0), pointer: try longStack(level, ist: ist, ext), width: 8, code: ext)
                if level < cpl { segment = .null(UInt16(level), dpl: level) }
            }
            stack.width = 8
            stack.pointer &= ~15
        } else if level < cpl {
            (stack, segment) = try innerStack(level, ext)
        }
        if segment != nil || isLongMode {
            if isV86 {
                for path in [\kvm_sregs.gs, \.fs, \.ds, \.es] {
                    try push(UInt64(state.special[keyPath: path].selector), size, on: &stack)
                }
            }
            try push(UInt64(state.special.ss.selector), size, on: &stack)
            try push(state.general.rsp, size, on: &stack)
        }
        try push(state.general.rflags | (setsRF ? 1 << 16 : 0), size, on: &stack)
        try push(UInt64(state.special.cs.selector), size, on: &stack)
        try push(next, size, on: &stack)
        if let code { try push(UInt64(code), size, on: &stack) }
        if code64 ? !Model.isCanonical(offset) : offset > UInt64(kvm_segment(0, entry.value).limit) {
            throw Fault(vector: 13, code: ext)
        }
        if isV86 { for path in [\kvm_sregs.gs, \.fs, \.ds, \.es] { state.special[keyPath: path] = .null(0) } }
        // TF, NT, VM, RF; IF for interrupt gates.
        state.general.rflags &= ~(0x3_4100 | (gate.type & 1 == 0 ? 0x200 : 0))
        if let segment { state.special.ss = segment }
        state.special.cs = loaded(selector & 0xFFFC | UInt16(level), entry)
        commit(stack)
        state.general.rip = offset
    }

    /// The stack of an inner level, from a 16-bit or 32-bit TSS.
    mutating func innerStack(_ level: UInt8, _ ext: UInt32) throws(Fault) -> (Stack, kvm_segment) {
        let task = state.special.tr
        let isWide = task.type & 8 != 0
        let place = UInt64(level) * (isWide ? 8 : 4) + (isWide ? 4 : 2)
        guard place + (isWide ? 5 : 3) <= UInt64(task.limit) else { throw .ts(task.selector, ext) }
        let pointer =
            isWide ? UInt64(read(task.base + place, as: UInt32.self)) : UInt64(read(task.base + place, as: UInt16.self))
        let selector: UInt16 = read(task.base + place + (isWide ? 4 : 2))
        let segment = try stackSegment(selector, level: level, null: false, { .ts($0, ext) }, ext: ext)
        let width = segment.db != 0 ? 4 : 2
        return (Stack(segment: segment, pointer: pointer, width: width, code: UInt32(selector & 0xFFFC) | ext), segment)
    }

    /// The stack of a level, or an interrupt stack, from a 64-bit TSS.
    func longStack(_ level: UInt8, ist: UInt64, _ ext: UInt32) throws(Fault) -> UInt64 {
        let task = state.special.tr
        let place = ist == 0 ? 4 + UInt64(level) * 8 : 0x24 + (ist - 1) * 8
        guard place + 7 <= UInt64(task.limit) else { throw .ts(task.selector, ext) }
        let pointer: UInt64 = read(task.base + place)
        guard Model.isCanonical(pointer) else { throw Fault(vector: 12, code: ext) }
        return pointer
    }
}
