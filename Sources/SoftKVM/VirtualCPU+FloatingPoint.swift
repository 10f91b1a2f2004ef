// x87, SSE and AVX state, XCR0 and debug registers: struct kvm_fpu, kvm_xsave, kvm_xcrs, kvm_debugregs.
// Documentation/virt/kvm/api.rst, sections 4.22, 4.23, 4.33, 4.34, 4.41 to 4.44; Intel SDM vol. 1, 10.5 and 13.4.

internal import KVMABI
internal import Processor
internal import X86

/// Offsets into the XSAVE area. Intel SDM vol. 1, 13.4.
private enum Area {
    static let fcw = 0
    static let mxcsr = 24
    static let registers = 32
    static let xmm = 160
    static let header = 512
    static let ymmHigh = 576
    static let size = 832
}

extension VirtualCPU {
    /// The processor's area, as bytes.
    private var area64: Record {
        var record = Record(count: Area.size)
        for word in 0..<(Area.size / 8) { record.store(processor.state.xsave[word], word * 8) }
        return record
    }

    private func setArea(_ record: Record) {
        for word in 0..<(Area.size / 8) { processor.state.xsave[word] = record.load(word * 8) }
        processor.stateChanged()
    }

    // MARK: struct kvm_fpu

    /// The kernel leaves `mxcsr` out, both ways: it goes by struct kvm_xsave.
    var floatingPoint: Record {
        let area = area64
        var fpu = Record(count: 416)
        for word in 0..<16 { fpu.store(area.load(Area.registers + 8 * word, as: UInt64.self), 8 * word) }
        fpu.store(area.load(0, as: UInt16.self), 128)
        fpu.store(area.load(2, as: UInt16.self), 130)
        fpu.store(area.load(4, as: UInt8.self), 132)
        fpu.store(area.load(6, as: UInt16.self), 134)
        fpu.store(area.load(8, as: UInt64.self), 136)
        fpu.store(area.load(16, as: UInt64.self), 144)
        for word in 0..<32 { fpu.store(area.load(Area.xmm + 8 * word, as: UInt64.self), 152 + 8 * word) }
        return fpu
    }

    func setFloatingPoint(_ fpu: Record) {
        var area = area64
        for word in 0..<16 { area.store(fpu.load(8 * word, as: UInt64.self), Area.registers + 8 * word) }
        area.store(fpu.load(128, as: UInt16.self), 0)
        area.store(fpu.load(130, as: UInt16.self), 2)
        area.store(fpu.load(132, as: UInt8.self), 4)
        area.store(fpu.load(134, as: UInt16.self), 6)
        area.store(fpu.load(136, as: UInt64.self), 8)
        area.store(fpu.load(144, as: UInt64.self), 16)
        for word in 0..<32 { area.store(fpu.load(152 + 8 * word, as: UInt64.self), Area.xmm + 8 * word) }
        setArea(area)
    }

    // MARK: struct kvm_xsave

    var extendedState: Record {
        let area = area64
        var record = Record(count: 4096)
        for word in 0..<(Area.header / 8) { record.store(area.load(8 * word, as: UInt64.self), 8 * word) }
        record.store(UInt32(MXCSR.defined.rawValue), Area.mxcsr + 4)
        var components: UInt64 = 3
        if SupportedCPUID.shared.xcr0 & 4 != 0 {
            for word in 0..<32 {
                let value: UInt64 = area.load(Area.ymmHigh + 8 * word)
                if value != 0 { components |= 4 }
                record.store(value, Area.ymmHigh + 8 * word)
            }
        }
        record.store(components, Area.header)
        return record
    }

    /// - Throws: EINVAL for components that there are not, a compacted area, or reserved bits of the header or MXCSR.
    func setExtendedState(_ record: Record) throws(Errno) {
        let components: UInt64 = record.load(Area.header)
        guard components & ~SupportedCPUID.shared.xcr0 == 0 else { throw .invalidArgument }
        for offset in stride(from: Area.header + 8, to: Area.ymmHigh, by: 8) {
            guard record.load(offset, as: UInt64.self) == 0 else { throw .invalidArgument }
        }
        let mxcsr: UInt32 = record.load(Area.mxcsr)
        if components & 6 != 0, mxcsr & ~MXCSR.defined.rawValue != 0 { throw .invalidArgument }
        var area = area64
        if components & 1 != 0 {
            for word in 0..<3 { area.store(record.load(8 * word, as: UInt64.self), 8 * word) }
            for word in 0..<16 {
                area.store(record.load(Area.registers + 8 * word, as: UInt64.self), Area.registers + 8 * word)
            }
        } else {
            for word in 0..<3 { area.store(UInt64(0), 8 * word) }
            for word in 0..<16 { area.store(UInt64(0), Area.registers + 8 * word) }
            area.store(UInt16(0x37F), Area.fcw)
        }
        area.store(components & 6 != 0 ? mxcsr : MXCSR.reset.rawValue, Area.mxcsr)
        for word in 0..<32 {
            area.store(components & 2 != 0 ? record.load(Area.xmm + 8 * word, as: UInt64.self) : 0, Area.xmm + 8 * word)
            area.store(
                components & 4 != 0 ? record.load(Area.ymmHigh + 8 * word, as: UInt64.self) : 0, Area.ymmHigh + 8 * word
            )
        }
        setArea(area)
    }

    // MARK: struct kvm_xcrs

    var extendedControl: Record {
        var record = Record(count: 392)
        record.store(UInt32(1), 0)
        record.store(processor.state.xcr0, 16)
        return record
    }

    func setExtendedControl(_ record: Record) throws(Errno) {
        let count: UInt32 = record.load(0)
        guard count <= 16, record.load(4, as: UInt32.self) == 0 else { throw .invalidArgument }
        for index in 0..<Int(count) where record.load(8 + 16 * index, as: UInt32.self) == 0 {
            let value: UInt64 = record.load(16 + 16 * index)
            // The guest's CPUID says which components it may have.
            let allowed = cpuid.xcr0 & SupportedCPUID.shared.xcr0 | 1
            guard value & 1 != 0, value & 6 != 4, value & ~allowed == 0 else { throw .invalidArgument }
            processor.state.xcr0 = value
            processor.stateChanged()
            break
        }
    }

    // MARK: struct kvm_debugregs

    var debugRegisters: Record {
        var record = Record(count: 128)
        for index in 0..<4 { record.store(processor.state.dr[index], 8 * index) }
        record.store(processor.state.dr6, 32)
        record.store(processor.state.dr7, 40)
        return record
    }

    func setDebugRegisters(_ record: Record) throws(Errno) {
        let dr6: UInt64 = record.load(32)
        let dr7: UInt64 = record.load(40)
        guard record.load(48, as: UInt64.self) == 0, dr6 >> 32 == 0, dr7 >> 32 == 0 else { throw .invalidArgument }
        for index in 0..<4 { processor.state.dr[index] = record.load(8 * index) }
        processor.state.dr6 = dr6 & DR6.writable.rawValue | DR6.fixed.rawValue
        processor.state.dr7 = dr7 & DR7.writable.rawValue | DR7.fixed.rawValue
        processor.stateChanged()
    }

    /// KVM_SET_GUEST_DEBUG: struct kvm_guest_debug { control, pad, debugreg[8] }.
    func setGuestDebug(_ record: Record) throws(Errno) {
        let control: UInt32 = record.load(0)
        // KVM_GUESTDBG_INJECT_DB, _INJECT_BP.
        if control & 0xC0000 != 0 {
            guard !processor.state.pendingException.isPending else { throw .busy }
            raise(control & 0x40000 != 0 ? 1 : 3)
        }
        var debugging = GuestDebugging()
        debugging.enabled = control & 1 != 0
        guestDebug = debugging.enabled ? control : 0
        if debugging.enabled {
            debugging.singleStep = control & 2 != 0
            debugging.softwareBreakpoints = control & 0x10000 != 0
            debugging.hardwareBreakpoints = control & 0x20000 != 0
            debugging.blocksInterrupts = control & 0x100000 != 0
            for index in 0..<8 { debugging.debugRegisters[index] = record.load(8 + 8 * index) }
        }
        processor.debugging = debugging
        processor.stateChanged()
        processor.request(.careful)
    }

    /// Makes an exception pending, to be delivered before the next instruction.
    func raise(_ vector: UInt8, errorCode: UInt32? = nil) {
        var exception = PendingException()
        exception.isPending = true
        exception.vector = vector
        exception.hasErrorCode = errorCode != nil
        exception.errorCode = errorCode ?? 0
        processor.state.pendingException = exception
        processor.request(.careful)
    }
}
