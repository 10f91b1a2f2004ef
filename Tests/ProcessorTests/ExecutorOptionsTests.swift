import TestLimits
import Testing

@testable import Processor

/// Which executor a choice comes to, here and on hosts that lack something.
@Suite(.within(minutes: 5)) struct ExecutorOptionsTests {
    static let able = TranslatorSupport(hasFSGSBASE: true, hasExecutableMemory: true)
    static let unable = [
        TranslatorSupport(hasFSGSBASE: false, hasExecutableMemory: true),
        TranslatorSupport(hasFSGSBASE: true, hasExecutableMemory: false),
    ]

    @Test func byName() throws {
        #expect(try ExecutorOptions(.interpreter).resolved(on: Self.able).options.executor == .interpreter)
        #expect(try ExecutorOptions(.translator).resolved(on: Self.able).options.executor == .translator)
        for host in Self.unable {
            #expect(try ExecutorOptions(.interpreter).resolved(on: host).options.executor == .interpreter)
            let error = #expect(throws: ExecutorUnavailable.self) {
                try ExecutorOptions(.translator).resolved(on: host)
            }
            let text = error?.description ?? ""
            #expect(text.contains(host.missing ?? "-") && text.contains("interpreter") && !text.contains("\n"))
        }
    }

    /// What can't run is never chosen, and the reason is the host's.
    @Test func automatically() throws {
        for host in Self.unable {
            let (options, reason) = try ExecutorOptions().resolved(on: host)
            #expect(options.executor == .interpreter)
            if ExecutorOptions.preferred.executor == .translator { #expect(reason.contains(host.missing ?? "-")) }
        }
        let taken = try ExecutorOptions().resolved(on: Self.able).options
        #expect(taken == ExecutorOptions.preferred)
    }

    /// What a processor uses is what was asked for, with its measures kept in their bounds.
    @Test func aProcessorTakesIt() {
        let options = ExecutorOptions(.translator, threshold: 0, codeCacheSize: 1)
        #expect(options.threshold == 1 && options.codeCacheSize == ExecutorOptions.leastCodeCache)
        let owner = ProcessorFixture()
        let interpreter = VirtualProcessor(memory: owner.memory, host: owner, executor: ExecutorOptions(.interpreter))
        #expect(interpreter.executor.executor == .interpreter && interpreter.translator == nil)
        guard TranslatorSupport.host.missing == nil else { return }
        let translator = VirtualProcessor(memory: owner.memory, host: owner, executor: options)
        #expect(translator.executor == options)
        #expect(translator.translator?.cache.size == ExecutorOptions.leastCodeCache)
    }

    /// Memory that the host does not give: the interpreter, and it is shown.
    @Test func withoutMemoryForCode() {
        let owner = ProcessorFixture()
        let options = ExecutorOptions(.translator, codeCacheSize: 1 << 50)
        let processor = VirtualProcessor(memory: owner.memory, host: owner, executor: options)
        #expect(processor.executor.executor == .interpreter && processor.translator == nil)
    }
}
