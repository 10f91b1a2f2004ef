import GuestMemory
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// The client takes memory away that emitted code has just used: each kind of access ends the run at its instruction, with the state
/// that it has in the interpreter, and goes on when the memory is back.
@Suite(.serialized, .within(minutes: 10)) struct TranslatedFaultTests {
    private static let data = RandomGuest.window + 3 << 12 + 0x100

    /// An access at RBX, written by `write`; `leads`: the memory there holds the address behind it.
    struct Access: CustomStringConvertible, Sendable {
        var description: String
        var leads = false
        var write: @Sendable (inout Assembler) -> Void

        init(_ name: String, leads: Bool = false, _ write: @escaping @Sendable (inout Assembler) -> Void) {
            description = name
            self.leads = leads
            self.write = write
        }

        init(_ name: String, bytes: [UInt8]) { self.init(name) { $0.bytes(bytes) } }
    }

    static let accesses: [Access] = [
        Access("mov rax, [rbx]") { $0.mov(.rax, .at(.rbx)) },
        Access("mov [rbx + 8], rax") { $0.mov(.at(.rbx, 8), .rax) },
        Access("mov byte [rbx], 5") { $0.mov(.at(.rbx), 5, .byte) },
        Access("adc edx, [rbx]") { $0.adc(.rdx, .at(.rbx), .long) },
        Access("sbb [rbx], dx") { $0.sbb(.at(.rbx), .rdx, .word) },
        Access("neg qword [rbx]") { $0.neg(.at(.rbx), .quad) },
        Access("rcl dword [rbx], 3") { $0.rcl(.at(.rbx), 3, .long) },
        Access("setc [rbx]") { $0.setcc(.b, .at(.rbx)) },
        Access("cmovc rax, [rbx]") { $0.cmovcc(.b, .rax, .at(.rbx)) },
        Access("movzx r11d, byte [rbx]") { $0.movzx(.r11, .at(.rbx), from: .byte, .long) },
        Access("xchg [rbx], rsi") { $0.xchg(.at(.rbx), .rsi) },
        Access("lock xadd [rbx], r10", bytes: [0xF0, 0x4C, 0x0F, 0xC1, 0x13]),
        Access("lock cmpxchg [rbx], r9", bytes: [0xF0, 0x4C, 0x0F, 0xB1, 0x0B]),
        Access("lock cmpxchg16b [rbx]", bytes: [0xF0, 0x48, 0x0F, 0xC7, 0x0B]),
        Access("bts [rbx], rdx", bytes: [0x83, 0xE2, 0x3F, 0x48, 0x0F, 0xAB, 0x13]),
        Access("push qword [rbx]", bytes: [0xFF, 0x33, 0x58]),
        Access("pop qword [rbx]", bytes: [0x50, 0x8F, 0x03]),
        Access("push rax there") {
            $0.lea(.rsp, .at(.rbx, 64))
            $0.push(.rax)
        },
        Access("pop rsi there") {
            $0.mov(.rsp, .rbx)
            $0.pop(.rsi)
        },
        Access("pushf there") {
            $0.lea(.rsp, .at(.rbx, 64))
            $0.pushf()
        },
        Access("leave") {
            $0.mov(.rbp, .rbx)
            $0.bytes(0xC9)
        },
        Access("enter", bytes: [0x48, 0x8D, 0x63, 0x40, 0xC8, 8, 0, 0]),
        Access("call from there", bytes: [0x48, 0x8D, 0x63, 0x40, 0xE8, 0, 0, 0, 0]),
        Access("call [rbx]", leads: true, { $0.bytes(0xFF, 0x13) }),
        Access("jmp [rbx]", leads: true, { $0.bytes(0xFF, 0x23) }),
        Access(
            "ret", leads: true,
            {
                $0.mov(.rsp, .rbx)
                $0.ret()
            }),
        Access("movsq from there", bytes: [0x48, 0x89, 0xDE, 0x4C, 0x89, 0xE7, 0x48, 0xA5]),
        Access(
            "rep stosb", bytes: [0x49, 0x89, 0xCF, 0xB9, 20, 0, 0, 0, 0x48, 0x89, 0xDF, 0xF3, 0xAA, 0x4C, 0x89, 0xF9]),
        Access(
            "rep movsb",
            bytes: [
                0x49, 0x89, 0xCF, 0xB9, 20, 0, 0, 0, 0x48, 0x89, 0xDE, 0x4C, 0x89, 0xE7, 0xF3, 0xA4, 0x4C, 0x89, 0xF9,
            ]),
        Access("cmpsb", bytes: [0x48, 0x89, 0xDE, 0x4C, 0x89, 0xE7, 0xA6]),
        Access("scasd", bytes: [0x48, 0x89, 0xDF, 0xAF]),
        Access("movups xmm1, [rbx]", bytes: [0x0F, 0x10, 0x0B]),
        Access("movups [rbx], xmm1", bytes: [0x0F, 0x11, 0x0B]),
        Access("addsd xmm2, [rbx]", bytes: [0xF2, 0x0F, 0x58, 0x13]),
        Access("paddd xmm3, [rbx]", bytes: [0x66, 0x0F, 0xFE, 0x1B]),
        Access("fld qword [rbx]", bytes: [0xDD, 0x03, 0xDD, 0xD8]),
        Access("fstp qword [rbx]", bytes: [0xD9, 0xE8, 0xDD, 0x1B]),
        Access("fxsave [rbx]", bytes: [0x0F, 0xAE, 0x03]),
    ]

    @Test(.enabled(if: LockstepTests.isPossible, "this host can't run translated code"), arguments: accesses)
    func memoryThatGoesEndsTheRunExactly(_ access: Access) throws {
        for threshold: UInt32 in [1, 10] {
            let pair = try ExecutorPair(ExecutorOptions(.translator, threshold: threshold, codeCacheSize: 1 << 20))
            var a = Assembler()
            let start = a.here()
            a.mov(.rcx, 60, .long)
            let again = a.here()
            a.mov(.rbx, Int(Self.data))
            a.mov(.r12, Int(RandomGuest.window) + 0x200)
            a.mov(.rsp, Int(SystemMachine.kernelStack))
            a.add(.rdx, 0x1111_1111, .long)
            access.write(&a)
            let behind = a.here()
            a.adc(.rax, .rdx)
            a.dec(.rcx, .long)
            a.jcc(.nz, again)
            a.out(0x10, .byte)
            a.jmp(start)
            let code = a.finished()
            let target = RandomGuest.code + UInt64(code.offset(of: behind))
            try pair.prepare(code: code.bytes) { machine in
                let place = RandomGuest.place(3) + 0x100
                if access.leads { try machine.memory.store(target, at: place) }
            }
            try expect(pair, .portWrite(port: 0x10, size: 1, count: 1))
            for _ in 0..<2 {
                pair.show(page: 3, false)
                let end = try expect(pair, nil)
                guard case .hostFault = end else { throw Unexpected(exit: end) }
                pair.show(page: 3, true)
                try expect(pair, .portWrite(port: 0x10, size: 1, count: 1))
            }
            #expect(pair.translated.processor.translationCounters?.systemInstructions ?? 0 > 100)
        }
    }

    struct Unexpected: Error { var exit: ProcessorExit }

    /// Both end in the same way, in the same state.
    @discardableResult private func expect(_ pair: ExecutorPair, _ wanted: ProcessorExit?) throws -> ProcessorExit {
        let (difference, ends) = pair.run()
        #expect(difference.isEmpty, "\(difference)")
        if let wanted { #expect(ends[0] == wanted) }
        return ends[0]
    }
}
