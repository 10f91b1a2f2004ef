internal import Locking

/// Pieces of host code by what they do, each made once.
final class HostCodeCache<Key: Hashable & Sendable>: Sendable {
    private let made = Lock<[Key: UInt]>([:])

    init() { HostCode.afterFork { self.made.startAgain([:]) } }

    /// The address of the code for `key`, which is assembled where it is not there yet; nil where the host gives no memory for it.
    func address(of key: Key, assembled: () -> [UInt8]) -> UInt? {
        made.withLock { made in
            if let address = made[key] { return address }
            guard let address = HostCode.add(assembled()) else { return nil }
            made[key] = address
            return address
        }
    }
}
