// The run area that client and hypervisor share, `struct kvm_run`, read and written by field at fixed offsets, so that
// the 2 KiB structure is never copied. A test pins the offsets to <linux/kvm.h>.
// Documentation/virt/kvm/api.rst, section 5.

/// A view of one vCPU's run area. It does not own the mapping.
///
/// The other side may change any byte at any time: read each field once and check what was read.
@safe public struct RunArea: @unchecked Sendable {
    /// The first byte of `struct kvm_run`.
    public let base: UnsafeMutableRawPointer

    /// - Parameter base: the address of the mapping.
    // SAFETY: the mapping is at least `sizeof(struct kvm_run)` long, page-aligned, and outlives this view.
    public init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

    /// Byte offsets into `struct kvm_run`.
    public enum Offset {
        public static var requestInterruptWindow: Int { 0 }
        public static var immediateExit: Int { 1 }
        public static var exitReason: Int { 8 }
        public static var readyForInterruptInjection: Int { 12 }
        public static var ifFlag: Int { 13 }
        public static var flags: Int { 14 }
        public static var cr8: Int { 16 }
        public static var apicBase: Int { 24 }
        /// The union of the payloads, 256 bytes.
        public static var payload: Int { 32 }
        public static var validRegs: Int { 288 }
        public static var dirtyRegs: Int { 296 }
        /// The union around `struct kvm_sync_regs`, 2,048 bytes.
        public static var syncRegs: Int { 304 }
    }

    /// The bytes of the payload's union.
    public static var payloadSize: Int { 256 }

    /// Reads at an offset in bytes, which is the caller's to keep inside the mapping.
    @inlinable public func load<T: BitwiseCopyable>(_ offset: Int, as type: T.Type = T.self) -> T {
        unsafe base.loadUnaligned(fromByteOffset: offset, as: T.self)
    }

    /// Writes at an offset in bytes, which is the caller's to keep inside the mapping.
    @inlinable public func store<T: BitwiseCopyable>(_ value: T, _ offset: Int) {
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: T.self)
    }

    /// Out: why KVM_RUN returned.
    @inlinable public var exitReason: ExitReason { ExitReason(rawValue: load(Offset.exitReason)) }
    /// In: asks for `KVM_EXIT_IRQ_WINDOW_OPEN` as soon as an interrupt can be injected.
    @inlinable public var requestInterruptWindow: Bool {
        get { load(Offset.requestInterruptWindow, as: UInt8.self) != 0 }
        nonmutating set { store(UInt8(newValue ? 1 : 0), Offset.requestInterruptWindow) }
    }
    /// In: non-zero ends KVM_RUN with EINTR before guest code runs.
    @inlinable public var immediateExit: UInt8 {
        get { load(Offset.immediateExit) }
        nonmutating set { store(newValue, Offset.immediateExit) }
    }
    /// Out: an interrupt may be injected now.
    @inlinable public var readyForInterruptInjection: Bool {
        get { load(Offset.readyForInterruptInjection, as: UInt8.self) != 0 }
        nonmutating set { store(UInt8(newValue ? 1 : 0), Offset.readyForInterruptInjection) }
    }
    /// Out: RFLAGS.IF.
    @inlinable public var interruptFlag: Bool {
        get { load(Offset.ifFlag, as: UInt8.self) != 0 }
        nonmutating set { store(UInt8(newValue ? 1 : 0), Offset.ifFlag) }
    }
    /// Out: `KVM_RUN_X86_SMM` and its kin.
    @inlinable public var flags: UInt16 {
        get { load(Offset.flags) }
        nonmutating set { store(newValue, Offset.flags) }
    }
    /// In and out, without the in-kernel local APIC.
    @inlinable public var cr8: UInt64 {
        get { load(Offset.cr8) }
        nonmutating set { store(newValue, Offset.cr8) }
    }
    /// Out; in, without the in-kernel local APIC.
    @inlinable public var apicBase: UInt64 {
        get { load(Offset.apicBase) }
        nonmutating set { store(newValue, Offset.apicBase) }
    }
    /// `KVM_SYNC_X86_*`: what the hypervisor copies out at each exit.
    @inlinable public var validRegs: UInt64 {
        get { load(Offset.validRegs) }
        nonmutating set { store(newValue, Offset.validRegs) }
    }
    /// `KVM_SYNC_X86_*`: what the client has changed.
    @inlinable public var dirtyRegs: UInt64 {
        get { load(Offset.dirtyRegs) }
        nonmutating set { store(newValue, Offset.dirtyRegs) }
    }
}
