// Task switches. Intel SDM vol. 3, 7.3 with table 7-1 (the checks, in their order), 7.4 with table 7-2 (busy, NT, back link).

import KVMABI

enum TaskCause { case jump, call, iret, event }

extension Model {
    /// Switches to the task of a TSS's selector; the old task is to go on at `next`.
    mutating func switchTask(
        _ selector: UInt16, _ cause: TaskCause, next: UInt64, code: UInt32? = nil, _ ext: UInt32 = 0
    ) throws(Fault) {
        let bad: Fault = cause == .iret ? .ts(selector, ext) : .gp(selector, ext)
        guard !isNull(selector), selector & 4 == 0 else { throw bad }
        let entry = try entry(selector, else: bad)
        let wanted: Set<UInt8> = cause == .iret ? [3, 11] : [1, 9]
        guard entry.isSystem, wanted.contains(entry.type) else { throw bad }
        guard entry.isPresent else { throw .np(selector, ext) }
        var new = kvm_segment(selector, entry.value | 1 << 41)
        let isWide = entry.type & 8 != 0
        guard new.limit >= (isWide ? 0x67 : 0x2B) else { throw .ts(selector, ext) }
        new.selector = selector

        let old = state.special.tr
        saveTask(old, next: next, flags: state.general.rflags & (cause == .iret ? ~0x4000 : ~0))
        if cause == .call || cause == .event { write(new.base, old.selector) }
        if cause == .jump || cause == .iret, let place = entryAddress(old.selector) {
            write(place + 5, read(place + 5, as: UInt8.self) & ~2)
        }
        if cause != .iret { write(entry.address + 5, UInt8(entry.value >> 40 & 0xFF) | 2) }
        // The commit point: what goes wrong now is the new task's.
        commitWrites()
        state.special.tr = new
        state.special.cr0 |= 8
        state.debug.dr7 &= ~0x55
        let isNested = cause == .call || cause == .event
        loadRegisters(new.base, isWide: isWide, nested: isNested)
        do throws(Fault) {
            try loadSegments(new.base, isWide: isWide, ext)
            if let code {
                var stack = stack
                stack.code = ext
                try push(UInt64(code), isWide ? 4 : 2, on: &stack)
                commit(stack)
            }
            guard state.general.rip <= UInt64(state.special.cs.limit) else { throw Fault(vector: 13, code: ext) }
            // T: a trap before the new task's first instruction. Vol. 3, 17.3.1.5.
            if isWide, read(new.base + 0x64, as: UInt8.self) & 1 != 0 {
                state.debug.dr6 = state.debug.dr6 & ~0xF | 1 << 15
                state.debug.dr7 &= ~(1 << 13)
                throw Fault(vector: 1, code: nil)
            }
        } catch {
            raise(error)
        }
    }

    private mutating func saveTask(_ task: kvm_segment, next: UInt64, flags: UInt64) {
        let general = state.general
        let registers = [
            general.rax, general.rcx, general.rdx, general.rbx, general.rsp, general.rbp, general.rsi, general.rdi,
        ]
        let segments = [\kvm_sregs.es, \.cs, \.ss, \.ds, \.fs, \.gs].map { state.special[keyPath: $0].selector }
        if task.type & 8 != 0 {
            write(task.base + 0x20, UInt32(truncatingIfNeeded: next))
            write(task.base + 0x24, UInt32(truncatingIfNeeded: flags))
            for (place, value) in registers.enumerated() {
                write(task.base + 0x28 + UInt64(place) * 4, UInt32(truncatingIfNeeded: value))
            }
            for (place, value) in segments.enumerated() { write(task.base + 0x48 + UInt64(place) * 4, value) }
        } else {
            write(task.base + 0x0E, UInt16(truncatingIfNeeded: next))
            write(task.base + 0x10, UInt16(truncatingIfNeeded: flags))
            for (place, value) in registers.enumerated() {
                write(task.base + 0x12 + UInt64(place) * 2, UInt16(truncatingIfNeeded: value))
            }
            for (place, value) in segments.prefix(4).enumerated() { write(task.base + 0x22 + UInt64(place) * 2, value) }
        }
    }

    private mutating func loadRegisters(_ base: UInt64, isWide: Bool, nested: Bool) {
        func value(_ wide: UInt64, _ narrow: UInt64) -> UInt64 {
            isWide ? UInt64(read(base + wide, as: UInt32.self)) : UInt64(read(base + narrow, as: UInt16.self))
        }
        if isWide, state.special.cr0 & 1 << 31 != 0 { state.special.cr3 = UInt64(read(base + 0x1C, as: UInt32.self)) }
        state.general.rip = value(0x20, 0x0E)
        let flags = value(0x24, 0x10)
        state.general.rflags = flags & 0x3F_7FD5 | 2 | (nested ? 0x4000 : 0)
        let paths: [WritableKeyPath<kvm_regs, UInt64>] = [\.rax, \.rcx, \.rdx, \.rbx, \.rsp, \.rbp, \.rsi, \.rdi]
        for (place, path) in paths.enumerated() {
            // The upper halves after a 16-bit task's are undefined; they are left ones.
            let upper: UInt64 = isWide ? 0 : 0xFFFF_0000
            state.general[keyPath: path] = value(0x28 + UInt64(place) * 4, 0x12 + UInt64(place) * 2) | upper
        }
    }

    private mutating func loadSegments(_ base: UInt64, isWide: Bool, _ ext: UInt32) throws(Fault) {
        func selector(_ place: UInt64) -> UInt16 {
            if !isWide, place > 3 { return 0 }
            return read(base + (isWide ? 0x48 + place * 4 : 0x22 + place * 2))
        }
        let paths: [WritableKeyPath<kvm_sregs, kvm_segment>] = [\.es, \.cs, \.ss, \.ds, \.fs, \.gs]
        for (place, path) in paths.enumerated() { state.special[keyPath: path] = .null(selector(UInt64(place))) }
        let local: UInt16 = read(base + (isWide ? 0x60 : 0x2A))
        state.special.ldt = .null(local)
        if isV86 {
            for (place, path) in paths.enumerated() {
                state.special[keyPath: path] = realSegment(.null(0), selector(UInt64(place)))
            }
            return try loadLDT(local, ext)
        }
        let code = selector(1), level = rpl(code)
        state.special.ss.dpl = level
        try loadLDT(local, ext)
        guard !isNull(code) else { throw .ts(code, ext) }
        let entry = try entry(code, else: .ts(code, ext))
        guard entry.isCode, entry.isConforming ? entry.dpl <= level : entry.dpl == level else { throw .ts(code, ext) }
        guard entry.isPresent else { throw .np(code, ext) }
        state.special.cs = loaded(code, entry)
        state.special.ss = try stackSegment(selector(2), level: level, null: false, { .ts($0, ext) }, ext: ext)
        for place in [0, 3, 4, 5] {
            do throws(Fault) {
                state.special[keyPath: paths[place]] = try dataSegment(selector(UInt64(place))) { .ts($0, ext) }
            } catch {
                throw error.vector == 11 ? .np(selector(UInt64(place)), ext) : error
            }
        }
    }

    private mutating func loadLDT(_ selector: UInt16, _ ext: UInt32) throws(Fault) {
        if isNull(selector) { return }
        guard selector & 4 == 0 else { throw .ts(selector, ext) }
        let entry = try entry(selector, else: .ts(selector, ext))
        guard entry.isSystem, entry.type == 2, entry.isPresent else { throw .ts(selector, ext) }
        state.special.ldt = kvm_segment(selector, entry.value)
    }
}
