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
        case tooManyEntries(Int)
        case gsiOutOfRange(UInt32)
        case noSuchPin(Entry)
        /// A pin of a controller that split mode does not have.
        case noSuchController(Entry)
        /// The GSI has a pin of this controller already, or mixes pins and messages.
        case duplicate(Entry)
        /// address_hi has reserved bits set (with 32-bit ids).
        case malformedAddress(Entry)
    }

    /// The entries as they were given.
    public let entries: [Entry]
    /// The targets by rising GSI, and where each GSI's begin.
    private let targets: [Target]
    private let starts: [Int32]
    /// The vectors of level-triggered messages, which most vectors are not.
    private let levelVectors: Set<UInt8>
    /// The GSI of each pin: 16 of the 8259 pair, then 24 of the I/O APIC; −1 for none.
    private let gsis: [Int16]

    /// Checks and indexes a table.
    /// - Parameters:
    ///   - hasControllers: whether pins may be named at all (not in split mode).
    ///   - wideIDs: whether messages have 32-bit destinations.
    public init(_ entries: [Entry], hasControllers: Bool, wideIDs: Bool) throws(Refusal) {
        guard entries.count <= Int(Self.limit) else { throw .tooManyEntries(entries.count) }
        var gsis = [Int16](repeating: -1, count: 40)
        var last = -1
        for entry in entries {
            guard entry.gsi < Self.limit else { throw .gsiOutOfRange(entry.gsi) }
            last = max(last, Int(entry.gsi))
            switch entry.target {
            case .pin(let controller, let pin):
                guard hasControllers else { throw .noSuchController(entry) }
                guard pin < (controller == .ioapic ? 24 : 8) else { throw .noSuchPin(entry) }
                gsis[Self.place(controller, Int(pin))] = Int16(truncatingIfNeeded: entry.gsi)
            case .message(let address, _):
                guard MSI.isValid(address: address, wideIDs: wideIDs) else { throw .malformedAddress(entry) }
            }
        }
        let sorted = entries.enumerated().sorted { ($0.element.gsi, $0.offset) < ($1.element.gsi, $1.offset) }
        var starts = [Int32](repeating: 0, count: last + 2)
        for (index, (_, entry)) in sorted.enumerated() {
            starts[Int(entry.gsi) + 1] = Int32(truncatingIfNeeded: index + 1)
            var earlier = index - 1
            while earlier >= 0, sorted[earlier].element.gsi == entry.gsi {
                guard case .pin(let a, _) = sorted[earlier].element.target, case .pin(let b, _) = entry.target, a != b
                else { throw .duplicate(entry) }
                earlier -= 1
            }
        }
        for gsi in starts.indices.dropFirst() { starts[gsi] = max(starts[gsi], starts[gsi - 1]) }
        self.entries = entries
        self.gsis = gsis
        self.starts = starts
        targets = sorted.map(\.element.target)
        levelVectors = Set(
            targets.compactMap { target -> UInt8? in
                guard case .message(let address, let data) = target else { return nil }
                let message = MSI.message(address: address, data: data, wideIDs: wideIDs)
                return message.isLevelTriggered ? message.vector : nil
            })
    }

    /// The empty table.
    public init() {
        entries = []
        targets = []
        levelVectors = []
        starts = [0]
        gsis = [Int16](repeating: -1, count: 40)
    }

    /// KVM's own: GSIs 0–15 on the 8259 pair and the I/O APIC, 16–23 on the I/O APIC alone.
    public static let standardEntries: [Entry] =
        (UInt32(0)..<24).flatMap { gsi -> [Entry] in
            let ioapic = Entry(gsi: gsi, target: .pin(.ioapic, gsi))
            if gsi >= 16 { return [ioapic] }
            return [ioapic, Entry(gsi: gsi, target: .pin(gsi < 8 ? .primaryPIC : .secondaryPIC, gsi & 7))]
        }

    private static func place(_ controller: Controller, _ pin: Int) -> Int {
        switch controller {
        case .primaryPIC: pin
        case .secondaryPIC: pin + 8
        case .ioapic: pin + 16
        }
    }

    /// What a GSI drives.
    public subscript(gsi: UInt32) -> ArraySlice<Target> {
        guard Int(gsi) + 1 < starts.count else { return [] }
        return targets[Int(starts[Int(gsi)])..<Int(starts[Int(gsi) + 1])]
    }

    /// Whether any GSI sends this vector level-triggered.
    func hasLevelMessage(_ vector: UInt8) -> Bool { levelVectors.contains(vector) }

    /// The GSI that drives a pin.
    func gsi(of controller: Controller, pin: Int) -> UInt32? {
        let gsi = gsis[Self.place(controller, pin)]
        return gsi < 0 ? nil : UInt32(gsi)
    }

    private enum CodingKeys: CodingKey { case entries }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let entries = try container.decode([Entry].self, forKey: .entries)
        try self.init(entries, hasControllers: true, wideIDs: false)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(entries, forKey: .entries)
    }
}
