/// A translation as the page tables gave it, before privilege is looked at.
struct Translation {
    /// Guest-physical address of the 4 KiB page.
    var page: UInt64
    var rights: Rights

    struct Rights: OptionSet {
        let rawValue: UInt32
        static let writable = Rights(rawValue: 1)
        static let user = Rights(rawValue: 2)
        static let noExecute = Rights(rawValue: 4)
        /// The entry's D bit is set, so that a write needs no walk.
        static let dirty = Rights(rawValue: 8)
        static let global = Rights(rawValue: 16)
    }
}
