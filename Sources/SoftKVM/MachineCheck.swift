// Machine-check banks: KVM_X86_SETUP_MCE, KVM_X86_SET_MCE and their MSRs.
// Documentation/virt/kvm/api.rst, sections 4.104 to 4.106; Intel SDM vol. 3, 16.3.

internal import KVMABI

/// One vCPU's banks.
struct MachineCheck {
    static let bankLimit = 32
    /// KVM_X86_GET_MCE_CAP_SUPPORTED: MCG_CTL_P, MCG_SER_P.
    static let supported: UInt64 = 1 << 8 | 1 << 24

    private(set) var capability = UInt64(MachineCheck.bankLimit)
    private(set) var status: UInt64 = 0
    private(set) var control: UInt64 = 0
    /// CTL, STATUS, ADDR, MISC of each bank.
    private(set) var banks = [UInt64](repeating: 0, count: 4 * MachineCheck.bankLimit)

    private var bankCount: Int { Int(capability & 0xFF) }

    mutating func setUp(_ value: UInt64) throws(Errno) {
        let count = Int(value & 0xFF)
        guard count > 0, count <= MachineCheck.bankLimit, value & ~(MachineCheck.supported | 0xFF00FF) == 0 else {
            throw .invalidArgument
        }
        capability = value
        if value & 1 << 8 != 0 { control = .max }
        for bank in 0..<count { banks[4 * bank] = .max }
    }

    func read(_ index: UInt32, fromHost: Bool) -> UInt64? {
        switch index {
        case 0, 1: return 0
        case 0x179: return capability
        case 0x17A: return status
        case 0x17B: return capability & 1 << 8 != 0 || fromHost ? control : nil
        case 0x400..<0x480:
            let place = Int(index - 0x400)
            return place < 4 * bankCount ? banks[place] : nil
        default: return nil
        }
    }

    /// `canWriteStatus`: HWCR.McStatusWrEn.
    mutating func write(_ index: UInt32, _ value: UInt64, fromHost: Bool, canWriteStatus: Bool) -> Bool {
        switch index {
        case 0x17A: status = value
        case 0x17B:
            guard capability & 1 << 8 != 0 || fromHost, fromHost || value == 0 || value == .max else { return false }
            control = value
        case 0x400..<0x480:
            let place = Int(index - 0x400)
            guard place < 4 * bankCount else { return false }
            // CTL is all ones or all zeros, but for the bits that old AMD processors have in bank 4; a client's too.
            if place & 3 == 0, value != 0, value | (1 << 10 | 1) != .max { return false }
            if !fromHost, place & 3 == 1, value != 0, !canWriteStatus { return false }
            banks[place] = value
        default: return false
        }
        return true
    }

    enum Outcome { case none, exception, shutdown }

    /// KVM_X86_SET_MCE: struct kvm_x86_mce { status, addr, misc, mcg_status, bank }.
    mutating func set(_ record: Record, isEnabled: Bool) throws(Errno) -> Outcome {
        var newStatus: UInt64 = record.load(0)
        let bank = Int(record.load(32, as: UInt8.self))
        let valid: UInt64 = 1 << 63
        let overflow: UInt64 = 1 << 62
        let uncorrected: UInt64 = 1 << 61
        guard bank < bankCount, newStatus & valid != 0 else { throw .invalidArgument }
        let at = 4 * bank
        if newStatus & uncorrected != 0 {
            if capability & 1 << 8 != 0, control != .max { return .none }
            if banks[at] != .max { return .none }
            // MCIP is set, or CR4.MCE is not.
            if status & 4 != 0 || !isEnabled { return .shutdown }
            if banks[at + 1] & valid != 0 { newStatus |= overflow }
            banks[at + 2] = record.load(8)
            banks[at + 3] = record.load(16)
            status = record.load(24)
            banks[at + 1] = newStatus
            return .exception
        }
        if banks[at + 1] & valid == 0 || banks[at + 1] & uncorrected == 0 {
            if banks[at + 1] & valid != 0 { newStatus |= overflow }
            banks[at + 2] = record.load(8)
            banks[at + 3] = record.load(16)
            banks[at + 1] = newStatus
        } else {
            banks[at + 1] |= overflow
        }
        return .none
    }
}
