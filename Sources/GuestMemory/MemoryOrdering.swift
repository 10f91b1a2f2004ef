/// What a load of shared memory sees, at least.
public enum LoadOrdering: Sendable, CaseIterable {
    case relaxed
    /// With it everything that was stored before the store which it sees was made with `releasing`.
    case acquiring
    /// Ordered with all others of the kind.
    case sequentiallyConsistent
}

/// When a store to shared memory is seen, at the latest.
public enum StoreOrdering: Sendable, CaseIterable {
    case relaxed
    /// After everything before it.
    case releasing
    /// Ordered with all others of the kind: before the loads that follow, too.
    case sequentiallyConsistent
}
