// The structures of October 2006, byte for byte: offsets and sizes in bytes, little-endian, natural alignment.

/// Where the first interface's structures have their fields. A test pins them by literal.
enum FirstLayout {
    /// `struct kvm_run`. The union of the payloads begins at `payload`.
    enum Run {
        static let size = 48
        static let vcpu = 0
        static let emulated = 4
        static let mmioCompleted = 8
        static let exitType = 12
        static let exitReason = 16
        static let instructionLength = 20
        static let payload = 24

        static let hardwareExitReason = 24

        static let exception = 24
        static let errorCode = 28

        static let ioDirection = 24
        static let ioSize = 25
        static let ioString = 26
        static let ioStringDown = 27
        static let ioRepeat = 28
        static let ioPort = 30
        static let ioCount = 32
        /// Strings: the guest's linear address, 64 bits.
        static let ioAddress = 40
        /// The others: what OUT writes, 32 bits.
        static let ioValue = 40

        static let mmioAddress = 24
        static let mmioData = 32
        static let mmioLength = 40
        static let mmioIsWrite = 44
    }

    /// `struct kvm_regs`: behind the header it is today's.
    enum Registers {
        static let size = 152
        static let vcpu = 0
        static let values = 8
        static let count = 144
    }

    /// `struct kvm_sregs`: behind the header it is today's, up to the interrupt bitmap.
    enum SpecialRegisters {
        static let size = 296
        static let vcpu = 0
        static let values = 8
        static let count = 280
        static let pendingInterrupt = 288
    }

    /// `struct kvm_translation`.
    enum Translation {
        static let size = 32
        static let linearAddress = 0
        static let vcpu = 8
        static let physicalAddress = 16
        static let valid = 24
        static let writeable = 25
        static let userMode = 26
    }

    /// `struct kvm_interrupt`.
    enum Interrupt {
        static let size = 8
        static let vcpu = 0
        static let vector = 4
    }

    /// `struct kvm_debug_guest`. The breakpoints are 16 bytes each.
    enum DebugGuest {
        static let size = 80
        static let vcpu = 0
        static let enabled = 4
        static let breakpoints = 8
        static let breakpointStride = 16
        static let breakpointCount = 4
        /// Inside a breakpoint.
        static let breakpointEnabled = 0
        static let breakpointAddress = 8
        static let singleStep = 72
    }

    /// `struct kvm_memory_region`.
    enum MemoryRegion {
        static let size = 24
        static let slot = 0
        static let flags = 4
        static let guestAddress = 8
        static let memorySize = 16
        static let logDirtyPages: UInt32 = 1
    }

    /// `struct kvm_dirty_log`.
    enum DirtyLog {
        static let size = 16
        static let slot = 0
        static let bitmap = 8
    }
}

/// `exit_type`.
enum FirstExitType {
    static let none: UInt32 = 0
    static let failEntry: UInt32 = 1
    static let vmExit: UInt32 = 2
}

/// `exit_reason`.
enum FirstExitReason {
    static let unknown: UInt32 = 0
    static let exception: UInt32 = 1
    static let io: UInt32 = 2
    static let cpuid: UInt32 = 3
    static let debug: UInt32 = 4
    static let hlt: UInt32 = 5
    static let mmio: UInt32 = 6
}
