import X86

/// FXSAVE, FXRSTOR, the XSAVE family, LDMXCSR and STMXCSR. Intel SDM vol. 1, 10.5 and chapter 13; vol. 2, the instructions.
///
/// The state is kept as an XSAVE area in standard form, so these are copies with conditions. State components: bit 0 x87,
/// bit 1 SSE, bit 2 AVX. The header of the kept area says all three are there; instructions compute XINUSE from the values.
enum XSAVEOps {
    static let fxsave: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).fxsave(OpCursor(op)) }
    }
    static let fxrstor: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).fxrstor(OpCursor(op)) }
    }
    static let save: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).xsave(OpCursor(op)) }
    }
    static let restore: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).xrstor(OpCursor(op)) }
    }

    static let ldmxcsr: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in
            let value: UInt32 = try CPU(cpu).readOperand(OpCursor(op))
            guard value & ~mxcsrMask == 0 else { throw .generalProtection }
            CPU(cpu).mxcsr = value
        }
    }
    static let stmxcsr: Op.Handler = { cpu, op in
        CPU(cpu).instruction(OpCursor(op)) { () throws(Stop) in try CPU(cpu).writeOperand(OpCursor(op), CPU(cpu).mxcsr)
        }
    }

    /// MXCSR's bits that are not reserved.
    static let mxcsrMask: UInt32 = 0xFFFF

    /// In an op's `detail`.
    struct Form: OptionSet {
        let rawValue: UInt8
        /// REX.W: 64-bit FIP and FDP.
        static let wide = Form(rawValue: 1)
        /// XSAVEOPT, XSAVEC, XSAVES: components in their initial state are not written.
        static let skipsInitial = Form(rawValue: 2)
        /// XSAVEC, XSAVES, XRSTORS.
        static let compacted = Form(rawValue: 4)
        /// XSAVES, XRSTORS.
        static let supervisor = Form(rawValue: 8)
    }
}

extension CPU {
    private static let x87Bit: UInt64 = 1, sseBit: UInt64 = 2, avxBit: UInt64 = 4

    /// XMM and YMM registers that the mode can reach.
    private var vectorCount: Int { state.codeMode.codeSize == 8 ? 16 : 8 }

    // MARK: In what state components are

    /// XINUSE.
    var componentsInUse: UInt64 {
        var used: UInt64 = 0
        if state.xsave[0] != 0x37F || state.xsave[1] != 0 || state.xsave[2] != 0 || isUsed(4, 20) { used |= CPU.x87Bit }
        if isUsed(20, 52) { used |= CPU.sseBit }
        if isUsed(72, 104) { used |= CPU.avxBit }
        return used
    }

    private func isUsed(_ first: Int, _ end: Int) -> Bool {
        var index = first
        while index < end {
            if state.xsave[index] != 0 { return true }
            index += 1
        }
        return false
    }

    private func initialize(_ component: UInt64) {
        switch component {
        case CPU.x87Bit:
            initializeX87()
            for index in 4..<20 { state.xsave[index] = 0 }
        case CPU.sseBit: for index in 20..<20 + 2 * vectorCount { state.xsave[index] = 0 }
        default: for index in 72..<72 + 2 * vectorCount { state.xsave[index] = 0 }
        }
    }

    // MARK: Copies, in words of eight bytes

    private func save(_ words: Range<Int>, to linear: UInt64, _ segment: SegmentName) throws(Stop) {
        for index in words { try write(linear &+ UInt64(index * 8), segment, state.xsave[index]) }
    }

    private func saveX87(_ linear: UInt64, _ segment: SegmentName, wide: Bool) throws(Stop) {
        try write(linear, segment, state.xsave[0])
        let is64 = state.codeMode.codeSize == 8
        let mask: UInt64 = wide ? .max : is64 ? 0xFFFF_FFFF : 0xFFFF_FFFF_FFFF
        try write(linear &+ 8, segment, state.xsave[1] & mask)
        try write(linear &+ 16, segment, state.xsave[2] & mask)
        for index in 0..<8 {
            try write(linear &+ UInt64(32 + index * 16), segment, state.xsave[4 + index * 2])
            try write(linear &+ UInt64(40 + index * 16), segment, state.xsave[5 + index * 2] & 0xFFFF)
        }
    }

    private func saveMXCSR(_ linear: UInt64, _ segment: SegmentName) throws(Stop) {
        try write(linear &+ 24, segment, UInt64(mxcsr) | UInt64(XSAVEOps.mxcsrMask) << 32)
    }

    /// x87 state from an image's first 20 words.
    private func loadX87(_ image: InlineArray<104, UInt64>, wide: Bool) {
        state.xsave[0] = image[0] & 0x07FF_00FF_FFFF_FFFF
        let mask: UInt64 = wide ? .max : 0xFFFF_FFFF_FFFF
        state.xsave[1] = image[1] & mask
        state.xsave[2] = image[2] & mask
        for index in 0..<8 {
            state.xsave[4 + index * 2] = image[4 + index * 2]
            state.xsave[5 + index * 2] = image[5 + index * 2] & 0xFFFF
        }
        loadControlWord(x87ControlWord)
    }

    private func load(
        _ words: Range<Int>, _ linear: UInt64, _ segment: SegmentName, into image: inout InlineArray<104, UInt64>
    ) throws(Stop) {
        for index in words { image[index] = try read(linear &+ UInt64(index * 8), segment) }
    }

    private func checkAllWritable(_ linear: UInt64, _ size: Int, _ segment: SegmentName) throws(Stop) {
        if unsafe hostAddressForWrite(linear, size: size) == nil { try checkWritable(linear, size: size, segment) }
    }

    // MARK: FXSAVE, FXRSTOR

    fileprivate func fxsave(_ cursor: OpCursor) throws(Stop) {
        let linear = try linearAddress(cursor, size: 512, .write), segment = cursor.op.segment
        try checkImageAlignment(linear, segment)
        try checkAllWritable(linear, 512, segment)
        try saveX87(linear, segment, wide: XSAVEOps.Form(rawValue: cursor.op.detail).contains(.wide))
        try saveMXCSR(linear, segment)
        try save(20..<20 + 2 * vectorCount, to: linear, segment)
    }

    /// FXSAVE's and FXRSTOR's image: #GP, or with AMD's processors #AC where that is enabled.
    private func checkImageAlignment(_ linear: UInt64, _ segment: SegmentName) throws(Stop) {
        guard linear & 15 != 0 else { return }
        try checkCanonical(linear, size: 512, segment)
        if state.codeMode.contains(.amd) { try checkAlignment(linear, size: 4, segment) }
        throw .generalProtection
    }

    fileprivate func fxrstor(_ cursor: OpCursor) throws(Stop) {
        let linear = try linearAddress(cursor, size: 512, .read), segment = cursor.op.segment
        try checkImageAlignment(linear, segment)
        var image = InlineArray<104, UInt64>(repeating: 0)
        // The image is 512 bytes, though nothing is in its last ones.
        _ = try read(linear &+ 511, segment, as: UInt8.self)
        try load(0..<20 + 2 * vectorCount, linear, segment, into: &image)
        let control = UInt32(truncatingIfNeeded: image[3])
        guard control & ~XSAVEOps.mxcsrMask == 0 else { throw .generalProtection }
        loadX87(image, wide: XSAVEOps.Form(rawValue: cursor.op.detail).contains(.wide))
        mxcsr = control
        for index in 20..<20 + 2 * vectorCount { state.xsave[index] = image[index] }
    }

    // MARK: XSAVE, XSAVEOPT, XSAVEC, XSAVES

    private var requested: UInt64 { (rax & 0xFFFF_FFFF | rdx << 32) & state.xcr0 }

    fileprivate func xsave(_ cursor: OpCursor) throws(Stop) {
        let form = XSAVEOps.Form(rawValue: cursor.op.detail), segment = cursor.op.segment
        if form.contains(.supervisor), state.cpl != 0 { throw .generalProtection }
        let requested = requested
        let compacted = form.contains(.compacted)
        let size = requested & CPU.avxBit != 0 ? 832 : 576
        let linear = try linearAddress(cursor, size: size, .write)
        guard linear & 63 == 0 else { throw .generalProtection }
        try checkAllWritable(linear, size, segment)
        var used = componentsInUse
        if compacted, mxcsr != 0x1F80 { used |= CPU.sseBit }
        let written = form.contains(.skipsInitial) ? requested & used : requested
        let old: UInt64 = compacted ? 0 : try readForWrite(linear &+ 512, segment)
        if written & CPU.x87Bit != 0 { try saveX87(linear, segment, wide: form.contains(.wide)) }
        let control = compacted ? written & CPU.sseBit : requested & (CPU.sseBit | CPU.avxBit)
        if control != 0 { try saveMXCSR(linear, segment) }
        if written & CPU.sseBit != 0 { try save(20..<20 + 2 * vectorCount, to: linear, segment) }
        if written & CPU.avxBit != 0 { try save(72..<72 + 2 * vectorCount, to: linear, segment) }
        if compacted {
            try write(linear &+ 512, segment, requested & used)
            try write(linear &+ 520, segment, requested | 1 << 63)
        } else {
            try write(linear &+ 512, segment, old & ~requested | requested & used)
        }
    }

    // MARK: XRSTOR, XRSTORS

    fileprivate func xrstor(_ cursor: OpCursor) throws(Stop) {
        let form = XSAVEOps.Form(rawValue: cursor.op.detail), segment = cursor.op.segment
        if form.contains(.supervisor), state.cpl != 0 { throw .generalProtection }
        let requested = requested
        let linear = try linearAddress(cursor, size: 576, .read)
        guard linear & 63 == 0 else { throw .generalProtection }
        var image = InlineArray<104, UInt64>(repeating: 0)
        try load(64..<72, linear, segment, into: &image)
        let present = image[64], layout = image[65]
        let compacted = layout >> 63 != 0
        if compacted {
            let components = layout & ~(1 << 63)
            guard components & ~state.xcr0 == 0, present & ~components == 0 else { throw .generalProtection }
            for index in 66..<72 where image[index] != 0 { throw .generalProtection }
        } else {
            guard !form.contains(.supervisor), present & ~state.xcr0 == 0, layout == 0, image[66] == 0 else {
                throw .generalProtection
            }
        }
        // Everything is read, and MXCSR checked, before anything is changed.
        let loaded = requested & present
        if loaded & CPU.x87Bit != 0 { try load(0..<20, linear, segment, into: &image) }
        let controlled = compacted ? loaded & CPU.sseBit != 0 : requested & (CPU.sseBit | CPU.avxBit) != 0
        if controlled {
            image[3] = try read(linear &+ 24, segment)
            guard UInt32(truncatingIfNeeded: image[3]) & ~XSAVEOps.mxcsrMask == 0 else { throw .generalProtection }
        }
        let vectors = 2 * vectorCount
        if loaded & CPU.sseBit != 0 { try load(20..<20 + vectors, linear, segment, into: &image) }
        if loaded & CPU.avxBit != 0 { try load(72..<72 + vectors, linear, segment, into: &image) }

        if controlled {
            mxcsr = UInt32(truncatingIfNeeded: image[3])
        } else if compacted, requested & CPU.sseBit != 0 {
            mxcsr = 0x1F80
        }
        for component in [CPU.x87Bit, CPU.sseBit, CPU.avxBit] where requested & component != 0 {
            guard loaded & component != 0 else {
                initialize(component)
                continue
            }
            switch component {
            case CPU.x87Bit: loadX87(image, wide: form.contains(.wide))
            case CPU.sseBit: for index in 20..<20 + vectors { state.xsave[index] = image[index] }
            default: for index in 72..<72 + vectors { state.xsave[index] = image[index] }
            }
        }
    }
}

extension Lowering {
    /// FXSAVE and its kin.
    static let stateImage: Lowerer = { lowering in
        let row = lowering.instruction.opcodeRow
        var form: XSAVEOps.Form = lowering.instruction.rexW ? .wide : []
        switch row.mnemonic {
        case .fxsave: lowering.op.handler = XSAVEOps.fxsave
        case .fxrstor: lowering.op.handler = XSAVEOps.fxrstor
        case .ldmxcsr, .vldmxcsr: lowering.op.handler = XSAVEOps.ldmxcsr
        case .stmxcsr, .vstmxcsr: lowering.op.handler = XSAVEOps.stmxcsr
        case .xsave: lowering.op.handler = XSAVEOps.save
        case .xsaveopt:
            form.insert(.skipsInitial)
            lowering.op.handler = XSAVEOps.save
        case .xsavec:
            form.insert([.skipsInitial, .compacted])
            lowering.op.handler = XSAVEOps.save
        case .xsaves:
            form.insert([.skipsInitial, .compacted, .supervisor])
            lowering.op.handler = XSAVEOps.save
        case .xrstor: lowering.op.handler = XSAVEOps.restore
        case .xrstors:
            form.insert([.compacted, .supervisor])
            lowering.op.handler = XSAVEOps.restore
        default: return false
        }
        lowering.op.detail = form.rawValue
        switch row.mnemonic {
        case .fxsave, .fxrstor: return lowering.check(.x87)
        case .ldmxcsr, .stmxcsr: return lowering.check(.sse)
        case .vldmxcsr, .vstmxcsr: return lowering.check(.avx)
        default: return lowering.check(.xsave)
        }
    }
}
