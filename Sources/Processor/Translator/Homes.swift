import X86

/// Where the guest's general registers are while emitted code runs: thirteen have registers of the host, twelve of them their
/// own names, so that shifts, products and the like find theirs; three that compilers use least stay in the state.
///
/// The host's stack pointer is always the host's, since a client's signal handler may run on it at any instant. GS reaches the
/// state.
enum Homes {
    /// The host's register of a guest's, or nil where it is in the state.
    static func home(_ number: UInt8) -> GeneralRegister? {
        switch number {
        case 4: .r9
        case 9, 10, 11: nil
        default: GeneralRegister(rawValue: number)
        }
    }

    /// RSP's.
    static let stackPointer = GeneralRegister.r9
    /// What emitted code may use between two instructions of the guest.
    static let scratch = (GeneralRegister.r10, GeneralRegister.r11)

    /// Those of the scratch registers that nothing is in.
    struct Free: OptionSet {
        let rawValue: UInt8
        static let first = Free(rawValue: 1)
        static let second = Free(rawValue: 2)

        /// The first of them, which is taken. There is one.
        mutating func take() -> GeneralRegister {
            precondition(!isEmpty, "no scratch register is free")
            let taken: Free = contains(.first) ? .first : .second
            remove(taken)
            return taken == .first ? scratch.0 : scratch.1
        }
    }

    /// All that have a home.
    static let all: [(guest: UInt8, host: GeneralRegister)] = (0..<16).compactMap { number in
        home(number).map { (number, $0) }
    }
}
