import X86

/// Selectors, descriptors and the loading of segment registers.
///
/// Intel SDM vol. 3, 3.4 (segments), 3.5 (system descriptors), 5.5 to 5.8 (privilege checks); vol. 2, MOV, LLDT, LTR.

extension Stop {
    /// A fault whose error code names a selector; `external` is the EXT bit.
    static func fault(_ exception: Exception, _ selector: UInt16, _ external: UInt32 = 0) -> Stop {
        fault(exception.vector, code: UInt32(selector & 0xFFFC) | external)
    }
}

extension SegmentRegister {
    /// What a register holds after loading `descriptor`.
    init(selector: UInt16, _ descriptor: SegmentDescriptor) {
        self.init(base: descriptor.base, limit: descriptor.limit, selector: selector, attributes: descriptor.attributes)
    }

    /// A null selector.
    static func null(_ selector: UInt16 = 0) -> SegmentRegister {
        SegmentRegister(limit: 0, selector: selector, attributes: unusable)
    }
}

/// What a segment register is to hold, and the accessed bit that its descriptor still lacks. It is set last: a transfer that
/// fails has loaded nothing. Intel SDM vol. 3, 3.4.5.1.
struct SegmentLoad {
    var register: SegmentRegister
    /// Where the byte with the type lies; nil if the bit is set already, or there is no descriptor.
    var unmarked: UInt64?

    init(_ register: SegmentRegister) { self.register = register }

    init(_ located: LocatedDescriptor, selector: UInt16) {
        register = SegmentRegister(selector: selector, located.descriptor)
        if !located.descriptor.isAccessed {
            unmarked = located.address &+ 5
            register.attributes |= 1
        }
    }
}

/// A descriptor with the linear address that it was read from.
struct LocatedDescriptor {
    var descriptor: SegmentDescriptor
    var address: UInt64

    var gate: GateDescriptor { GateDescriptor(rawValue: descriptor.rawValue, upper: descriptor.upper) }
}

extension CPU {
    // MARK: Reading

    /// Where the descriptor of `selector` lies, if `size` bytes of it are within the limit of its table.
    func descriptorAddress(_ selector: UInt16, size: UInt64 = 8) -> UInt64? {
        let selector = Selector(selector)
        let last = UInt64(selector.offset) + size - 1
        if selector.isLocal {
            let table = self[segment: .ldtr]
            guard table.isUsable, last <= UInt64(table.limit) else { return nil }
            return table.base &+ UInt64(selector.offset)
        }
        guard last <= UInt64(state.gdtr.limit) else { return nil }
        return state.gdtr.base &+ UInt64(selector.offset)
    }

    /// The 8 bytes of a selector's descriptor; outside of its table: `exception` with the selector.
    func descriptor(_ selector: UInt16, _ exception: Exception = .generalProtection, _ external: UInt32 = 0)
        throws(Stop) -> LocatedDescriptor
    {
        guard let address = descriptorAddress(selector) else { throw .fault(exception, selector, external) }
        return LocatedDescriptor(descriptor: SegmentDescriptor(rawValue: try readTable(address)), address: address)
    }

    /// A system descriptor, with its upper half in long mode.
    func systemDescriptor(_ selector: UInt16, _ exception: Exception = .generalProtection, _ external: UInt32 = 0)
        throws(Stop) -> LocatedDescriptor
    {
        guard let address = descriptorAddress(selector, size: isLongMode ? 16 : 8) else {
            throw .fault(exception, selector, external)
        }
        var descriptor = SegmentDescriptor(rawValue: try readTable(address))
        if isLongMode {
            descriptor.upper = try readTable(address &+ 8)
            // The type field of the upper half is zero. Intel SDM vol. 3, 3.5 and 5.8.3.1.
            guard descriptor.upper & 0x1F00_0000_0000 == 0 else { throw .fault(exception, selector, external) }
        }
        return LocatedDescriptor(descriptor: descriptor, address: address)
    }

    /// Sets the accessed bit in the table.
    @inline(__always) func markAccessed(_ load: SegmentLoad) throws(Stop) {
        guard let place = load.unmarked else { return }
        try writeSystem(place, UInt8(truncatingIfNeeded: load.register.attributes))
    }

    /// Sets or clears the busy bit of a TSS descriptor in its table.
    func setBusy(_ busy: Bool, at address: UInt64) throws(Stop) {
        let type: UInt8 = try readTable(address &+ 5)
        try writeSystem(address &+ 5, busy ? type | 2 : type & ~2)
    }

    // MARK: Real-address and virtual-8086 mode

    /// What a register holds after `selector` was loaded in real-address or virtual-8086 mode.
    func realModeSegment(_ name: SegmentName, _ selector: UInt16) -> SegmentRegister {
        let base = UInt64(selector) << 4
        if isV86 { return SegmentRegister(base: base, limit: 0xFFFF, selector: selector, attributes: 0xF3) }
        let old = self[segment: name]
        // Limit and size stay as they were ("unreal mode").
        let limit = old.isUsable ? old.limit : 0xFFFF
        return SegmentRegister(
            base: base, limit: limit, selector: selector,
            attributes: (old.isUsable ? old.attributes & 0xF000 : 0) | 0x93)
    }

    // MARK: Data segments

    /// Loads DS, ES, FS, GS or SS in any mode; callers call `updateMode` after.
    func loadSegment(_ name: SegmentName, _ selector: UInt16) throws(Stop) {
        if isRealOrV86 {
            self[segment: name] = realModeSegment(name, selector)
        } else if name == .ss {
            let load = try stackSegment(selector, cpl: state.cpl, .generalProtection)
            try markAccessed(load)
            self[segment: .ss] = load.register
        } else {
            self[segment: name] = try dataSegment(selector)
        }
    }

    /// SS as MOV and POP load it, or a far return (`exception` is #TS in a task switch).
    func stackSegment(
        _ selector: UInt16, cpl: UInt8, _ exception: Exception, _ external: UInt32 = 0, toLong: Bool? = nil
    ) throws(Stop) -> SegmentLoad {
        let parsed = Selector(selector)
        if parsed.isNull {
            guard toLong ?? is64Bit, cpl < 3, parsed.rpl == cpl else { throw .fault(exception, 0, external) }
            let attributes = SegmentRegister.unusable | UInt16(cpl) << 5
            return SegmentLoad(SegmentRegister(limit: 0, selector: selector, attributes: attributes))
        }
        let found = try descriptor(selector, exception, external)
        guard parsed.rpl == cpl, found.descriptor.isWritable, found.descriptor.dpl == cpl else {
            throw .fault(exception, selector, external)
        }
        guard found.descriptor.present else { throw .fault(.stackFault, selector, external) }
        return SegmentLoad(found, selector: selector)
    }

    /// DS, ES, FS, GS of protected mode.
    func dataSegment(
        _ selector: UInt16, _ exception: Exception = .generalProtection, _ external: UInt32 = 0
    ) throws(Stop) -> SegmentRegister {
        let parsed = Selector(selector)
        if parsed.isNull { return .null(selector) }
        let found = try descriptor(selector, exception, external)
        guard found.descriptor.isReadable else { throw .fault(exception, selector, external) }
        if !found.descriptor.isConforming {
            guard found.descriptor.dpl >= max(parsed.rpl, state.cpl) else {
                throw .fault(exception, selector, external)
            }
        }
        guard found.descriptor.present else { throw .fault(.segmentNotPresent, selector, external) }
        let load = SegmentLoad(found, selector: selector)
        try markAccessed(load)
        return load.register
    }

    /// After a return to an outer level: registers that it may not use become null, and null selectors lose their RPL.
    /// Intel SDM vol. 2, RET and IRET.
    func dropInnerSegments() {
        for name in [SegmentName.es, .ds, .fs, .gs] {
            let register = self[segment: name]
            let isInner = register.isUsable && register.dpl < state.cpl && register.attributes & 0x1C != 0x1C
            guard isInner || Selector(register.selector).isNull else { continue }
            self[segment: name].selector = 0
            self[segment: name].attributes |= SegmentRegister.unusable
        }
    }

    // MARK: LDTR and TR

    /// LLDT.
    func loadLDT(_ selector: UInt16, _ exception: Exception = .generalProtection, _ external: UInt32 = 0) throws(Stop) {
        if Selector(selector).isNull {
            self[segment: .ldtr] = .null(selector)
            return
        }
        guard !Selector(selector).isLocal else { throw .fault(exception, selector, external) }
        let found = try systemDescriptor(selector, exception, external).descriptor
        guard found.systemType == .ldt else { throw .fault(exception, selector, external) }
        guard found.present else {
            throw .fault(exception == .invalidTSS ? .invalidTSS : .segmentNotPresent, selector, external)
        }
        try checkBase(found, selector)
        self[segment: .ldtr] = SegmentRegister(selector: selector, found)
    }

    /// LTR.
    func loadTaskRegister(_ selector: UInt16) throws(Stop) {
        guard !Selector(selector).isNull else { throw .generalProtection }
        guard !Selector(selector).isLocal else { throw .fault(.generalProtection, selector) }
        var found = try systemDescriptor(selector)
        guard
            found.descriptor.systemType == .tss32Available
                || (!isLongMode && found.descriptor.systemType == .tss16Available)
        else {
            throw .fault(.generalProtection, selector)
        }
        guard found.descriptor.present else { throw .fault(.segmentNotPresent, selector) }
        try checkBase(found.descriptor, selector)
        try setBusy(true, at: found.address)
        found.descriptor.rawValue |= SegmentDescriptor.busyBit
        self[segment: .tr] = SegmentRegister(selector: selector, found.descriptor)
    }

    /// A 64-bit base is canonical. AMD APM vol. 3, LLDT and LTR.
    private func checkBase(_ descriptor: SegmentDescriptor, _ selector: UInt16) throws(Stop) {
        guard !isLongMode || CPU.isCanonical(descriptor.base) else { throw .fault(.generalProtection, selector) }
    }

    // MARK: Asking about descriptors

    /// The descriptor that LAR, LSL, VERR or VERW may look at; nil clears ZF. Intel SDM vol. 2, LAR.
    func visibleDescriptor(_ selector: UInt16, systemTypes: Set<UInt8>) throws(Stop) -> SegmentDescriptor? {
        let parsed = Selector(selector)
        guard !parsed.isNull, let address = descriptorAddress(selector) else { return nil }
        var found = SegmentDescriptor(rawValue: try readTable(address))
        if found.isCodeOrData {
            if found.isConforming { return found }
        } else {
            guard systemTypes.contains(found.type) else { return nil }
            if isLongMode {
                guard let wide = descriptorAddress(selector, size: 16) else { return nil }
                found.upper = try readTable(wide &+ 8)
            }
        }
        return found.dpl >= max(parsed.rpl, state.cpl) ? found : nil
    }
}
