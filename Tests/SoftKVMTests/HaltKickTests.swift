// A kick of a vCPU that waits in HLT, with nothing else to wake it.

import Foundation
import Glibc
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct HaltKickTests {
    /// The state of a thread of this process, as proc(5) has it: S while it sleeps.
    private static func state(of thread: pid_t) -> Character? {
        let text = (try? String(contentsOfFile: "/proc/self/task/\(thread)/stat", encoding: .utf8)) ?? ""
        // The name, in brackets, may hold anything.
        return text.split(separator: ")").last?.first { $0 != " " }
    }

    /// The guest has said that it halts, and its thread sleeps: the kick has to wake it.
    @Test(arguments: hypervisors)
    func aKickEndsTheWait(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, .real, source: "cli\ninc dword [0x8000]\nhlt") {
            try $0.createInterruptControllers()
        }
        var cpu = try machine.makeCPU()
        let kick = cpu.kickHandle
        let thread = gettid()
        let helper = Helper {
            try machine.memory.waitWhile(0, at: 0x8000)
            while Self.state(of: thread) != "S" { sched_yield() }
            kick.kick()
        }
        try cpu.run()
        guard case .interrupted = cpu.exit else { throw Unexpected(cpu.exit) }
        try helper.join()
        #expect(try cpu.multiprocessorState() == .halted)
    }
}
