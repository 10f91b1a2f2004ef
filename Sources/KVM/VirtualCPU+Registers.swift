// A vCPU's registers: general, special, FPU, vector and debug registers.
// Documentation/virt/kvm/api.rst, sections 4.11 to 4.15, 4.31 to 4.36, 4.42, 4.43, 4.130 and 4.134.

public import KVMABI

/// General and special registers together, each under its name in `kvm_regs` and `kvm_sregs`: `rip`, `cs.base`, `cr0`.
@dynamicMemberLookup
public struct Registers: Sendable {
    public var general: kvm_regs
    public var special: kvm_sregs

    public init(general: kvm_regs, special: kvm_sregs) {
        self.general = general
        self.special = special
    }

    public subscript<Value>(dynamicMember path: WritableKeyPath<kvm_regs, Value>) -> Value {
        get { general[keyPath: path] }
        set { general[keyPath: path] = newValue }
    }

    public subscript<Value>(dynamicMember path: WritableKeyPath<kvm_sregs, Value>) -> Value {
        get { special[keyPath: path] }
        set { special[keyPath: path] = newValue }
    }
}

extension VirtualCPU {
    /// Reads general and special registers, lets them be changed, and writes them back.
    public func update(_ change: (inout Registers) -> Void) throws(KVMError) {
        var registers = try registers()
        change(&registers)
        try setSpecialRegisters(registers.special)
        try setGeneralRegisters(registers.general)
    }

    /// General and special registers.
    public func registers() throws(KVMError) -> Registers {
        Registers(general: try generalRegisters(), special: try specialRegisters())
    }

    /// `KVM_GET_REGS`.
    public func generalRegisters() throws(KVMError) -> kvm_regs { try connection.get(.getRegs, kvm_regs()) }
    /// `KVM_SET_REGS`.
    public func setGeneralRegisters(_ registers: kvm_regs) throws(KVMError) { try connection.set(.setRegs, registers) }

    /// `KVM_GET_SREGS`.
    public func specialRegisters() throws(KVMError) -> kvm_sregs { try connection.get(.getSREGS, kvm_sregs()) }
    /// `KVM_SET_SREGS`.
    public func setSpecialRegisters(_ registers: kvm_sregs) throws(KVMError) {
        try connection.set(.setSREGS, registers)
    }

    /// `KVM_GET_SREGS2`: the special registers with PAE's page-directory pointers.
    public func specialRegisters2() throws(KVMError) -> kvm_sregs2 { try connection.get(.getSREGS2, kvm_sregs2()) }
    /// `KVM_SET_SREGS2`.
    public func setSpecialRegisters2(_ registers: kvm_sregs2) throws(KVMError) {
        try connection.set(.setSREGS2, registers)
    }

    /// `KVM_GET_FPU`: x87 and SSE registers.
    public func fpu() throws(KVMError) -> kvm_fpu { try connection.get(.getFPU, kvm_fpu()) }
    /// `KVM_SET_FPU`.
    public func setFPU(_ state: kvm_fpu) throws(KVMError) { try connection.set(.setFPU, state) }

    /// `KVM_GET_XSAVE2`, or `KVM_GET_XSAVE` where it is not offered: the XSAVE image, uncompacted, as many bytes as the
    /// hypervisor says (at least 4096).
    public func xsave() throws(KVMError) -> [UInt8] {
        let size = try check(.xsave2)
        var image = [UInt8](repeating: 0, count: max(size, MemoryLayout<kvm_xsave>.size))
        let connection = connection
        _ = try unsafe image.withUnsafeMutableBufferPointer { (bytes) throws(KVMError) in
            try connection.call(size > 0 ? .getXSAVE2 : .getXSAVE, UInt(bitPattern: bytes.baseAddress))
        }
        return image
    }

    /// `KVM_SET_XSAVE`: as many bytes as `xsave()` gives; fewer are filled up with zeroes.
    public func setXSAVE(_ image: [UInt8]) throws(KVMError) {
        let size = max(try check(.xsave2), MemoryLayout<kvm_xsave>.size)
        var image = image + [UInt8](repeating: 0, count: max(size - image.count, 0))
        let connection = connection
        _ = try unsafe image.withUnsafeMutableBufferPointer { (bytes) throws(KVMError) in
            try connection.call(.setXSAVE, UInt(bitPattern: bytes.baseAddress))
        }
    }

    /// `KVM_GET_XCRS`: XCR0.
    public func xcrs() throws(KVMError) -> kvm_xcrs { try connection.get(.getXCRS, kvm_xcrs()) }
    /// `KVM_SET_XCRS`.
    public func setXCRs(_ registers: kvm_xcrs) throws(KVMError) { try connection.set(.setXCRS, registers) }

    /// `KVM_GET_DEBUGREGS`: DR0 to DR3, DR6 and DR7 of the guest.
    public func debugRegisters() throws(KVMError) -> kvm_debugregs {
        try connection.get(.getDebugregs, kvm_debugregs())
    }
    /// `KVM_SET_DEBUGREGS`.
    public func setDebugRegisters(_ registers: kvm_debugregs) throws(KVMError) {
        try connection.set(.setDebugregs, registers)
    }

    /// `KVM_GET_ONE_REG`: eight bytes of one register by its id (`KVM_REG_*`).
    public func oneRegister(_ id: UInt64) throws(KVMError) -> UInt64 {
        var value: UInt64 = 0
        try withOneRegister(.getOneReg, id, &value)
        return value
    }

    /// `KVM_SET_ONE_REG`.
    public func setOneRegister(_ id: UInt64, to value: UInt64) throws(KVMError) {
        var value = value
        try withOneRegister(.setOneReg, id, &value)
    }

    private func withOneRegister(_ request: Request, _ id: UInt64, _ value: inout UInt64) throws(KVMError) {
        let connection = connection
        _ = try unsafe withUnsafeMutablePointer(to: &value) { (pointer) throws(KVMError) in
            try connection.set(request, kvm_one_reg(id: id, addr: UInt64(UInt(bitPattern: pointer))))
        }
    }

    // MARK: Registers in the run area

    /// What the hypervisor copies into the run area at each exit (`KVM_SYNC_X86_*`).
    public struct Synced: OptionSet, Hashable, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        public static let general = Synced(rawValue: 1 << 0)
        public static let special = Synced(rawValue: 1 << 1)
        public static let events = Synced(rawValue: 1 << 2)
    }

    /// What is copied out at each exit; nothing at first.
    public var synced: Synced {
        get { Synced(rawValue: area.validRegs) }
        nonmutating set { area.validRegs = newValue.rawValue }
    }

    /// The general registers as of the last exit, if `synced` has `.general`. What is set here goes in at the next run.
    public var syncedRegisters: kvm_regs {
        get { area.load(RunArea.Offset.syncRegs) }
        nonmutating set {
            area.store(newValue, RunArea.Offset.syncRegs)
            area.dirtyRegs |= Synced.general.rawValue
        }
    }

    /// Likewise the special registers.
    public var syncedSpecialRegisters: kvm_sregs {
        get { area.load(RunArea.Offset.syncRegs + MemoryLayout<kvm_regs>.size) }
        nonmutating set {
            area.store(newValue, RunArea.Offset.syncRegs + MemoryLayout<kvm_regs>.size)
            area.dirtyRegs |= Synced.special.rawValue
        }
    }

    /// Likewise the events.
    public var syncedEvents: kvm_vcpu_events {
        get { area.load(RunArea.Offset.syncRegs + MemoryLayout<kvm_regs>.size + MemoryLayout<kvm_sregs>.size) }
        nonmutating set {
            area.store(
                newValue, RunArea.Offset.syncRegs + MemoryLayout<kvm_regs>.size + MemoryLayout<kvm_sregs>.size)
            area.dirtyRegs |= Synced.events.rawValue
        }
    }
}
