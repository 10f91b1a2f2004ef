// The ioctls of October 2006: type 0xAE, the structure's size in the number. All are issued on the one descriptor.

internal import KVMABI

/// The number of an ioctl of the first interface.
public enum FirstRequest: UInt32, Sendable, CaseIterable {
    case run = 0xC030_AE02
    case getRegisters = 0xC098_AE03
    case setRegisters = 0x4098_AE04
    case getSpecialRegisters = 0xC128_AE05
    case setSpecialRegisters = 0x4128_AE06
    case translate = 0xC020_AE07
    case interrupt = 0x4008_AE08
    case debugGuest = 0x4050_AE09
    case setMemoryRegion = 0x4018_AE0A
    /// The argument is the vCPU's number, by value.
    case createVCPU = 0x4004_AE0B
    case getDirtyLog = 0x4010_AE0C

    /// The macro's name. Most are today's, whose structures are others.
    public var name: String {
        switch self {
        case .run: "KVM_RUN"
        case .getRegisters: "KVM_GET_REGS"
        case .setRegisters: "KVM_SET_REGS"
        case .getSpecialRegisters: "KVM_GET_SREGS"
        case .setSpecialRegisters: "KVM_SET_SREGS"
        case .translate: "KVM_TRANSLATE"
        case .interrupt: "KVM_INTERRUPT"
        case .debugGuest: "KVM_DEBUG_GUEST"
        case .setMemoryRegion: "KVM_SET_MEMORY_REGION"
        case .createVCPU: "KVM_CREATE_VCPU"
        case .getDirtyLog: "KVM_GET_DIRTY_LOG"
        }
    }

    /// The size that the number carries, in bytes.
    var size: Int { Request(rawValue: UInt(rawValue)).size }
}
