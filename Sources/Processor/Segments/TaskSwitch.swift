import X86

/// Hardware task switches. Intel SDM vol. 3, chapter 7 (7.2 the TSS, 7.3 the order of steps, 7.4 linking).
extension CPU {
    enum TaskSwitchCause {
        case jump, call, iret
        /// Through a task gate of the IDT.
        case event
    }

    /// Where a 16- or 32-bit TSS keeps things.
    private struct TaskLayout {
        let isWide: Bool
        var minimumLimit: UInt32 { isWide ? 0x67 : 0x2B }
        var ip: UInt64 { isWide ? 0x20 : 0x0E }
        var flags: UInt64 { isWide ? 0x24 : 0x10 }
        var registers: UInt64 { isWide ? 0x28 : 0x12 }
        /// ES, CS, SS, DS (and FS, GS).
        var segments: UInt64 { isWide ? 0x48 : 0x22 }
        var ldt: UInt64 { isWide ? 0x60 : 0x2A }
        var step: UInt64 { isWide ? 4 : 2 }
        var segmentCount: Int { isWide ? 6 : 4 }
    }

    func switchTask(
        throughGate gate: GateDescriptor, _ cause: TaskSwitchCause, next: UInt64, external: UInt32 = 0,
        errorCode: UInt32? = nil
    )
        throws(Stop)
    {
        try switchTask(to: gate.selector.rawValue, cause, next: next, external: external, errorCode: errorCode)
    }

    /// IRET with NT set.
    func returnToLinkedTask(next: UInt64) throws(Stop) {
        let link: UInt16 = try readTable(self[segment: .tr].base)
        try switchTask(to: link, .iret, next: next)
    }

    /// Saves the running task with its RIP at `next` and goes on in that of `selector`.
    func switchTask(
        to selector: UInt16, _ cause: TaskSwitchCause, next: UInt64, external: UInt32 = 0, errorCode: UInt32? = nil
    ) throws(Stop) {
        let exception = cause == .iret ? Exception.invalidTSS : .generalProtection
        guard !Selector(selector).isNull, !Selector(selector).isLocal else {
            throw .fault(exception, selector, external)
        }
        var new = try descriptor(selector, exception, external)
        let type = new.descriptor.systemType
        let wanted: [SystemDescriptorType] =
            cause == .iret ? [.tss16Busy, .tss32Busy] : [.tss16Available, .tss32Available]
        guard let type, wanted.contains(type) else { throw .fault(exception, selector, external) }
        guard new.descriptor.present else { throw .fault(.segmentNotPresent, selector, external) }
        let layout = TaskLayout(isWide: type == .tss32Available || type == .tss32Busy)
        guard new.descriptor.limit >= layout.minimumLimit else { throw .fault(.invalidTSS, selector, external) }

        let old = self[segment: .tr]
        let image = try TaskImage(self, base: new.descriptor.base, layout: layout)
        var oldFlags = rflags
        if cause == .iret { oldFlags &= ~RFLAGS.NT.rawValue }
        try save(to: old, next: next, flags: oldFlags)
        if cause == .call || cause == .event { try writeSystem(new.descriptor.base, old.selector) }
        if cause == .jump || cause == .iret, let address = descriptorAddress(old.selector) {
            try setBusy(false, at: address)
        }
        if cause != .iret {
            try setBusy(true, at: new.address)
            new.descriptor.rawValue |= SegmentDescriptor.busyBit
        }

        // From here on whatever goes wrong is the new task's.
        self[segment: .tr] = SegmentRegister(selector: selector, new.descriptor)
        state.cr0 |= CR0.TS.rawValue
        state.dr7 &= ~DR7.localEnables.rawValue
        if cause == .iret { state.nmiBlocked = false }
        processor.underWay.isInNewTask = true
        defer { processor.underWay.isInNewTask = false }
        do throws(Stop) {
            try load(image, nested: cause == .call || cause == .event, external)
            if let errorCode {
                var stack = StackFrame(self)
                stack.errorCode = external
                try stack.push(UInt64(errorCode), size: layout.isWide ? 4 : 2)
                stack.commit()
            }
            guard state.rip <= UInt64(self[segment: .cs].limit) else { throw .fault(.generalProtection, 0, external) }
            if image.trap { processor.raise(debug: DR6.BT.rawValue) }
        } catch {
            updateMode()
            processor.raise(error)
        }
    }

    /// The registers that a TSS holds, read before anything changes.
    private struct TaskImage {
        var cr3: UInt64?
        var rip: UInt64
        var flags: UInt64
        var registers = InlineArray<8, UInt64>(repeating: 0)
        var segments = InlineArray<6, UInt16>(repeating: 0)
        var ldt: UInt16
        var trap = false
        let isWide: Bool

        init(_ cpu: CPU, base: UInt64, layout: TaskLayout) throws(Stop) {
            func value(_ offset: UInt64) throws(Stop) -> UInt64 {
                layout.isWide
                    ? UInt64(try cpu.readTable(base &+ offset, as: UInt32.self))
                    : UInt64(try cpu.readTable(base &+ offset, as: UInt16.self))
            }
            isWide = layout.isWide
            rip = try value(layout.ip)
            flags = try value(layout.flags)
            for index in 0..<8 { registers[index] = try value(layout.registers + UInt64(index) * layout.step) }
            for index in 0..<layout.segmentCount {
                segments[index] = try cpu.readTable(base &+ layout.segments &+ UInt64(index) * layout.step)
            }
            ldt = try cpu.readTable(base &+ layout.ldt)
            if layout.isWide {
                cr3 = UInt64(try cpu.readTable(base &+ 0x1C, as: UInt32.self))
                trap = try cpu.readTable(base &+ 0x64, as: UInt16.self) & 1 != 0
            }
        }
    }

    private func save(to tr: SegmentRegister, next: UInt64, flags: UInt64) throws(Stop) {
        let layout = TaskLayout(isWide: tr.attributes & 8 != 0)
        // Both ends first, so that a page fault finds nothing saved.
        let _: UInt8 = try readTable(tr.base)
        let _: UInt8 = try readTable(tr.base &+ UInt64(layout.minimumLimit))
        func put(_ offset: UInt64, _ value: UInt64) throws(Stop) {
            if layout.isWide {
                try writeSystem(tr.base &+ offset, UInt32(truncatingIfNeeded: value))
            } else {
                try writeSystem(tr.base &+ offset, UInt16(truncatingIfNeeded: value))
            }
        }
        try put(layout.ip, next)
        try put(layout.flags, flags)
        for index in 0..<8 { try put(layout.registers + UInt64(index) * layout.step, self[UInt8(index)]) }
        for index in 0..<layout.segmentCount {
            let selector = state.segments[index].selector
            try writeSystem(tr.base &+ layout.segments &+ UInt64(index) * layout.step, selector)
        }
    }

    /// `external` is the EXT bit of what goes wrong: the event's that brought the task.
    private func load(_ image: TaskImage, nested: Bool, _ external: UInt32) throws(Stop) {
        if let cr3 = image.cr3, isPaging, cr3 != state.cr3 {
            state.cr3 = cr3
            if state.cr4 & CR4.PAE.rawValue != 0 { try loadPDPTEs(cr3) }
            processor.tlb.loadSpace(self, pcid: 0, keeping: false)
        }
        for index in 0..<8 {
            let offset = CPUState.offset(ofRegister: UInt8(index))
            if image.isWide {
                setRegister(offset, UInt32(truncatingIfNeeded: image.registers[index]))
            } else {
                setRegister(offset, UInt32(truncatingIfNeeded: image.registers[index] | 0xFFFF_0000))
            }
        }
        state.rip = image.rip
        var flags = image.flags & RFLAGS.defined.rawValue
        if !image.isWide { flags = flags & 0xFFFF }
        if nested { flags |= RFLAGS.NT.rawValue }
        rflags = flags
        // Selectors without descriptors yet: each is null until its turn.
        let names: [SegmentName] = [.es, .cs, .ss, .ds, .fs, .gs]
        for (index, name) in names.enumerated() { self[segment: name] = .null(image.segments[index]) }
        self[segment: .ldtr] = .null(image.ldt)
        if flags & RFLAGS.VM.rawValue != 0 {
            for (index, name) in names.enumerated() {
                self[segment: name] = realModeSegment(name, image.segments[index])
            }
            state.cpl = 3
            try loadLDT(image.ldt, .invalidTSS, external)
            return updateMode()
        }
        let code = image.segments[1]
        state.cpl = Selector(code).rpl
        try loadLDT(image.ldt, .invalidTSS, external)
        self[segment: .cs] = try taskCodeSegment(code, external)
        let stack = try stackSegment(image.segments[2], cpl: state.cpl, .invalidTSS, external)
        try markAccessed(stack)
        self[segment: .ss] = stack.register
        for index in [0, 3, 4, 5] {
            self[segment: names[index]] = try dataSegment(image.segments[index], .invalidTSS, external)
        }
        updateMode()
    }

    private func taskCodeSegment(_ selector: UInt16, _ external: UInt32) throws(Stop) -> SegmentRegister {
        guard !Selector(selector).isNull else { throw .fault(.invalidTSS, selector, external) }
        let found = try descriptor(selector, .invalidTSS, external)
        let rpl = Selector(selector).rpl
        guard found.descriptor.isCode,
            found.descriptor.isConforming ? found.descriptor.dpl <= rpl : found.descriptor.dpl == rpl
        else {
            throw .fault(.invalidTSS, selector, external)
        }
        guard found.descriptor.present else { throw .fault(.segmentNotPresent, selector, external) }
        let load = SegmentLoad(found, selector: selector)
        try markAccessed(load)
        return load.register
    }
}
