// Structures and constants of the interface that Debian's header (Linux 6.1) does not have yet. Their sizes and offsets
// are pinned by literal in the tests. Source: include/uapi/linux/kvm.h of Linux 6.18.

@_exported public import CLinuxKVM

// A newer header than Debian's has these structures itself: a declaration here takes precedence over an imported one.

/// The argument of `KVM_SET_USER_MEMORY_REGION2`.
public struct kvm_userspace_memory_region2: Sendable, BitwiseCopyable {
    public var slot: UInt32 = 0
    public var flags: UInt32 = 0
    public var guest_phys_addr: UInt64 = 0
    /// Bytes; 0 deletes the slot.
    public var memory_size: UInt64 = 0
    public var userspace_addr: UInt64 = 0
    public var guest_memfd_offset: UInt64 = 0
    public var guest_memfd: UInt32 = 0
    public var pad1: UInt32 = 0
    public var pad2: InlineArray<14, UInt64> = .init(repeating: 0)
    public init() {}
}

/// The argument of `KVM_SET_MEMORY_ATTRIBUTES`.
public struct kvm_memory_attributes: Sendable, BitwiseCopyable {
    public var address: UInt64 = 0
    public var size: UInt64 = 0
    public var attributes: UInt64 = 0
    public var flags: UInt64 = 0
    public init() {}
}

/// The argument of `KVM_CREATE_GUEST_MEMFD`.
public struct kvm_create_guest_memfd: Sendable, BitwiseCopyable {
    public var size: UInt64 = 0
    public var flags: UInt64 = 0
    public var reserved: InlineArray<6, UInt64> = .init(repeating: 0)
    public init() {}
}

/// The argument of `KVM_PRE_FAULT_MEMORY`.
public struct kvm_pre_fault_memory: Sendable, BitwiseCopyable {
    public var gpa: UInt64 = 0
    public var size: UInt64 = 0
    public var flags: UInt64 = 0
    public var padding: InlineArray<5, UInt64> = .init(repeating: 0)
    public init() {}
}

/// The payload of `KVM_EXIT_MEMORY_FAULT`, at `RunArea.Offset.payload`.
public struct kvm_memory_fault_exit: Sendable, BitwiseCopyable {
    public var flags: UInt64 = 0
    public var gpa: UInt64 = 0
    public var size: UInt64 = 0
    public init() {}
}

/// `KVM_MEM_GUEST_MEMFD`, a flag of a memory slot.
public let KVM_MEM_GUEST_MEMFD: UInt32 = 1 << 2
/// `KVM_MEMORY_EXIT_FLAG_PRIVATE`, a flag of `kvm_memory_fault_exit`.
public let KVM_MEMORY_EXIT_FLAG_PRIVATE: UInt64 = 1 << 3
/// `KVM_MEMORY_ATTRIBUTE_PRIVATE`.
public let KVM_MEMORY_ATTRIBUTE_PRIVATE: UInt64 = 1 << 3
/// `KVM_X86_DISABLE_EXITS_APERFMPERF`.
public let KVM_X86_DISABLE_EXITS_APERFMPERF: UInt64 = 1 << 4
/// Quirks of `KVM_CAP_DISABLE_QUIRKS2` that are younger than the header.
public let KVM_X86_QUIRK_SLOT_ZAP_ALL: UInt64 = 1 << 7
public let KVM_X86_QUIRK_STUFF_FEATURE_MSRS: UInt64 = 1 << 8
public let KVM_X86_QUIRK_IGNORE_GUEST_PAT: UInt64 = 1 << 9
/// `KVM_RUN_X86_GUEST_MODE`, a flag of `kvm_run.flags`.
public let KVM_RUN_X86_GUEST_MODE: UInt16 = 1 << 2

extension kvm_ioapic_state {
    /// The redirection entry of a pin, 0 to 23; Swift does not import the union with bit-fields that the header has it in.
    /// 0, and no effect, for other pins.
    public subscript(pin pin: Int) -> UInt64 {
        get {
            guard (0..<Int(KVM_IOAPIC_NUM_PINS)).contains(pin) else { return 0 }
            return unsafe withUnsafeBytes(of: self) {
                unsafe $0.loadUnaligned(fromByteOffset: 24 + pin * 8, as: UInt64.self)
            }
        }
        set {
            guard (0..<Int(KVM_IOAPIC_NUM_PINS)).contains(pin) else { return }
            unsafe withUnsafeMutableBytes(of: &self) {
                unsafe $0.storeBytes(of: newValue, toByteOffset: 24 + pin * 8, as: UInt64.self)
            }
        }
    }
}
