// What a hypervisor offers beyond the base set: the extensions that `KVM_CHECK_EXTENSION` reports and `KVM_ENABLE_CAP`
// turns on. Documentation/virt/kvm/api.rst, sections 4.4, 4.37, 6, 7 and 8.

/// An extension of the interface, by its number.
public struct Capability: Hashable, Sendable, RawRepresentable {
    public var rawValue: UInt32

    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The macro's name, for instance `KVM_CAP_USER_MEMORY`, or `capability 999` for a number that has none.
    public var name: String { Capability.names[rawValue] ?? "capability \(rawValue)" }

    /// All that have a name here, in the order of their numbers.
    public static let all: [Capability] = names.keys.sorted().map(Capability.init(rawValue:))

    private static let names: [UInt32: String] = {
        var names: [UInt32: String] = [:]
        let words = table.description.split(whereSeparator: { $0 == " " || $0 == "\n" })
        var index = 0
        while index + 1 < words.count {
            if let number = UInt32(words[index]) { names[number] = "KVM_CAP_" + words[index + 1] }
            index += 2
        }
        return names
    }()
}

extension Capability: CustomStringConvertible {
    public var description: String { name }
}
