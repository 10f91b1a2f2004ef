// All local APICs of a VM, and which of them a message reaches. Intel SDM vol. 3, 11.6.2.

/// The local APICs in the order in which their vCPUs were added.
package struct LocalAPICs: Codable, Sendable {
    package var all: [LocalAPIC] = []
    /// The place of each vCPU id; −1 where there is none.
    private var places: [Int32] = []
    /// KVM_CAP_X2APIC_API's two flags.
    package var wideIDs = false
    package var broadcastQuirk = true
    /// Places whose pending events may have changed since the owner last looked.
    package var touched: [Int] = []

    package static let idLimit = 16384

    package init() {}

    package func place(_ id: Int) -> Int? {
        guard id >= 0, id < places.count, places[id] >= 0 else { return nil }
        return Int(places[id])
    }

    package mutating func add(_ apic: LocalAPIC) -> Bool {
        let id = Int(apic.id)
        guard id < Self.idLimit, place(id) == nil else { return false }
        if places.count <= id { places += [Int32](repeating: -1, count: id + 1 - places.count) }
        places[id] = Int32(truncatingIfNeeded: all.count)
        touched.append(all.count)
        all.append(apic)
        return true
    }

    /// Delivers to every APIC that the message means, or to one of them.
    /// - Parameter source: the place of the sender of an IPI.
    /// - Returns: how many took it. Where nobody is meant: 0, and −1 for what the kernel looks for without its map.
    package mutating func deliver(_ original: InterruptMessage, from source: Int? = nil) -> Int {
        var message = original
        if message.shorthand == .itself {
            guard let source else { return -1 }
            return accept(message, at: source) ? 1 : 0
        }
        if !message.isLogical && message.destination == 0xFF && message.goesToOne {
            message.deliveryMode = .fixed
            message.redirectionHint = false
        }
        if message.goesToOne { return deliverToOne(message, from: source) }
        var count = 0, isMeant = false
        for place in all.indices where reaches(message, place, from: source) {
            isMeant = true
            if accept(message, at: place) { count += 1 }
        }
        return isMeant ? count : statusOfNobody(message)
    }

    /// The kernel keeps a map of physical ids, and one of logical ids while all APICs agree on their form and no two are the
    /// same. A place of theirs that is empty takes nothing; what is searched for elsewhere and not found is another thing.
    private func statusOfNobody(_ message: InterruptMessage) -> Int {
        let form = logicalForm
        let isBroadcast =
            broadcastQuirk
            ? message.destination == 0xFF
            : message.destination == ~0 || message.destination == 0xFF && form != .extended
        return isBroadcast || message.isLogical && form == .mixed ? -1 : 0
    }

    private enum LogicalForm { case none, flat, cluster, extended, mixed }

    /// The form of the logical ids of all enabled APICs that have one.
    private var logicalForm: LogicalForm {
        var form = LogicalForm.none
        var taken: Set<UInt32> = []
        for apic in all where apic.isHardwareEnabled && apic.isSoftwareEnabled && apic[.logicalDestination] != 0 {
            let id = apic[.logicalDestination]
            let own: LogicalForm = apic.isX2APIC ? .extended : apic[.destinationFormat] == ~0 ? .flat : .cluster
            guard form == .none || form == own else { return .mixed }
            form = own
            guard own != .extended else { continue }
            let members = own == .flat ? id >> 24 : id >> 24 & 0xF
            if members == 0 { continue }
            guard members.nonzeroBitCount == 1, taken.insert(id).inserted else { return .mixed }
        }
        return form
    }

    private func reaches(_ message: InterruptMessage, _ place: Int, from source: Int?) -> Bool {
        guard all[place].isHardwareEnabled else { return false }
        switch message.shorthand {
        case .none:
            return all[place].matches(
                message.destination, logical: message.isLogical, isIPI: source != nil, broadcastQuirk: broadcastQuirk)
        case .itself: return place == source
        case .all: return true
        case .allButItself: return place != source
        }
    }

    /// The vector chooses among the candidates, so that one vector stays with one vCPU.
    private mutating func deliverToOne(_ message: InterruptMessage, from source: Int?) -> Int {
        var candidates = 0
        for place in all.indices where all[place].isSoftwareEnabled && reaches(message, place, from: source) {
            candidates += 1
        }
        guard candidates > 0 else { return statusOfNobody(message) }
        var skip = Int(message.vector) % candidates
        for place in all.indices where all[place].isSoftwareEnabled && reaches(message, place, from: source) {
            if skip == 0 { return accept(message, at: place) ? 1 : 0 }
            skip -= 1
        }
        return 0
    }

    mutating func accept(_ message: InterruptMessage, at place: Int) -> Bool {
        touched.append(place)
        return all[place].accept(message)
    }

    /// Whether any vCPU takes the 8259's interrupts.
    package var acceptExternal: Bool { all.contains { $0.acceptsExternal } }
}
