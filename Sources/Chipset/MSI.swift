// Message signalled interrupts. Intel SDM vol. 3, 11.11; KVM API, KVM_SIGNAL_MSI and KVM_CAP_X2APIC_API.

/// Reads a message's address and data.
package enum MSI {
    /// What a delivery answers for an address that KVM refuses: −EINVAL.
    package static let invalid = -22

    /// Whether address_hi is well formed: with 32-bit ids its low byte is reserved.
    package static func isValid(address: UInt64, wideIDs: Bool) -> Bool {
        !(wideIDs && (address >> 32) & 0xFF != 0)
    }

    /// The interrupt that the message stands for. With `wideIDs`, bits 31:8 of address_hi are the destination's upper bits.
    package static func message(address: UInt64, data: UInt32, wideIDs: Bool) -> InterruptMessage {
        let low = UInt32(truncatingIfNeeded: address)
        var destination = (low >> 12) & 0xFF
        if wideIDs { destination |= UInt32(truncatingIfNeeded: address >> 32) & 0xFFFF_FF00 }
        var message = InterruptMessage(vector: UInt8(truncatingIfNeeded: data), destination: destination)
        message.deliveryMode = .init(rawValue: UInt8(truncatingIfNeeded: data >> 8) & 7) ?? .fixed
        message.isLogical = low & (1 << 2) != 0
        message.redirectionHint = low & (1 << 3) != 0
        message.isLevelTriggered = data & (1 << 15) != 0
        return message
    }
}
