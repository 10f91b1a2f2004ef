// Far JMP, CALL and RET, and IRET: their operation sections, branch by branch. Intel SDM vol. 2, JMP, CALL, RET, IRET;
// vol. 3, 5.8 and 20.2.

import KVMABI

extension Model {
    /// Enters a code segment at a level, after the last check: the entry point.
    private mutating func enter(_ selector: UInt16, _ entry: TableEntry, level: UInt8, _ offset: UInt64) throws(Fault) {
        let isLong = isLongMode && entry.isLong
        if isLong ? !Model.isCanonical(offset) : offset > UInt64(kvm_segment(0, entry.value).limit) {
            throw .generalProtection
        }
        state.special.cs = loaded(selector & 0xFFFC | UInt16(level), entry)
        state.general.rip = offset
    }

    private mutating func enterReal(_ selector: UInt16, _ offset: UInt64) throws(Fault) {
        guard offset <= UInt64(state.special.cs.limit) else { throw .generalProtection }
        state.special.cs = realSegment(state.special.cs, selector)
        state.general.rip = offset
    }

    /// JMP (`size` nil), or CALL with an operand of `size` bytes, to ptr16:16, ptr16:32 or m16:64.
    mutating func farTransfer(_ selector: UInt16, _ offset: UInt64, call size: Int?) throws(Fault) {
        let next = state.general.rip
        if isRealOrV86 {
            var stack = stack
            if let size {
                try push(UInt64(state.special.cs.selector), size, on: &stack)
                try push(next, size, on: &stack)
            }
            try enterReal(selector, offset)
            return commit(stack)
        }
        if isNull(selector) { throw .generalProtection }
        let entry = try entry(selector, else: .gp(selector))
        if !entry.isSystem {
            guard entry.isCode else { throw .gp(selector) }
            if isLongMode, entry.isLong, entry.isBig { throw .gp(selector) }
            let allowed = entry.isConforming ? entry.dpl <= cpl : rpl(selector) <= cpl && entry.dpl == cpl
            guard allowed else { throw .gp(selector) }
            guard entry.isPresent else { throw .np(selector) }
            var stack = stack
            if let size {
                try push(UInt64(state.special.cs.selector), size, on: &stack)
                try push(next, size, on: &stack)
            }
            try enter(selector, entry, level: cpl, offset)
            return commit(stack)
        }
        let types: Set<UInt8> = isLongMode ? [12] : [1, 4, 5, 9, 12]
        guard types.contains(entry.type), entry.dpl >= cpl, entry.dpl >= rpl(selector) else { throw .gp(selector) }
        if isLongMode {
            // All 16 bytes within the limit, and the type field of the upper half zero: vol. 3, 5.8.3.1.
            let whole = try systemEntry(selector, else: .gp(selector))
            guard whole.upper & 0x1F00_0000_0000 == 0 else { throw .gp(selector) }
        }
        guard entry.isPresent else { throw .np(selector) }
        switch entry.type {
        case 4, 12:
            let gate = try systemEntry(selector, else: .gp(selector))
            try throughGate(gate, isCall: size != nil, next: next)
        case 5: try switchTask(entry.gateSelector, size == nil ? .jump : .call, next: next)
        default: try switchTask(selector, size == nil ? .jump : .call, next: next)
        }
    }

    private mutating func throughGate(_ gate: TableEntry, isCall: Bool, next: UInt64) throws(Fault) {
        let selector = gate.gateSelector
        if isNull(selector) { throw .generalProtection }
        let entry = try entry(selector, else: .gp(selector))
        guard entry.isCode, entry.dpl <= cpl else { throw .gp(selector) }
        if !isCall, !entry.isConforming, entry.dpl != cpl { throw .gp(selector) }
        if isLongMode, !entry.isLong || entry.isBig { throw .gp(selector) }
        guard entry.isPresent else { throw .np(selector) }
        let size = isLongMode ? 8 : gate.type == 4 ? 2 : 4
        let offset = size == 2 ? gate.gateOffset & 0xFFFF : gate.gateOffset
        guard isCall else { return try enter(selector, entry, level: cpl, offset) }
        var stack = stack
        if isLongMode { stack.width = 8 }
        let level = entry.isConforming ? cpl : entry.dpl
        if level == cpl {
            try push(UInt64(state.special.cs.selector), size, on: &stack)
            try push(next, size, on: &stack)
            try enter(selector, entry, level: cpl, offset)
            return commit(stack)
        }
        var inner: Stack, segment: kvm_segment
        var parameters: [UInt64] = []
        if isLongMode {
            inner = Stack(segment: .null(0), pointer: try longStack(level, ist: 0, 0), width: 8)
            segment = .null(UInt16(level), dpl: level)
        } else {
            (inner, segment) = try innerStack(level, 0)
            for _ in 0..<gate.gateCount { parameters.append(try pop(size, from: &stack)) }
        }
        try push(UInt64(state.special.ss.selector), size, on: &inner)
        try push(state.general.rsp, size, on: &inner)
        for parameter in parameters.reversed() { try push(parameter, size, on: &inner) }
        try push(UInt64(state.special.cs.selector), size, on: &inner)
        try push(next, size, on: &inner)
        try enter(selector, entry, level: level, offset)
        state.special.ss = segment
        commit(inner)
    }

    // MARK: Returns

    /// CS as RET and IRET find it on the stack.
    private func returnEntry(_ selector: UInt16) throws(Fault) -> TableEntry {
        if isNull(selector) { throw .generalProtection }
        let entry = try entry(selector, else: .gp(selector))
        let level = rpl(selector)
        guard entry.isCode, level >= cpl, entry.isConforming ? entry.dpl <= level : entry.dpl == level else {
            throw .gp(selector)
        }
        if isLongMode, entry.isLong, entry.isBig { throw .gp(selector) }
        guard entry.isPresent else { throw .np(selector) }
        return entry
    }

    /// Goes to another level's stack and code, and makes null what that level may not have.
    private mutating func leave(
        to selector: UInt16, _ entry: TableEntry, _ offset: UInt64, stack selectorOfStack: UInt16, _ pointer: UInt64
    ) throws(Fault) {
        let level = rpl(selector), outward = level > cpl
        let isLong = isLongMode && entry.isLong
        let segment = try stackSegment(selectorOfStack, level: level, null: isLong) { .gp($0) }
        try enter(selector, entry, level: level, offset)
        state.special.ss = segment
        commit(Stack(segment: segment, pointer: pointer, width: isLong ? 8 : segment.db != 0 ? 4 : 2))
        guard outward else { return }
        for path in [\kvm_sregs.es, \.ds, \.fs, \.gs] {
            let segment = state.special[keyPath: path]
            let isConforming = segment.type & 0xC == 0xC
            let isInner = segment.unusable == 0 && !isConforming && segment.dpl < level
            if isInner || isNull(segment.selector) { state.special[keyPath: path] = .null(0) }
        }
    }

    /// RET far.
    mutating func farReturn(_ size: Int, drop: UInt64) throws(Fault) {
        var stack = stack
        let offset = try pop(size, from: &stack)
        let selector = UInt16(truncatingIfNeeded: try pop(size, from: &stack))
        if isRealOrV86 {
            try enterReal(selector, offset)
            stack.pointer &+= drop
            return commit(stack)
        }
        let entry = try returnEntry(selector)
        stack.pointer &+= drop
        if rpl(selector) == cpl {
            try enter(selector, entry, level: cpl, offset)
            return commit(stack)
        }
        let pointer = try pop(size, from: &stack)
        let other = UInt16(truncatingIfNeeded: try pop(size, from: &stack))
        try leave(to: selector, entry, offset, stack: other, pointer &+ drop)
    }

    /// IRET, IRETD, IRETQ.
    mutating func iret(_ size: Int) throws(Fault) {
        if isV86, iopl < 3 { throw .generalProtection }
        if !isRealOrV86, flag(1 << 14) {
            if isLongMode { throw .generalProtection }
            let link: UInt16 = read(state.special.tr.base)
            return try switchTask(link, .iret, next: state.general.rip)
        }
        var stack = stack
        let offset = try pop(size, from: &stack)
        let selector = UInt16(truncatingIfNeeded: try pop(size, from: &stack))
        let flags = try pop(size, from: &stack)
        // CF to TF, DF, OF, NT; with 32 bits RF, AC and ID.
        var mask: UInt64 = 0x4DD5 | (size == 2 ? 0 : 0x25_0000)
        let level = cpl
        if level <= iopl { mask |= 0x200 }
        if level == 0 { mask |= 0x3000 | (size == 2 || isReal ? 0 : 0x18_0000) }
        let image = state.general.rflags & ~mask | flags & mask
        if isRealOrV86 {
            try enterReal(selector, offset)
            commit(stack)
            state.general.rflags = image
            return
        }
        if flags & 1 << 17 != 0, level == 0, size == 4, !isLongMode {
            return try returnToV86(selector, offset, image | 1 << 17, &stack)
        }
        let entry = try returnEntry(selector)
        if rpl(selector) == level, !is64Bit {
            try enter(selector, entry, level: level, offset)
            commit(stack)
        } else {
            let pointer = try pop(size, from: &stack)
            let other = UInt16(truncatingIfNeeded: try pop(size, from: &stack))
            try leave(to: selector, entry, offset, stack: other, pointer)
        }
        state.general.rflags = image
    }

    private mutating func returnToV86(_ selector: UInt16, _ offset: UInt64, _ flags: UInt64, _ stack: inout Stack)
        throws(Fault)
    {
        let pointer = try pop(4, from: &stack)
        var selectors = [selector]
        for _ in 0..<5 { selectors.append(UInt16(truncatingIfNeeded: try pop(4, from: &stack))) }
        guard offset <= 0xFFFF else { throw .generalProtection }
        state.general.rflags = flags
        for (path, selector) in zip([\kvm_sregs.cs, \.ss, \.es, \.ds, \.fs, \.gs], selectors) {
            state.special[keyPath: path] = realSegment(state.special[keyPath: path], selector)
        }
        state.general.rsp = pointer
        state.general.rip = offset
    }
}
