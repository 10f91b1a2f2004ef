// What travels between I/O APIC, devices and local APICs. Intel SDM vol. 3, 11.6.1 (the interrupt command register).

/// An interrupt on its way to local APICs.
package struct InterruptMessage: Sendable, Equatable {
    /// Bits 10:8 of the ICR, of a redirection entry and of an MSI's data.
    package enum DeliveryMode: UInt8, Sendable {
        case fixed, lowestPriority, systemManagement, remoteRead, nmi, initialize, startUp, external
    }

    package enum Shorthand: UInt8, Sendable { case none, itself, all, allButItself }

    package var vector: UInt8
    package var deliveryMode = DeliveryMode.fixed
    /// Destination mode: logical, else physical.
    package var isLogical = false
    package var isLevelTriggered = false
    /// The level of a level-triggered message; an edge is always one.
    package var asserts = true
    package var shorthand = Shorthand.none
    package var destination: UInt32
    /// An MSI's redirection hint: to one of the destinations only.
    package var redirectionHint = false

    package init(vector: UInt8, destination: UInt32) {
        self.vector = vector
        self.destination = destination
    }

    /// To one of those that match.
    var goesToOne: Bool { deliveryMode == .lowestPriority || redirectionHint }

    /// From the low half of an ICR.
    package init(icr: UInt32, destination: UInt32) {
        vector = UInt8(truncatingIfNeeded: icr)
        deliveryMode = DeliveryMode(rawValue: UInt8(truncatingIfNeeded: icr >> 8) & 7) ?? .fixed
        isLogical = icr & (1 << 11) != 0
        asserts = icr & (1 << 14) != 0
        isLevelTriggered = icr & (1 << 15) != 0
        shorthand = Shorthand(rawValue: UInt8(truncatingIfNeeded: icr >> 18) & 3) ?? .none
        self.destination = destination
    }

    /// From an I/O APIC redirection entry. 82093AA, 3.2.4.
    package init(redirection entry: UInt64) {
        vector = UInt8(truncatingIfNeeded: entry)
        deliveryMode = DeliveryMode(rawValue: UInt8(truncatingIfNeeded: entry >> 8) & 7) ?? .fixed
        isLogical = entry & (1 << 11) != 0
        isLevelTriggered = entry & (1 << 15) != 0
        destination = UInt32(truncatingIfNeeded: entry >> 56)
    }
}
