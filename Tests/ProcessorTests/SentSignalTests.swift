import Glibc
import GuestMemory
import Synchronization
import TestLimits
import Testing

@testable import Processor

/// SIGSEGV and SIGBUS that were sent, or tell of memory that nobody has touched: they are the client's, whatever lies where the
/// address of a fault would. sigaction(2). In processes of their own, whose handlers are no other test's.
@Suite(.within(minutes: 20)) struct SentSignalTests {
    private static let served = Atomic<Int>(0)

    /// What a client would have installed before its first guest runs.
    private static func install() {
        for signal in [SIGSEGV, SIGBUS] {
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_sigaction = { _, _, _ in
                _ = SentSignalTests.served.add(1, ordering: .sequentiallyConsistent)
            }
            action.sa_flags = SA_SIGINFO
            unsafe sigaction(signal, &action, nil)
        }
    }

    /// rt_tgsigqueueinfo(2), by which a thread may say anything to itself.
    private static func sendToThisThread(_ signal: Int32, code: Int32, address: UInt) -> Bool {
        typealias Call = @convention(c) (Int, Int, Int, Int, UnsafeMutablePointer<siginfo_t>) -> Int
        guard let function = unsafe dlsym(nil, "syscall") else { return false }
        let call = unsafe unsafeBitCast(function, to: Call.self)
        var information = unsafe siginfo_t()
        unsafe information.si_signo = signal
        unsafe information.si_code = code
        unsafe information._sifields._sigfault.si_addr = unsafe UnsafeMutableRawPointer(bitPattern: address)
        return unsafe call(297, Int(getpid()), Int(gettid()), Int(signal), &information) == 0
    }

    @Test func theClientsHandlerServesThem() async {
        await #expect(processExitsWith: .success) {
            SentSignalTests.install()
            let codes: [(Int32, Int32)] = [(SIGSEGV, -1), (SIGBUS, -1), (SIGSEGV, 0), (SIGSEGV, -6), (SIGBUS, 5)]
            for (signal, code) in codes {
                // lock add [rdi], eax, across pages, for which the host is asked to stop others; hlt
                let machine = try SystemMachine.long([0xF0, 0x01, 0x07, 0xF4])
                machine.state.registers[7] = 0x8_FFFE
                let address = unsafe UInt(bitPattern: machine.memory.hostAddress) + 0x9_0000
                var isSent = false
                machine.host.onStop = {
                    isSent = SentSignalTests.sendToThisThread(signal, code: code, address: address)
                }
                let before = SentSignalTests.served.load(ordering: .sequentiallyConsistent)
                let exit = machine.processor.run()
                #expect(exit == .halted && isSent, "signal \(signal), code \(code)")
                #expect(SentSignalTests.served.load(ordering: .sequentiallyConsistent) == before + 1)
            }
        }
    }

    @Test func theDefaultActionEndsTheProcess() async {
        await #expect(processExitsWith: .signal(SIGSEGV)) {
            signal(SIGSEGV, SIG_DFL)
            let machine = try SystemMachine.long([0xF4])
            try #require(machine.processor.run() == .halted)
            pthread_kill(pthread_self(), SIGSEGV)
            // Not one that was taken away without a word.
            Glibc.exit(3)
        }
    }

    @Test func whatIsIgnoredStaysSoAndFaultsAreStillServed() async {
        await #expect(processExitsWith: .success) {
            signal(SIGSEGV, SIG_IGN)
            let machine = try SystemMachine.long([0xF4, 0x8B, 0x07, 0xF4])  // hlt; mov eax, [rdi]; hlt
            try #require(machine.processor.run() == .halted)
            pthread_kill(pthread_self(), SIGSEGV)
            machine.state.registers[7] = 0x9_0000
            unsafe mprotect(machine.memory.hostAddress + 0x9_0000, 4096, PROT_NONE)
            guard case .hostFault = machine.processor.run() else {
                Issue.record("\(machine.processor.exit)")
                return
            }
        }
    }
}
