import Foundation
import Glibc
import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// Vector state in translated code: programs whose every way in and out of it is taken while registers and MXCSR are in the
/// host's. The interpreter, which keeps them in memory, says how each must end.
@Suite(.within(minutes: 20)) struct TranslatedVectorTests {
    private static let data: UInt64 = 0x9_0000
    /// What is executed is translated at once, where the host can run such code.
    private static let translating = ExecutorOptions(.translator, threshold: 1, codeCacheSize: 1 << 20)

    struct Program: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var features: Features = []
        var turns = 40
        /// Executed so many times, RCX counting down; RDI points at data.
        let body: @Sendable (inout Assembler) -> Void
        /// Behind the loop, in front of a HLT.
        var end: @Sendable (inout Assembler) -> Void = { _ in }
        /// Made ready before it runs.
        var prepare: @Sendable (SystemMachine) throws -> Void = { _ in }

        var code: [UInt8] {
            Assembler.code { a in
                a.mov(.rcx, turns, .long)
                let loop = a.here()
                body(&a)
                a.dec(.rcx, .long)
                a.jcc(.nz, loop)
                end(&a)
                a.hlt()
            }
        }
    }

    static let programs: [Program] = [
        Program(testDescription: "addps, mulps, over a jump to another page") { a in
            let back = a.label(), there = a.label(), over = a.label()
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.jmp(there, .near)
            a.place(back)
            a.bytes(0x0F, 0x59, 0xD0)  // mulps xmm2, xmm0
            a.jmp(over, .near)
            a.bytes([UInt8](repeating: 0x90, count: 4096))
            a.place(there)
            a.bytes(0x0F, 0x5C, 0xC8)  // subps xmm1, xmm0
            a.jmp(back, .near)
            a.place(over)
        },
        Program(testDescription: "both widths of AVX, and SSE that keeps upper halves", features: [Features(.avx)]) {
            a in
            a.bytes(0xC5, 0xDC, 0x58, 0xDD)  // vaddps ymm3, ymm4, ymm5
            a.bytes(0xC5, 0xE0, 0x58, 0xF4)  // vaddps xmm6, xmm3, xmm4
            a.bytes(0x0F, 0x58, 0xE3)  // addps xmm4, xmm3
            a.bytes(0xC4, 0xC1, 0x7C, 0x11, 0x2A)  // vmovups [r10], ymm5
            a.bytes(0xC5, 0x84, 0x59, 0x3F)  // vmulps ymm7, ymm15, [rdi]
        },
        Program(testDescription: "an exit to the interpreter in each turn", features: [Features(.avx)]) { a in
            a.bytes(0xC5, 0xDC, 0x58, 0xE5)  // vaddps ymm4, ymm4, ymm5
            a.push(.rcx)
            a.xor(.rcx, .rcx)
            a.xgetbv()
            a.pop(.rcx)
        } end: { a in
            a.bytes(0xC5, 0xFC, 0x11, 0x27)  // vmovups [rdi], ymm4
        },
        Program(testDescription: "vzeroupper", features: [Features(.avx)]) { a in
            a.bytes(0xC5, 0xDC, 0x58, 0xE5)  // vaddps ymm4, ymm4, ymm5
            a.vzeroupper()
            a.bytes(0x0F, 0x58, 0xE3)  // addps xmm4, xmm3
        },
        Program(testDescription: "general registers, some of which are in memory") { a in
            a.bytes(0xF2, 0x4C, 0x0F, 0x2C, 0xC8)  // cvttsd2si r9, xmm0
            a.bytes(0xF3, 0x4D, 0x0F, 0x2A, 0xD2)  // cvtsi2ss xmm10, r10
            a.bytes(0x66, 0x4D, 0x0F, 0x6E, 0xDB)  // movq xmm11, r11
            a.bytes(0x66, 0x41, 0x0F, 0x7E, 0xC2)  // movd r10d, xmm0
            a.bytes(0x44, 0x0F, 0x50, 0xD9)  // movmskps r11d, xmm1
            a.bytes(0xF2, 0x4E, 0x0F, 0x2C, 0x14, 0x8F)  // cvttsd2si r10, [rdi + r9 * 4]
            a.bytes(0x66, 0x0F, 0xC4, 0xE4, 0x03)  // pinsrw xmm4, esp, 3
        } prepare: {
            for index in [0, 9, 10, 11] { $0.state.registers[index] = 0 }
            for index in 20..<52 { $0.state.xsave[index] = (2.0).bitPattern }
        },
        Program(testDescription: "flags by comparisons") { a in
            a.bytes(0x0F, 0x2E, 0xC1)  // ucomiss xmm0, xmm1
            a.setcc(.b, .rax)
            a.setcc(.p, .rdx)
            a.setcc(.nz, .r10)
            a.bytes(0x0F, 0x58, 0xC2)  // addps xmm0, xmm2
            a.bytes(0x0F, 0x2F, 0x07)  // comiss xmm0, [rdi]
            a.pushf()
            a.pop(.rbx)
            a.add(.rsi, .rbx)
        },
        Program(testDescription: "strings", features: [Features(.sse4_2)]) { a in
            a.push(.rcx)
            a.mov(.rax, 9, .long)
            a.mov(.rdx, 16, .long)
            a.bytes(0x66, 0x0F, 0x3A, 0x61, 0x07, 0x0C)  // pcmpestri xmm0, [rdi], equal ordered
            a.setcc(.b, .rbx)
            a.add(.rsi, .rcx)
            a.bytes(0x66, 0x0F, 0x3A, 0x62, 0xC9, 0x40)  // pcmpistrm xmm1, xmm1, 40h
            a.bytes(0x66, 0x0F, 0x38, 0x17, 0xC1)  // ptest xmm0, xmm1
            a.setcc(.z, .rbp)
            a.pop(.rcx)
        },
        Program(testDescription: "blending by XMM0", features: [Features(.sse4_1)]) { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.bytes(0x66, 0x0F, 0x38, 0x14, 0xD3)  // blendvps xmm2, xmm3, xmm0
        },
        Program(testDescription: "masked moves and gathers", features: [Features(.avx2)]) { a in
            a.bytes(0xC4, 0xE2, 0x55, 0x8C, 0x0F)  // vpmaskmovd ymm1, ymm5, [rdi]
            a.bytes(0xC4, 0xE2, 0x55, 0x8E, 0x4F, 0x40)  // vpmaskmovd [rdi + 40h], ymm5, ymm1
            a.bytes(0xC4, 0xE2, 0x55, 0x92, 0x1C, 0xA7)  // vgatherdps ymm3, [rdi + ymm4 * 4], ymm5
            a.bytes(0xC5, 0xD4, 0xC2, 0xE9, 0x0F)  // vcmpps ymm5, ymm5, ymm1, true
        } prepare: {
            // ymm4 = 0…7, ymm5 = every other element
            for (index, word) in [28, 29, 80, 81].enumerated() {
                $0.state.xsave[word] = UInt64(index * 2) | UInt64(index * 2 + 1) << 32
            }
            for word in [30, 31, 82, 83] { $0.state.xsave[word] = 0x8000_0000 }
        },
        Program(testDescription: "an operand that crosses a page, and aligned ones beside it") { a in
            a.bytes(0x0F, 0x10, 0x87, 0xF9, 0x0F, 0, 0)  // movups xmm0, [rdi + ff9h]
            a.bytes(0x0F, 0x58, 0x87, 0xF0, 0x0F, 0, 0)  // addps xmm0, [rdi + ff0h]
            a.bytes(0x0F, 0x11, 0x87, 0xF9, 0x0F, 0, 0)  // movups [rdi + ff9h], xmm0
        },
        // MARK: MXCSR
        Program(testDescription: "rounding from the state, flags to it") { a in
            a.bytes(0x0F, 0x5E, 0xC1)  // divps xmm0, xmm1
        } prepare: {
            $0.state.xsave[3] = 0x7F80 | 0xFFFF_0000_0000
        },
        Program(testDescription: "ldmxcsr and stmxcsr") { a in
            a.bytes(0x0F, 0xAE, 0x5F, 0x08)  // stmxcsr [rdi + 8]
            a.xor(.at(.rdi, 8), 0x6000, .long)
            a.bytes(0x0F, 0xAE, 0x57, 0x08)  // ldmxcsr [rdi + 8]
            a.bytes(0x0F, 0x5E, 0xC1)  // divps xmm0, xmm1
            a.bytes(0x0F, 0xAE, 0x5F, 0x0C)  // stmxcsr [rdi + 12]
            a.add(.rsi, .at(.rdi, 12))
        },
        Program(testDescription: "ldmxcsr that unmasks, and masks again, with flags between") { a in
            a.bytes(0x0F, 0xAE, 0x5F, 0x08)  // stmxcsr [rdi + 8]
            a.xor(.at(.rdi, 8), 0x0200, .long)
            a.bytes(0x0F, 0xAE, 0x57, 0x08)  // ldmxcsr [rdi + 8]
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
        } prepare: {
            $0.state.xsave[3] = 0x1F80 | 0xFFFF_0000_0000
        },
        Program(testDescription: "ldmxcsr of a reserved bit") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.shl(.rax, 16)
            a.or(.rax, 0x1F80, .long)
            a.mov(.at(.rdi), .rax, .long)
            a.bytes(0x0F, 0xAE, 0x17)  // ldmxcsr [rdi]
        },
        Program(testDescription: "an unmasked exception") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.bytes(0x0F, 0x28, 0xD0)  // movaps xmm2, xmm0
            a.mov(.rax, .rcx, .long)
            a.sub(.rax, 5, .long)
            a.bytes(0xF3, 0x0F, 0x2A, 0xD8)  // cvtsi2ss xmm3, eax
            a.bytes(0xF3, 0x0F, 0x5E, 0xD3)  // divss xmm2, xmm3
        } prepare: {
            $0.state.xsave[3] = 0x1D80 | 0xFFFF_0000_0000
        },
        // MARK: Faults
        Program(testDescription: "an operand that isn't aligned any more") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.add(.rax, 0)  // no flag is undefined
            a.bytes(0x0F, 0x58, 0x04, 0x07)  // addps xmm0, [rdi + rax]
        },
        Program(testDescription: "a page that isn't there") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.shl(.rax, 30)
            a.add(.rax, 0)
            a.bytes(0x0F, 0x11, 0x04, 0x07)  // movups [rdi + rax], xmm0
        },
        Program(testDescription: "an address that isn't canonical") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.shl(.rax, 60)
            a.add(.rax, 0)
            a.bytes(0x0F, 0x10, 0x04, 0x07)  // movups xmm0, [rdi + rax]
        },
        Program(testDescription: "an interrupt that STI lets in") { a in
            let shut = a.label()
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.cmp(.rcx, 5, .long)
            a.jcc(.nz, shut)
            a.sti()
            a.place(shut)
            a.bytes(0x0F, 0x59, 0xC1)  // mulps xmm0, xmm1
        } prepare: {
            $0.host.interrupts = [0x41]
            $0.processor.request(.interrupt)
        },
        Program(testDescription: "nothing of it while CR0.TS is set") { a in
            let clear = a.label()
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.cmp(.rcx, 5, .long)
            a.jcc(.nz, clear)
            a.mov(.rax, control: 0)
            a.or(.rax, 8)
            a.mov(control: 0, .rax)
            a.place(clear)
            a.bytes(0x0F, 0x59, 0xC1)  // mulps xmm0, xmm1
        },
    ]

    private static func machine(_ program: Program, translated: Bool) throws -> SystemMachine {
        let machine = try SystemMachine.long(
            program.code, executor: translated ? translating : ExecutorOptions(.interpreter))
        machine.state.cr4 |= 0x600 | 1 << 18
        machine.state.xcr0 = 7
        machine.state.registers[0] = 0x1122_3344_5566_7788
        machine.state.registers[7] = data
        machine.state.registers[10] = data + 0x100
        machine.state.xsave[3] = 0x1F80 | 0xFFFF_0000_0000
        // 1.5 and 3.0 in turn, 1.25 in XMM1.
        for index in 20..<52 { machine.state.xsave[index] = 0x4040_0000_3FC0_0000 }
        for index in 22..<24 { machine.state.xsave[index] = 0x3FA0_0000_3FA0_0000 }
        for index in 72..<104 { machine.state.xsave[index] = 0x3FA0_0000_4040_0000 }
        for offset in 0..<1024 as Range<UInt64> {
            try machine.memory.store(0x3F80_0000 + UInt32(offset) << 12, at: data + offset * 8)
        }
        try program.prepare(machine)
        machine.processor.stateChanged()
        return machine
    }

    @Test(arguments: programs) func endsAsTheInterpreterHasIt(_ program: Program) throws {
        guard HostProcessor.offered.isSuperset(of: program.features) else { return }
        let reference = try Self.machine(program, translated: false),
            machine = try Self.machine(program, translated: true)
        let exits = [reference, machine].map { $0.processor.run() }
        #expect(exits[0] == exits[1])
        #expect(try VisibleState(machine) == VisibleState(reference))
        #expect(machine.hasTranslated)
    }

    /// Page by page the host takes its memory away while the loop runs, and gives it back.
    @Test(arguments: [0x58, 0x10, 0x11] as [UInt8]) func theHostsMemoryIsGone(_ opcode: UInt8) throws {
        let program = Program(testDescription: "") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.bytes(0x0F, opcode, 0x07)
        }
        let reference = try Self.machine(program, translated: false),
            machine = try Self.machine(program, translated: true)
        #expect(machine.processor.run() == .halted && reference.processor.run() == .halted)
        for machine in [reference, machine] {
            machine.state.rip = SystemMachine.code
            let place = unsafe machine.memory.hostAddress + Int(Self.data)
            unsafe mprotect(place, 4096, PROT_NONE)
            for _ in 0..<2 {
                guard case .hostFault = machine.processor.run() else {
                    Issue.record("nothing met the page: \(machine.processor.exit)")
                    return
                }
            }
            unsafe mprotect(place, 4096, PROT_READ | PROT_WRITE)
        }
        #expect(try VisibleState(machine) == VisibleState(reference))
        #expect(machine.processor.run() == .halted && reference.processor.run() == .halted)
        #expect(try VisibleState(machine) == VisibleState(reference))
    }

    /// Another thread's interrupt finds registers as they are between two turns.
    @Test func anInterruptInTheLoop() throws {
        let code = Assembler.code { a in
            let loop = a.here()
            a.bytes(0x66, 0x0F, 0xFE, 0xC1)  // paddd xmm0, xmm1
            a.add(.rax, 1)
            a.mov(.at(.rdi), .rax)
            a.jmp(loop)
        }
        let machine = try SystemMachine.long(code, executor: Self.translating)
        machine.state.cr4 |= 0x600 | 1 << 18
        machine.state.xcr0 = 7
        machine.state.registers[7] = Self.data
        machine.state.registers[0] = 0
        machine.state.xsave[22] = 1
        machine.processor.rflags |= RFLAGS.IF.rawValue
        machine.processor.stateChanged()
        machine.host.interrupts = [0x41]
        let processor = machine.processor
        // SAFETY: the page lives as long as the machine; the vCPU is the one that writes, and a torn word is no matter.
        nonisolated(unsafe) let place = unsafe (machine.memory.hostAddress + Int(Self.data))
        nonisolated(unsafe) let requested = processor
        let thread = Thread {
            while unsafe place.load(as: UInt32.self) < 1000 { sched_yield() }
            unsafe requested.request(.interrupt)
        }
        thread.start()
        #expect(try machine.runToVector() == 0x41)
        let interrupted = try machine.stack(1, size: 8)[0] - SystemMachine.code
        let count = UInt32(truncatingIfNeeded: machine.state.registers[0])
        #expect(UInt32(truncatingIfNeeded: machine.state.xsave[20]) == count &+ (interrupted == 4 ? 1 : 0))
        #expect(count >= 1000 && machine.hasTranslated)
    }
}

extension SystemMachine {
    /// Something has been translated; or the host can't run such code.
    var hasTranslated: Bool {
        guard let translator = processor.translator else { return !HostProcessor.hasFSGSBASE }
        return translator.cache.used > (translator.common.bytes.count + 15) & ~15
    }
}

/// What a guest or its client can see.
struct VisibleState: Equatable {
    var registers: [UInt64]
    var area: [UInt64]
    var others: [UInt64]
    var memory: [UInt8]

    init(_ machine: SystemMachine) throws {
        let state = machine.state
        registers = (0..<16).map { state.registers[$0] }
        area = (0..<128).map { state.xsave[$0] }
        others = [state.rip, machine.processor.rflags, UInt64(state.cpl), UInt64(state.interruptShadow), state.cr2]
        others += [state.cr0, state.pendingException.isPending ? 1 : 0]
        // Tables and stacks, and data.
        memory = try machine.memory.read(count: 0x8000, at: 0) + machine.memory.read(count: 0x4000, at: 0x9_0000)
    }
}
