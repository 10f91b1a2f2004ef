// GSI routing: which controller pins or messages a global system interrupt drives. KVM API, KVM_SET_GSI_ROUTING.

/// A routing table: up to 4096 GSIs, each to at most one pin of each controller or to one message.
public struct GSIRouting: Sendable, Equatable, Codable {
    /// GSIs are below this: KVM_MAX_IRQ_ROUTES.
    public static let limit: UInt32 = 4096

    public enum Controller: Int, Sendable, Codable { case primaryPIC, secondaryPIC, ioapic }

    public enum Target: Sendable, Equatable, Codable {
        /// A controller's pin: 0–7 of an 8259, 0–23 of the I/O APIC.
        case pin(Controller, UInt32)
        /// A message: `address` is address_hi and address_lo together.
        case message(address: UInt64, data: UInt32)
    }

    public struct Entry: Sendable, Equatable, Codable {
        public var gsi: UInt32
        public var target: Target
        public init(gsi: UInt32, target: Target) {
            self.gsi = gsi
            self.target = target
        }
    }

    /// Why a table is refused.
    public enum Refusal: Error, Equatable {
        case gsiOutOfRange(UInt32)
        case noSuchPin(Entry)
        /// A pin of a controller that split mode does not have.
        case noSuchController(Entry)
        /// The GSI has a pin of this controller already, or mixes pins and messages.
        case duplicate(Entry)
        /// address_hi has reserved bits set (with 32-bit ids).
        case malformedAddress(Entry)
    }
}
