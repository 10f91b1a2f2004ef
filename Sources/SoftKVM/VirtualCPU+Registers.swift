// General and special registers: struct kvm_regs, kvm_sregs, kvm_sregs2, kvm_sync_regs, and their checks.
// Documentation/virt/kvm/api.rst, sections 4.11 to 4.14, 4.130, 4.131; validity as in kvm_is_valid_sregs.

internal import KVMABI
internal import Processor
internal import X86

/// The layout of struct kvm_sregs.
enum SpecialRegisters {
    static let size = 312
    static let size2 = 320
    static let gdt = 192
    static let idt = 208
    static let cr0 = 224
    static let cr2 = 232
    static let cr3 = 240
    static let cr4 = 248
    static let cr8 = 256
    static let efer = 264
    static let apicBase = 272
    static let bitmap = 280
    static let flags2 = 280
    static let pdptrs2 = 288
    /// Segments in the structure's order, 24 bytes each.
    static let segments: [SegmentName] = [.cs, .ds, .es, .fs, .gs, .ss, .tr, .ldtr]
}

/// KVM_SYNC_X86_*.
enum SyncRegisters {
    static let registers: UInt64 = 1
    static let special: UInt64 = 2
    static let events: UInt64 = 4
    static let all: UInt64 = 7
}

extension VirtualCPU {
    var isIn64BitMode: Bool {
        processor.state.efer & EFER.LMA.rawValue != 0
            && processor.state.segments[Int(SegmentName.cs.rawValue)].attributes & 1 << 13 != 0
    }

    /// struct kvm_regs.
    var registers: kvm_regs {
        let state = processor.state
        var regs = kvm_regs()
        regs.rax = state.registers[0]
        regs.rcx = state.registers[1]
        regs.rdx = state.registers[2]
        regs.rbx = state.registers[3]
        regs.rsp = state.registers[4]
        regs.rbp = state.registers[5]
        regs.rsi = state.registers[6]
        regs.rdi = state.registers[7]
        regs.r8 = state.registers[8]
        regs.r9 = state.registers[9]
        regs.r10 = state.registers[10]
        regs.r11 = state.registers[11]
        regs.r12 = state.registers[12]
        regs.r13 = state.registers[13]
        regs.r14 = state.registers[14]
        regs.r15 = state.registers[15]
        regs.rip = state.rip
        regs.rflags = processor.rflags
        return regs
    }

    func setRegisters(_ regs: kvm_regs) {
        let values: [UInt64] = [
            regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9, regs.r10,
            regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
        ]
        for (number, value) in values.enumerated() { processor.state.registers[number] = value }
        processor.state.rip = regs.rip
        processor.rflags = regs.rflags & (RFLAGS.defined.rawValue) | 2
        // What was raised belongs to the registers as they were; what is being delivered comes all the same.
        if !processor.state.pendingException.isInjected { processor.state.pendingException = PendingException() }
        updatePrivilege()
        processor.stateChanged()
    }

    /// CPL is SS's DPL, 0 in real mode, 3 in virtual-8086 mode.
    private func updatePrivilege() {
        if processor.state.cr0 & CR0.PE.rawValue == 0 {
            processor.state.cpl = 0
        } else if processor.rflags & RFLAGS.VM.rawValue != 0 {
            processor.state.cpl = 3
        } else {
            processor.state.cpl =
                UInt8(truncatingIfNeeded: processor.state.segments[Int(SegmentName.ss.rawValue)].attributes >> 5) & 3
        }
    }

    // MARK: Special registers

    func specialRegisters(isSecond: Bool) -> Record {
        let state = processor.state
        var record = Record(count: isSecond ? SpecialRegisters.size2 : SpecialRegisters.size)
        for (index, name) in SpecialRegisters.segments.enumerated() {
            record.storeSegment(state.segments[Int(name.rawValue)], 24 * index)
        }
        record.store(state.gdtr.base, SpecialRegisters.gdt)
        record.store(state.gdtr.limit, SpecialRegisters.gdt + 8)
        record.store(state.idtr.base, SpecialRegisters.idt)
        record.store(state.idtr.limit, SpecialRegisters.idt + 8)
        record.store(state.cr0, SpecialRegisters.cr0)
        record.store(state.cr2, SpecialRegisters.cr2)
        record.store(state.cr3, SpecialRegisters.cr3)
        record.store(state.cr4, SpecialRegisters.cr4)
        record.store(UInt64(taskPriority), SpecialRegisters.cr8)
        record.store(state.efer, SpecialRegisters.efer)
        record.store(apicBase, SpecialRegisters.apicBase)
        if isSecond {
            if isPAEPaging(state.cr0, state.cr4, state.efer) {
                for index in 0..<4 { record.store(state.pdptes[index], SpecialRegisters.pdptrs2 + 8 * index) }
                record.store(UInt64(1), SpecialRegisters.flags2)
            }
        } else if let vector = queuedInterrupt {
            record.store(UInt64(1) << UInt64(vector & 63), SpecialRegisters.bitmap + 8 * Int(vector >> 6))
        }
        return record
    }

    private func isPAEPaging(_ cr0: UInt64, _ cr4: UInt64, _ efer: UInt64) -> Bool {
        cr0 & CR0.PG.rawValue != 0 && cr4 & CR4.PAE.rawValue != 0 && efer & EFER.LMA.rawValue == 0
    }

    func setSpecialRegisters(_ record: Record, isSecond: Bool) throws(Errno) {
        let cr0: UInt64 = record.load(SpecialRegisters.cr0)
        let cr3: UInt64 = record.load(SpecialRegisters.cr3)
        let cr4: UInt64 = record.load(SpecialRegisters.cr4)
        let efer: UInt64 = record.load(SpecialRegisters.efer)
        let cs = record.loadSegment(0)
        let flags: UInt64 = isSecond ? record.load(SpecialRegisters.flags2) : 0
        if isSecond {
            // KVM_SREGS2_FLAGS_PDPTRS_VALID, with PAE paging alone.
            guard flags & ~1 == 0 else { throw .invalidArgument }
            guard flags == 0 || isPAEPaging(cr0, cr4, efer) else { throw .invalidArgument }
        }
        if efer & EFER.LME.rawValue != 0, cr0 & CR0.PG.rawValue != 0 {
            guard cr4 & CR4.PAE.rawValue != 0, efer & EFER.LMA.rawValue != 0 else { throw .invalidArgument }
            guard cr3 & ~(1 << UInt64(guestPhysicalBits) - 1) == 0 else { throw .invalidArgument }
        } else {
            guard efer & EFER.LMA.rawValue == 0, cs.attributes & 1 << 13 == 0 else { throw .invalidArgument }
        }
        guard cr4 & ~allowedCR4 == 0, VirtualCPU.isValidCR0(cr0) else { throw .invalidArgument }
        guard setAPICBase(record.load(SpecialRegisters.apicBase), fromHost: true) else { throw .invalidArgument }

        for (index, name) in SpecialRegisters.segments.enumerated() {
            processor.state.segments[Int(name.rawValue)] = record.loadSegment(24 * index)
        }
        processor.state.gdtr = DescriptorTableRegister(
            base: record.load(SpecialRegisters.gdt), limit: record.load(SpecialRegisters.gdt + 8))
        processor.state.idtr = DescriptorTableRegister(
            base: record.load(SpecialRegisters.idt), limit: record.load(SpecialRegisters.idt + 8))
        processor.state.cr0 = cr0 | CR0.ET.rawValue
        processor.state.cr2 = record.load(SpecialRegisters.cr2)
        processor.state.cr3 = cr3
        processor.state.cr4 = cr4
        processor.state.efer = efer & allowedEFER
        setTaskPriority(UInt8(truncatingIfNeeded: record.load(SpecialRegisters.cr8, as: UInt64.self) & 15))
        if isPAEPaging(cr0, cr4, efer) {
            for index in 0..<4 {
                processor.state.pdptes[index] =
                    flags != 0
                    ? record.load(SpecialRegisters.pdptrs2 + 8 * index)
                    : machine.readPhysical((cr3 & ~31) + UInt64(8 * index)) ?? 0
            }
        }
        if !isSecond {
            // A bitmap without a bit takes back nothing.
            for word in 0..<4 {
                let bits: UInt64 = record.load(SpecialRegisters.bitmap + 8 * word)
                if bits != 0 {
                    queuedInterrupt = UInt8(64 * word + bits.trailingZeroBitCount)
                    break
                }
            }
        }
        updatePrivilege()
        processor.stateChanged()
        // Older clients reset a halted boot processor by its registers alone.
        if isBoot, processor.state.rip == 0xFFF0, cs.selector == 0xF000, cs.base == 0xFFFF_0000,
            cr0 & CR0.PE.rawValue == 0
        {
            mpState = .runnable
        }
    }

    /// From 36 to the architecture's 52, whatever the client's CPUID says.
    var guestPhysicalBits: UInt8 { min(max(cpuid.physicalAddressBits, 36), 52) }

    static func isValidCR0(_ cr0: UInt64) -> Bool {
        if cr0 >> 32 != 0 { return false }
        let bits = CR0(rawValue: cr0)
        if bits.contains(.NW) && !bits.contains(.CD) { return false }
        return !(bits.contains(.PG) && !bits.contains(.PE))
    }

    /// CR4's bits that the processor has; those of features only where the guest's CPUID shows them.
    var allowedCR4: UInt64 {
        var allowed: CR4 = [
            .VME, .PVI, .TSD, .DE, .PSE, .PAE, .MCE, .PGE, .PCE, .OSFXSR, .OSXMMEXCPT,
        ]
        // Before the client has said what the guest may have, it has what there is.
        if cpuid.entries.isEmpty {
            return allowed.union([.OSXSAVE, .PCIDE, .FSGSBASE, .SMEP, .SMAP, .UMIP]).rawValue
        }
        if cpuid.features1C & 1 << 26 != 0 { allowed.insert(.OSXSAVE) }
        if cpuid.features1C & 1 << 17 != 0 { allowed.insert(.PCIDE) }
        if cpuid.features7B & 1 << 0 != 0 { allowed.insert(.FSGSBASE) }
        if cpuid.features7B & 1 << 7 != 0 { allowed.insert(.SMEP) }
        if cpuid.features7B & 1 << 20 != 0 { allowed.insert(.SMAP) }
        if cpuid.features7C & 1 << 2 != 0 { allowed.insert(.UMIP) }
        return allowed.rawValue
    }

    var allowedEFER: UInt64 { (EFER([.SCE, .LME, .LMA, .NXE])).rawValue }

    // MARK: Synchronised registers in the run area

    func storeSyncRegisters(_ which: UInt64) {
        let run = area.run
        let base = RunArea.Offset.syncRegs
        if which & SyncRegisters.registers != 0 { run.store(registers, base) }
        if which & SyncRegisters.special != 0 { run.storeBytes(specialRegisters(isSecond: false).bytes, base + 144) }
        if which & SyncRegisters.events != 0 { run.storeBytes(events.bytes, base + 144 + SpecialRegisters.size) }
    }

    func loadSyncRegisters(_ which: UInt64) throws(Errno) {
        let run = area.run
        let base = RunArea.Offset.syncRegs
        if which & SyncRegisters.registers != 0 { setRegisters(run.load(base)) }
        if which & SyncRegisters.special != 0 {
            try setSpecialRegisters(Record(run.loadBytes(base + 144, SpecialRegisters.size)), isSecond: false)
        }
        if which & SyncRegisters.events != 0 {
            try setEvents(Record(run.loadBytes(base + 144 + SpecialRegisters.size, 64)))
        }
    }
}

extension RunArea {
    /// Copies, each byte once. Offsets are inside `struct kvm_run`.
    func storeBytes(_ bytes: [UInt8], _ offset: Int) {
        for (index, byte) in bytes.enumerated() { store(byte, offset + index) }
    }

    func loadBytes(_ offset: Int, _ count: Int) -> [UInt8] { (0..<count).map { load(offset + $0, as: UInt8.self) } }
}

extension Record {
    /// struct kvm_segment.
    mutating func storeSegment(_ segment: SegmentRegister, _ at: Int) {
        let attributes = segment.attributes
        func bit(_ number: UInt16) -> UInt8 { UInt8(attributes >> number & 1) }
        store(segment.base, at)
        store(segment.limit, at + 8)
        store(segment.selector, at + 12)
        store(UInt8(attributes & 15), at + 14)
        store(bit(7), at + 15)
        store(UInt8(attributes >> 5 & 3), at + 16)
        store(bit(14), at + 17)
        store(bit(4), at + 18)
        store(bit(13), at + 19)
        store(bit(15), at + 20)
        store(bit(12), at + 21)
        store(bit(8), at + 22)
    }

    func loadSegment(_ at: Int) -> SegmentRegister {
        func field(_ offset: Int, _ shift: UInt16, _ mask: UInt16 = 1) -> UInt16 {
            (UInt16(load(at + offset, as: UInt8.self)) & mask) << shift
        }
        let kind = field(14, 0, 15) | field(15, 7) | field(16, 5, 3) | field(17, 14) | field(18, 4)
        let more = field(19, 13) | field(20, 15) | field(21, 12) | (load(at + 22, as: UInt8.self) != 0 ? 1 << 8 : 0)
        return SegmentRegister(base: load(at), limit: load(at + 8), selector: load(at + 12), attributes: kind | more)
    }
}
