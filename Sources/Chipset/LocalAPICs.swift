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
    /// - Returns: how many took it; −1 if there was no destination.
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
        var count = -1
        for place in all.indices where reaches(message, place, from: source) {
            count = max(count, 0) + (accept(message, at: place) ? 1 : 0)
        }
        return count
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
        // One that is there and does not accept is another thing than none.
        guard candidates > 0 else { return all.indices.contains { reaches(message, $0, from: source) } ? 0 : -1 }
        var skip = Int(message.vector) % candidates
        for place in all.indices where all[place].isSoftwareEnabled && reaches(message, place, from: source) {
            if skip == 0 { return accept(message, at: place) ? 1 : 0 }
            skip -= 1
        }
        return -1
    }

    mutating func accept(_ message: InterruptMessage, at place: Int) -> Bool {
        touched.append(place)
        return all[place].accept(message)
    }

    /// Whether any vCPU takes the 8259's interrupts.
    package var acceptExternal: Bool { all.contains { $0.acceptsExternal } }
}
