import X86

/// Writes of control and debug registers with their checks and effects. Intel SDM vol. 2, MOV (control registers), MOV
/// (debug registers), LMSW, XSETBV; vol. 3, 2.5, 4.1 (paging modes), 4.10.4 (what is invalidated), 9.8.5 (long mode).
extension CPU {
    // MARK: CR0

    func writeCR0(_ value: UInt64) throws(Stop) {
        guard value >> 32 == 0 else { throw .generalProtection }
        let old = state.cr0
        let new = value & CR0.defined.rawValue | CR0.ET.rawValue
        let bits = CR0(rawValue: new)
        if bits.contains(.PG), !bits.contains(.PE) { throw .generalProtection }
        if bits.contains(.NW), !bits.contains(.CD) { throw .generalProtection }
        let changed = CR0(rawValue: old ^ new)
        if changed.contains(.PG) {
            if bits.contains(.PG) {
                if state.efer & EFER.LME.rawValue != 0 {
                    let code = self[segment: .cs].attributes
                    // A 16-bit TSS can't serve long mode.
                    let task = self[segment: .tr].attributes
                    guard state.cr4 & CR4.PAE.rawValue != 0, code & SegmentRegister.long == 0, task & 0x1D != 0x01
                    else { throw .generalProtection }
                    state.efer |= EFER.LMA.rawValue
                } else if state.cr4 & CR4.PAE.rawValue != 0 {
                    try loadPDPTEs(state.cr3)
                }
            } else {
                guard !is64Bit, state.cr4 & CR4.PCIDE.rawValue == 0 else { throw .generalProtection }
                state.efer &= ~EFER.LMA.rawValue
            }
        } else if bits.contains(.PG), !isLongMode, state.cr4 & CR4.PAE.rawValue != 0,
            !changed.isDisjoint(with: [.CD, .NW])
        {
            try loadPDPTEs(state.cr3)
        }
        state.cr0 = new
        if !changed.isDisjoint(with: [.PG, .WP, .PE]) { processor.tlb.flushAll(self) }
        updateMode()
    }

    /// LMSW: the low four bits; PE can't be cleared.
    func loadMachineStatus(_ value: UInt16) throws(Stop) {
        try writeCR0(state.cr0 & ~0xE | UInt64(value & 0xF))
    }

    // MARK: CR3

    /// Loads the page-directory-pointer table of PAE paging. #GP(0) for reserved bits. Intel SDM vol. 3, 4.4.1.
    func loadPDPTEs(_ cr3: UInt64) throws(Stop) {
        let table = cr3 & 0xFFFF_FFE0
        var entries = InlineArray<4, UInt64>(repeating: 0)
        for index in 0..<4 {
            let entry = processor.loadPhysical(table + UInt64(index) * 8)
            let reserved = PageTableEntry.reservedPDPTE | processor.reservedAddressBits | 0xFFF0_0000_0000_0000
            if entry & 1 != 0, entry & reserved != 0 { throw .generalProtection }
            entries[index] = entry
        }
        state.pdptes = entries
    }

    func writeCR3(_ value: UInt64) throws(Stop) {
        let usesPCID = state.cr4 & CR4.PCIDE.rawValue != 0
        var value = is64Bit ? value : value & 0xFFFF_FFFF
        let keeping = usesPCID && value & CR3.noFlush != 0
        if usesPCID { value &= ~CR3.noFlush }
        if isLongMode {
            guard value & (0xFFF0_0000_0000_0000 | processor.reservedAddressBits) == 0 else { throw .generalProtection }
        } else if isPaging, state.cr4 & CR4.PAE.rawValue != 0 {
            try loadPDPTEs(value)
        }
        state.cr3 = value
        processor.tlb.loadSpace(self, pcid: usesPCID ? UInt16(value & CR3.pcidMask) : 0, keeping: keeping)
    }

    // MARK: CR4

    /// Bits of CR4 that the guest's CPUID allows.
    private var supportedCR4: CR4 {
        var bits: CR4 = [.VME, .PVI, .TSD, .DE, .PSE, .PAE, .MCE, .PGE, .PCE, .OSFXSR, .OSXMMEXCPT]
        let basic = processor.host.cpuid(leaf: 1, subleaf: 0)
        let extended = processor.host.cpuid(leaf: 7, subleaf: 0)
        if basic.ecx & 1 << 17 != 0 { bits.insert(.PCIDE) }
        if basic.ecx & 1 << 26 != 0 { bits.insert(.OSXSAVE) }
        if extended.ebx & 1 << 0 != 0 { bits.insert(.FSGSBASE) }
        if extended.ebx & 1 << 7 != 0 { bits.insert(.SMEP) }
        if extended.ebx & 1 << 20 != 0 { bits.insert(.SMAP) }
        if extended.ecx & 1 << 2 != 0 { bits.insert(.UMIP) }
        if extended.ecx & 1 << 3 != 0 { bits.insert(.PKE) }
        return bits
    }

    func writeCR4(_ value: UInt64) throws(Stop) {
        let new = CR4(rawValue: value)
        let old = CR4(rawValue: state.cr4)
        guard new.isSubset(of: supportedCR4) else { throw .generalProtection }
        let changed = new.symmetricDifference(old)
        if isLongMode { guard new.contains(.PAE) else { throw .generalProtection } }
        if changed.contains(.PCIDE), new.contains(.PCIDE) {
            guard isLongMode, state.cr3 & CR3.pcidMask == 0 else { throw .generalProtection }
        }
        if isPaging, !isLongMode, new.contains(.PAE), !changed.isDisjoint(with: [.PAE, .PGE, .PSE, .SMEP]) {
            try loadPDPTEs(state.cr3)
        }
        state.cr4 = value
        if !changed.isDisjoint(with: [.PSE, .PAE, .PGE, .PCIDE, .SMEP, .SMAP, .PKE]) { processor.tlb.flushAll(self) }
        updateMode()
    }

    // MARK: Debug registers

    /// DR4 and DR5 stand for DR6 and DR7 unless CR4.DE makes them #UD; DR7.GD makes every access #DB.
    func debugRegister(_ number: UInt8) throws(Stop) -> UInt8 {
        try requirePrivilege()
        if number == 4 || number == 5, state.cr4 & CR4.DE.rawValue != 0 { throw .invalidOpcode }
        if let stop = processor.generalDetect() { throw stop }
        return number == 4 ? 6 : number == 5 ? 7 : number
    }

    func readDR(_ number: UInt8) -> UInt64 {
        switch number {
        case 6: state.dr6
        case 7: state.dr7
        default: state.dr[Int(number & 3)]
        }
    }

    func writeDR(_ number: UInt8, _ value: UInt64) throws(Stop) {
        switch number {
        case 6:
            guard value >> 32 == 0 else { throw .generalProtection }
            state.dr6 = value & DR6.writable.rawValue | DR6.fixed.rawValue
        case 7:
            guard value >> 32 == 0 else { throw .generalProtection }
            state.dr7 = value & DR7.writable.rawValue | DR7.fixed.rawValue
        default:
            state.dr[Int(number & 3)] = value
        }
        updateMode()
    }

    // MARK: XCR0

    func writeXCR(_ index: UInt32, _ value: UInt64) throws(Stop) {
        let supported = processor.host.cpuid(leaf: 0xD, subleaf: 0)
        let allowed = UInt64(supported.edx) << 32 | UInt64(supported.eax)
        guard index == 0, value & 1 != 0, value & ~allowed == 0, value & 6 != 4 else { throw .generalProtection }
        state.xcr0 = value
        updateMode()
    }
}

extension VirtualProcessor {
    /// The owner has written CR0, CR3, CR4 or EFER: the PDPTEs of PAE paging follow from memory. Those that the host's memory
    /// has lost are not present.
    func reloadPDPTEs() {
        guard cpu.isPaging, !cpu.isLongMode, cpu.state.cr4 & CR4.PAE.rawValue != 0 else { return }
        cpu.state.pdptes = InlineArray(repeating: 0)
        _ = unsafe HostFault.guarding(faultContext, { CPU($0).processor.loadPDPTEs() }, cpu.address)
    }

    private func loadPDPTEs() {
        for index in 0..<4 { cpu.state.pdptes[index] = loadPhysical(cpu.state.cr3 & 0xFFFF_FFE0 + UInt64(index) * 8) }
    }
}
