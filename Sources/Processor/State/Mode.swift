import X86

/// What follows from the control registers, CS, SS and the flags: how code is decoded, with which rights memory is
/// reached, whether instructions go one by one. Intel SDM vol. 3, 2.2 (modes), 3.4.5 (D/B and L), 4.6 (rights), 17.2.
extension CPU {
    /// CR0.PE.
    @inline(__always) var isProtected: Bool { state.cr0 & CR0.PE.rawValue != 0 }
    /// Virtual-8086 mode.
    @inline(__always) var isV86: Bool { state.systemFlags & RFLAGS.VM.rawValue != 0 }
    @inline(__always) var isRealOrV86: Bool { !isProtected || isV86 }
    /// 64-bit mode.
    @inline(__always) var is64Bit: Bool { state.codeMode.codeSize == 8 }
    /// EFLAGS.IOPL.
    @inline(__always) var iopl: UInt8 { UInt8(truncatingIfNeeded: state.systemFlags >> 12) & 3 }

    @inline(__always) func hasFlag(_ flag: RFLAGS) -> Bool { state.systemFlags & flag.rawValue != 0 }

    /// Derives everything from the architectural state; after each change of mode, privilege, CS, SS or debug registers.
    func updateMode() {
        // Once: each reference that is taken counts in the cost of a system call.
        let processor = processor
        let codeSize: UInt32
        let codeAttributes = self[segment: .cs].attributes
        var mode: UInt32 = state.withheld | (state.isAMD ? CodeMode.amd.rawValue : 0)
        if state.efer & EFER.LMA.rawValue != 0, codeAttributes & SegmentRegister.long != 0 {
            codeSize = 8
        } else {
            codeSize = codeAttributes & SegmentRegister.big != 0 ? 4 : 2
            if isRealOrV86 { mode |= CodeMode.realOrV86.rawValue }
            if self[segment: .ss].attributes & SegmentRegister.big != 0 { mode |= CodeMode.wideStack.rawValue }
            if codeSize == 4, self[segment: .ds].isFlatData, self[segment: .es].isFlatData,
                self[segment: .ss].isFlatData
            {
                mode |= CodeMode.flatData.rawValue
            }
        }
        if !FloatingPointCheck.arePassed(cr0: state.cr0, cr4: state.cr4, xcr0: state.xcr0) {
            mode |= CodeMode.checksFPU.rawValue
        }
        state.codeMode = CodeMode(rawValue: mode | codeSize)
        if state.codeLimit != self[segment: .cs].limit {
            // Blocks are checked against the limit when they are looked up the slow way.
            state.codeLimit = self[segment: .cs].limit
            dropLookups()
        }
        state.isStepping = state.dr7 & 0xFF != 0 || processor.debugging.needsStepping
        updateView()
        processor.releaseHeldRequests()
    }

    /// Chooses the table of translations for CPL, CR4.SMAP and EFLAGS.AC.
    func updateView() {
        let processor = processor
        let view: TLBView
        if state.isStepping || (state.cpl == 3 && hasFlag(.AC) && state.cr0 & CR0.AM.rawValue != 0) {
            view = .watched
        } else if state.cpl == 3 {
            view = .user
        } else {
            view = supervisorView
        }
        let entries = unsafe processor.tlb.entries(view)
        if view == .watched, unsafe state.tlb != entries || processor.watchedPrivilege != state.cpl {
            // One table serves every privilege there.
            processor.watchedPrivilege = state.cpl
            processor.tlb.flushEntries(self)
        }
        unsafe pointer.pointee.tlb = entries
        state.codeMode = state.codeMode.viewed(by: view)
    }

    var supervisorView: TLBView {
        state.cr4 & CR4.SMAP.rawValue != 0 && (processor.underWay.actsAsSupervisor || !hasFlag(.AC))
            ? .supervisorSMAP : .supervisor
    }

    /// Runs `body` with the rights of privilege level 0: stacks and tables that the processor reaches by itself.
    @inline(__always) func asSupervisor<T>(_ body: () throws(Stop) -> T) throws(Stop) -> T {
        guard state.cpl == 3 else { return try body() }
        let view = unsafe state.tlb
        processor.underWay.actsAsSupervisor = true
        state.cpl = 0
        unsafe pointer.pointee.tlb = processor.tlb.entries(supervisorView)
        defer {
            processor.underWay.actsAsSupervisor = false
            state.cpl = 3
            unsafe pointer.pointee.tlb = view
        }
        return try body()
    }

    /// Reads a descriptor table or a TSS, which the processor does as the supervisor whatever CPL is.
    @inline(__always) func readTable<W: OperandWidth>(_ linear: UInt64, as type: W.Type = W.self) throws(Stop) -> W {
        let acCounts = state.cr4 & CR4.SMAP.rawValue != 0 && hasFlag(.AC)
        // One that crosses a page may wrap at 4 GiB, which an operand of DS may not.
        let isWithinPage = Int(linear & 0xFFF) + W.bytes <= 4096
        if isWithinPage, state.cpl != 3, !state.isStepping, !acCounts { return try read(wrapped(linear), .ds) }
        return try readSystem(linear)
    }

    /// Runs `body`, which reaches a system data structure: EFLAGS.AC does not suspend SMAP for such accesses.
    /// Intel SDM vol. 3, 4.6.1.
    @inline(__always) func implicitly<T>(_ body: () throws(Stop) -> T) throws(Stop) -> T {
        processor.underWay.accessIsImplicit = true
        defer { processor.underWay.accessIsImplicit = false }
        return try body()
    }
}

extension SegmentRegister {
    /// Bit 8 of the attributes: nothing may be reached through the register.
    static let unusable: UInt16 = 1 << 8
    /// L.
    static let long: UInt16 = 1 << 13
    /// D/B.
    static let big: UInt16 = 1 << 14

    @inline(__always) var isUsable: Bool { attributes & (SegmentRegister.unusable | 0x80) == 0x80 }
    @inline(__always) var dpl: UInt8 { UInt8(truncatingIfNeeded: attributes >> 5) & 3 }

    /// Base 0, 4 GiB, writable, expanding up.
    @inline(__always) var isFlatData: Bool { base == 0 && limit == .max && attributes & 0x19E == 0x92 }
}

extension GuestDebugging {
    /// Instructions go one by one.
    var needsStepping: Bool { enabled && (singleStep || hardwareBreakpoints) }
    /// The client's debug registers count, and the guest's don't.
    var hasBreakpoints: Bool { enabled && hardwareBreakpoints }
    /// NMIs wait, and the host has interrupts wait.
    var blocksEvents: Bool { enabled && blocksInterrupts }
}

extension VirtualProcessor {
    /// The state after RESET. Intel SDM vol. 3, table 9-1. The x87 control word is the one that KVM gives a new vCPU (037FH).
    public func reset() {
        cpu.state.xsave = InlineArray(repeating: 0)
        cpu.state.xsave[0] = 0x37F
        cpu.state.xsave[3] = 0xFFFF_0000_1F80
        cpu.state.xsave[64] = 3
        cpu.state.xcr0 = 1
        cpu.state.star = 0
        cpu.state.lstar = 0
        cpu.state.cstar = 0
        cpu.state.sfmask = 0
        cpu.state.kernelGSBase = 0
        cpu.state.sysenterCS = 0
        cpu.state.sysenterESP = 0
        cpu.state.sysenterEIP = 0
        cpu.state.tscAux = 0
        cpu.state.pat = MSR.patReset
        cpu.state.xss = 0
        cpu.state.miscEnable = MSR.miscEnableFastStrings
        setInitialState(cacheBits: CR0.reset.rawValue, signature: 0x600)
    }

    /// The state after INIT: as after RESET, with FPU and vector state, most MSRs and CR0.CD and NW kept.
    public func initialize() {
        let kept = cpu.state.cr0 & (CR0.CD.rawValue | CR0.NW.rawValue)
        let signature = host.cpuid(leaf: 1, subleaf: 0).eax
        setInitialState(cacheBits: kept | CR0.ET.rawValue, signature: signature == 0 ? 0x600 : signature)
    }

    private func setInitialState(cacheBits: UInt64, signature: UInt32) {
        cpu.state.registers = InlineArray(repeating: 0)
        cpu.rdx = UInt64(signature)
        cpu.state.rip = 0xFFF0
        cpu.rflags = RFLAGS.fixed.rawValue
        for name in SegmentName.allCases { cpu[segment: name] = SegmentRegister(attributes: 0x93) }
        cpu[segment: .cs] = SegmentRegister(base: 0xFFFF_0000, selector: 0xF000, attributes: 0x9B)
        cpu[segment: .ldtr] = SegmentRegister(attributes: 0x82)
        cpu[segment: .tr] = SegmentRegister(attributes: 0x8B)
        cpu.state.gdtr = DescriptorTableRegister()
        cpu.state.idtr = DescriptorTableRegister()
        cpu.state.cr0 = cacheBits
        cpu.state.cr2 = 0
        cpu.state.cr3 = 0
        cpu.state.cr4 = 0
        cpu.state.efer = 0
        cpu.state.pdptes = InlineArray(repeating: 0)
        cpu.state.dr = InlineArray(repeating: 0)
        cpu.state.dr6 = DR6.fixed.rawValue
        cpu.state.dr7 = DR7.fixed.rawValue
        cpu.state.debugControl = 0
        cpu.state.cpl = 0
        cpu.state.interruptShadow = 0
        cpu.state.nmiBlocked = false
        cpu.state.pendingException = PendingException()
        unfinished.abandon()
        debugExit = nil
        breakpointHits = 0
        heldTraps = 0
        cpu.updateMode()
        flushTranslations()
    }
}
