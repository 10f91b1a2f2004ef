// What a client answers to an exit, and to which instruction.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct AnswerTests {
    /// The client has moved RIP after an exit: what it answered was another instruction's.
    @Test(arguments: ["in eax, 0x60", "out 0x60, eax", "mov eax, [0x600000]", "mov [0x600000], eax"])
    func anAnswerIsNotAppliedToAnotherInstruction(_ instruction: String) throws {
        let machine = try TestMachine(
            .software, source: "\(instruction)\nhlt\nalign 0x100\n\(instruction)\nhlt\n")
        var cpu = try machine.makeCPU()
        var reasons: [ExitReason] = []
        for moves in [true, false] {
            try cpu.run()
            reasons.append(cpu.exit.reason)
            switch cpu.exit {
            case .portIn(let input): input.answer(moves ? 0x1111 : 0x2222)
            case .mmioRead(let read): read.answer(moves ? 0x1111 : 0x2222)
            case .portOut, .mmioWrite: break
            case let exit: throw Unexpected(exit)
            }
            if moves { try cpu.update { $0.rip = Place.code + 0x100 } }
        }
        #expect(reasons[0] == reasons[1])
        try cpu.run()
        guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) }
        let takes = reasons[0] == .io ? instruction.hasPrefix("in ") : instruction.hasPrefix("mov eax")
        #expect(try cpu.generalRegisters().rax == (takes ? 0x2222 : 0))
    }
}
