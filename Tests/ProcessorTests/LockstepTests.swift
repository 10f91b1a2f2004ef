import Glibc
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// The same random guests on the interpreter and on the translator, side by side: at each exit the same state and the same memory.
@Suite(.serialized, .within(minutes: 20, long: 60)) struct LockstepTests {
    /// At the first execution; with a cache that is emptied again and again; after some executions, in the middle of loops; with all
    /// accesses, or those that wander at all, by the table of translations.
    static let translators = [
        ExecutorOptions(.translator, threshold: 1, codeCacheSize: 8 << 20),
        ExecutorOptions(.translator, threshold: 1, codeCacheSize: ExecutorOptions.leastCodeCache),
        ExecutorOptions(.translator, threshold: 5, codeCacheSize: 8 << 20),
        checking(slotChanges: 0), checking(slotChanges: 2),
    ]

    private static func checking(slotChanges: UInt8) -> ExecutorOptions {
        var options = ExecutorOptions(.translator, threshold: 1, codeCacheSize: 8 << 20)
        options.slotChanges = slotChanges
        return options
    }

    static let isPossible = TestExecutor.present.count > 1

    @Test(.enabled(if: isPossible, "this host can't run translated code"), arguments: translators)
    func bothDoTheSame(_ translator: ExecutorOptions) throws {
        let pair = try ExecutorPair(translator)
        let start = unsafe getenv("MARTLET_SEED").flatMap { unsafe UInt64(String(cString: $0)) } ?? 1
        let seconds = unsafe getenv("MARTLET_LONG_TESTS").flatMap { unsafe UInt64(String(cString: $0)) } ?? 0
        let end = TranslationCounters.now + seconds * 1_000_000_000
        var seed = start
        while seed < start + 600 || TranslationCounters.now < end {
            if let difference = try pair.difference(ofGuest: seed) {
                Issue.record("seed \(seed): \(difference)")
                return
            }
            seed += 1
        }
        let counters = try #require(pair.translated.processor.translationCounters)
        print("\(seed - start) guests, \(pair.exits) exits; \(counters)")
        // Where guests follow each other in one page, code is not translated for long if a threshold puts it off.
        #expect(counters.systemInstructions > (translator.threshold == 1 ? 100_000 : 0))
        #expect(counters.coldExits > 0 && counters.invalidations > 0)
        if translator.codeCacheSize == ExecutorOptions.leastCodeCache { #expect(counters.evictions > 10) }
    }
}
