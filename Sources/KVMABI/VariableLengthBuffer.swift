// Arguments that end in an array: a header with a count, then the entries, in one contiguous piece of memory
// (CPUID, MSRs, MSR lists, GSI routing, signal masks, the PMU's event filter). Swift imports their headers only.

public import CLinuxKVM

/// One contiguous argument of variable length: a zeroed header, then room for entries. Entries are plain C structures.
@safe public struct VariableLengthBuffer<Entry>: ~Copyable {
    /// Where the count and the entries lie.
    public struct Shape: Sendable {
        /// The offset of the first entry, in bytes.
        public var headerSize: Int
        /// The offset of the 32-bit count of entries, in bytes.
        public var countOffset: Int

        public init(headerSize: Int, countOffset: Int = 0) {
            self.headerSize = headerSize
            self.countOffset = countOffset
        }
    }

    public let shape: Shape
    /// How many entries there is room for.
    public let capacity: Int
    // SAFETY: owned here; every access is checked against `capacity`, or the header's size.
    private let storage: UnsafeMutableRawPointer

    /// Room for `capacity` entries, all zero, with the count set to `capacity`.
    public init(_ shape: Shape, capacity: Int) {
        self.shape = shape
        self.capacity = capacity
        let bytes = shape.headerSize + capacity * MemoryLayout<Entry>.stride
        unsafe storage = .allocate(byteCount: bytes, alignment: 16)
        unsafe storage.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        count = capacity
    }

    /// The entries, copied.
    public init(_ shape: Shape, _ entries: some Collection<Entry>) {
        self.init(shape, capacity: entries.count)
        for (index, entry) in entries.enumerated() { self[index] = entry }
    }

    deinit { unsafe storage.deallocate() }

    /// What goes into the ioctl's third argument.
    public var address: UInt { UInt(bitPattern: unsafe storage) }

    /// The count in the header, which the hypervisor may have changed; reading clamps it to the capacity.
    public var count: Int {
        get { min(statedCount, capacity) }
        set {
            unsafe storage.storeBytes(
                of: UInt32(truncatingIfNeeded: newValue), toByteOffset: shape.countOffset, as: UInt32.self)
        }
    }

    /// The count as it stands in the header, which after E2BIG is the number of entries needed.
    public var statedCount: Int {
        Int(unsafe storage.loadUnaligned(fromByteOffset: shape.countOffset, as: UInt32.self))
    }

    /// A field of the header, at an offset in bytes.
    public func header<T: BitwiseCopyable>(_ offset: Int, as type: T.Type = T.self) -> T {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= shape.headerSize)
        return unsafe storage.loadUnaligned(fromByteOffset: offset, as: T.self)
    }

    public mutating func setHeader<T: BitwiseCopyable>(_ value: T, _ offset: Int) {
        precondition(offset >= 0 && offset + MemoryLayout<T>.size <= shape.headerSize)
        unsafe storage.storeBytes(of: value, toByteOffset: offset, as: T.self)
    }

    public subscript(index: Int) -> Entry {
        get {
            precondition(index >= 0 && index < capacity)
            return unsafe storage.load(
                fromByteOffset: shape.headerSize + index * MemoryLayout<Entry>.stride, as: Entry.self)
        }
        set {
            precondition(index >= 0 && index < capacity)
            unsafe storage.storeBytes(
                of: newValue, toByteOffset: shape.headerSize + index * MemoryLayout<Entry>.stride, as: Entry.self)
        }
    }

    /// The first `count` entries.
    public var entries: [Entry] { (0..<count).map { self[$0] } }
}

extension VariableLengthBuffer.Shape where Entry == kvm_cpuid_entry2 {
    /// `struct kvm_cpuid2`.
    public static var cpuid: Self { Self(headerSize: 8) }
}

extension VariableLengthBuffer.Shape where Entry == kvm_msr_entry {
    /// `struct kvm_msrs`.
    public static var msrs: Self { Self(headerSize: 8) }
}

extension VariableLengthBuffer.Shape where Entry == UInt32 {
    /// `struct kvm_msr_list`.
    public static var msrList: Self { Self(headerSize: 4) }
}

extension VariableLengthBuffer.Shape where Entry == kvm_irq_routing_entry {
    /// `struct kvm_irq_routing`.
    public static var routing: Self { Self(headerSize: 8) }
}

extension VariableLengthBuffer.Shape where Entry == UInt8 {
    /// `struct kvm_signal_mask`: the count is in bytes.
    public static var signalMask: Self { Self(headerSize: 4) }
}

extension VariableLengthBuffer.Shape where Entry == UInt64 {
    /// `struct kvm_pmu_event_filter`.
    public static var pmuEventFilter: Self { Self(headerSize: 32, countOffset: 4) }
    /// `struct kvm_reg_list`: the low half of the 64-bit count.
    public static var registerList: Self { Self(headerSize: 8) }
}
