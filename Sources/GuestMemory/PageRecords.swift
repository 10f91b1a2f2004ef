internal import Glibc
internal import Synchronization

/// What a hypervisor keeps for each page of a region: which 64-byte lines hold decoded code, and the dirty log.
@safe public final class PageRecords: @unchecked Sendable {
    public let pageCount: Int
    /// Where the code's lines are kept, and which page of it is the region's first. Changed only while no vCPU runs.
    public private(set) var code: CodeLines
    public private(set) var firstCodePage = 0
    // SAFETY: within `code`, which has `pageCount` pages from there on (`use` sees to it) and lives as long as it is named above.
    private var codeLines: UnsafeMutablePointer<Atomic<UInt64>>
    // SAFETY: has the length that init gives it and lives as long as this object.
    private let dirty: UnsafeMutablePointer<Atomic<UInt64>>
    private let logging = Atomic<Bool>(false)

    /// Takes real memory only for pages that something becomes known of.
    /// - Returns: nil where there is no room.
    public init?(pageCount: Int) {
        guard let code = CodeLines(pageCount: pageCount),
            let bits = unsafe calloc(pageCount / 64 + 1, MemoryLayout<Atomic<UInt64>>.stride)
        else { return nil }
        self.pageCount = pageCount
        self.code = code
        unsafe codeLines = code.lines
        // SAFETY: zeros are what such atomics begin as.
        unsafe dirty = bits.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    deinit { unsafe free(dirty) }

    /// Keeps the code's lines with those of other regions that show the same memory, whose page `first` is this one's first.
    /// What is decoded from the region must be dropped.
    public func use(_ code: CodeLines, from first: Int) {
        precondition(first >= 0 && pageCount <= code.pageCount && first <= code.pageCount - pageCount)
        self.code = code
        firstCodePage = first
        unsafe codeLines = code.lines + first
    }

    private var wordCount: Int { (pageCount + 63) / 64 }

    /// KVM_MEM_LOG_DIRTY_PAGES.
    public var isLogging: Bool {
        get { logging.load(ordering: .relaxed) }
        set { logging.store(newValue, ordering: .relaxed) }
    }

    /// Whether a store to `page` may go past the slow path: nothing is decoded from it and its dirty bit needs no setting.
    public func allowsFastWrites(_ page: Int) -> Bool {
        if unsafe codeLines[page].load(ordering: .relaxed) != 0 { return false }
        return !isLogging || isDirty(page)
    }

    public func isDirty(_ page: Int) -> Bool {
        unsafe dirty[page / 64].load(ordering: .relaxed) & (1 << UInt64(page % 64)) != 0
    }

    /// Logs a store; true where the page was clean before.
    @discardableResult
    public func markDirty(_ page: Int) -> Bool {
        guard isLogging else { return false }
        let bit: UInt64 = 1 << UInt64(page % 64)
        return unsafe dirty[page / 64].bitwiseOr(bit, ordering: .relaxed).oldValue & bit == 0
    }

    /// The lines (bit n: bytes 64n…64n+63) of `page` from which code has been decoded.
    public func codeLines(_ page: Int) -> UInt64 { unsafe codeLines[page].load(ordering: .acquiring) }

    /// Adds lines; true where the page had none before (stale write translations must then be dropped).
    public func addCodeLines(_ page: Int, _ lines: UInt64) -> Bool {
        unsafe codeLines[page].bitwiseOr(lines, ordering: .sequentiallyConsistent).oldValue == 0
    }

    /// The lines of `count` bytes at `offset` in a page, as far as they lie in it.
    @inline(__always) public static func lines(at offset: Int, count: Int) -> UInt64 {
        let first = UInt64(offset / 64), last = UInt64(min((offset + count - 1) / 64, 63))
        return (UInt64.max << first) & (UInt64.max >> (63 - last))
    }

    public func removeCodeLines(_ page: Int, _ lines: UInt64) {
        _ = unsafe codeLines[page].bitwiseAnd(~lines, ordering: .sequentiallyConsistent)
    }

    /// Every page is clean, or dirty.
    public func setDirty(_ isDirty: Bool) {
        for index in 0..<wordCount {
            let pages = min(pageCount - index * 64, 64)
            let all: UInt64 = pages == 64 ? .max : 1 << UInt64(pages) - 1
            unsafe dirty[index].store(isDirty ? all : 0, ordering: .relaxed)
        }
    }

    /// Word `index` of the dirty bitmap, fetched and cleared by `mask`.
    public func takeDirty(word index: Int, mask: UInt64 = .max) -> UInt64 {
        unsafe dirty[index].bitwiseAnd(~mask, ordering: .relaxed).oldValue & mask
    }

    /// Word `index` of the dirty bitmap.
    public func dirtyWord(_ index: Int) -> UInt64 { unsafe dirty[index].load(ordering: .relaxed) }

    public var dirtyWordCount: Int { wordCount }
}

/// The lines of a stretch of host memory from which code has been decoded, for all regions that show it.
@safe public final class CodeLines: @unchecked Sendable {
    public let pageCount: Int
    // SAFETY: `pageCount` atomics, which live as long as this object.
    fileprivate let lines: UnsafeMutablePointer<Atomic<UInt64>>

    /// - Returns: nil where there is no room.
    public init?(pageCount: Int) {
        guard let lines = unsafe calloc(max(pageCount, 1), MemoryLayout<Atomic<UInt64>>.stride) else { return nil }
        self.pageCount = pageCount
        // SAFETY: zeros are what such atomics begin as.
        unsafe self.lines = lines.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    deinit { unsafe free(lines) }
}
