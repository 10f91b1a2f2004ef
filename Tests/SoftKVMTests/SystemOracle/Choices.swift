/// A seeded source of choices, so that every run of a sweep has the same cases.
struct Choices {
    private var state: UInt64

    init(state: UInt64) { self.state = state }

    mutating func next(_ bound: UInt64) -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state >> 33) % bound
    }

    mutating func one(in bound: UInt64) -> Bool { next(bound) == 0 }

    mutating func element<T>(of list: [T]) -> T { list[Int(next(UInt64(list.count)))] }
}
