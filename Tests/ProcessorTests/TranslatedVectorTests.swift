import Foundation
import Glibc
import GuestMemory
import TestLimits
import TestSupport
import Testing
import X86

@testable import Processor

/// Vector and x87 state in translated code: programs whose every way in and out of it is taken while registers and MXCSR are in
/// the host's. The interpreter, which keeps them in memory, says how each must end.
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
        // MARK: x87 and MMX
        Program(testDescription: "x87 arithmetic, and where it was last") { a in
            a.bytes(0xD9, 0x07)  // fld dword [rdi]
            a.bytes(0xD8, 0x47, 0x08)  // fadd dword [rdi + 8]
            a.bytes(0xDC, 0x4F, 0x10)  // fmul qword [rdi + 16]
            a.bytes(0xD9, 0xFA)  // fsqrt
            a.bytes(0xDB, 0x7F, 0x20)  // fstp tword [rdi + 32]
        },
        Program(testDescription: "an x87 stack that overflows") { a in
            a.bytes(0xD9, 0xEB)  // fldpi
            a.bytes(0xD9, 0xFE)  // fsin
        },
        Program(testDescription: "an x87 stack that underflows", turns: 3) { a in
            a.bytes(0xDE, 0xC1)  // faddp
            a.bytes(0xDD, 0x1F)  // fstp qword [rdi]
        },
        Program(testDescription: "flags to and from x87") { a in
            a.bytes(0xD9, 0xE8, 0xD9, 0xEE)  // fld1; fldz
            a.bytes(0xDB, 0xF1)  // fcomi st1
            a.bytes(0xDA, 0xC1)  // fcmovb st1
            a.setcc(.b, .rbx)
            a.bytes(0xDE, 0xD9)  // fcompp
            a.bytes(0xDF, 0xE0)  // fnstsw ax
            a.add(.rsi, .rax)
            a.bytes(0xDD, 0x7F, 0x40)  // fnstsw [rdi + 40h]
            a.bytes(0xDB, 0xE2)  // fnclex
        },
        Program(testDescription: "the data pointer's registers, changed behind the access") { a in
            a.mov(.rdx, 1, .long)
            a.bytes(0xD9, 0x44, 0xD7, 0x08)  // fld dword [rdi + rdx * 8 + 8]
            a.add(.rdi, 16)
            a.inc(.rdx)
            a.bytes(0xD9, 0xFA)  // fsqrt
            a.mov(.rbx, .at(.rdi, 8))
            a.sub(.rdi, 16)
            a.bytes(0xDD, 0xD8)  // fstp st0
            a.bytes(0x41, 0xD9, 0x02)  // fld dword [r10]
            a.add(.r10, 8)
            a.bytes(0xDD, 0xD8)  // fstp st0
            a.sub(.r10, 8)
        },
        Program(testDescription: "an x87 instruction whose other page is written, so that it faults") { a in
            let back = a.label(), there = a.label(), over = a.label()
            a.bytes(0x83, 0xF9, 0x05)  // cmp ecx, 5
            a.bytes(0x0F, 0x94, 0x04, 0x25)  // sete, in the next page
            a.bytes((0..<4).map { UInt8(truncatingIfNeeded: (SystemMachine.code + 4096) >> (8 * $0)) })
            a.jmp(there, .near)
            a.bytes([UInt8](repeating: 0x90, count: 4089 - 21))
            a.place(back)
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xD8, 0x87, 0, 0, 0, 0)  // fadd dword [rdi], whose last byte is in the next page
            a.bytes(0xDD, 0xD8)  // fstp st0
            a.jmp(over, .near)
            a.place(there)
            a.jmp(back, .near)
            a.place(over)
        },
        Program(testDescription: "the data pointer is an offset in the segment") { a in
            a.bytes(0x64, 0xD9, 0x07)  // fld dword fs:[rdi]
            a.bytes(0xD9, 0xE0)  // fchs
            a.bytes(0x64, 0xD9, 0x5F, 0x08)  // fstp dword fs:[rdi + 8]
        } prepare: {
            $0.state.segments[4].base = 0x40
        },
        Program(testDescription: "the data pointer from RIP") { a in
            a.bytes(0xDB, 0x2D, 0x40, 0x01, 0, 0)  // fld tword [rip + 140h]
            a.bytes(0xDD, 0xD8)  // fstp st0
        },
        Program(testDescription: "an x87 instruction in each of two pages") { a in
            let back = a.label(), there = a.label(), over = a.label()
            a.bytes(0xD9, 0xE8)  // fld1
            a.jmp(there, .near)
            a.place(back)
            a.bytes(0xDD, 0x1F)  // fstp qword [rdi]
            a.jmp(over, .near)
            a.bytes([UInt8](repeating: 0x90, count: 4096))
            a.place(there)
            a.bytes(0xD8, 0x47, 0x10)  // fadd dword [rdi + 16]
            a.jmp(back, .near)
            a.place(over)
        },
        Program(testDescription: "the pointers in mid-loop, by instructions that are interpreted") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xD8, 0x47, 0x08)  // fadd dword [rdi + 8]
            a.bytes(0x48, 0x0F, 0xAE, 0x87, 0, 2, 0, 0)  // fxsave64 [rdi + 200h]
            a.bytes(0xD9, 0x1F)  // fstp dword [rdi]
            a.bytes(0xD9, 0x77, 0x40)  // fnstenv [rdi + 40h]
            a.bytes(0xD9, 0xEB)  // fldpi
            a.bytes(0xDD, 0xB7, 0, 1, 0, 0)  // fnsave [rdi + 100h]
            a.bytes(0xD9, 0xEE)  // fldz
            a.bytes(0xDB, 0xE3)  // fninit
        },
        Program(testDescription: "the pointers behind an instruction of the integer kind that is interpreted") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0x48, 0x0F, 0xAE, 0x87, 0, 2, 0, 0)  // fxsave64 [rdi + 200h]
            a.bytes(0xDB, 0x7F, 0x20)  // fstp tword [rdi + 32]
            a.bytes(0x9B)  // fwait
        },
        Program(testDescription: "states that are loaded") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xD9, 0x77, 0x40)  // fnstenv [rdi + 40h]
            a.bytes(0xD9, 0x67, 0x40)  // fldenv [rdi + 40h]
            a.bytes(0xDD, 0xB7, 0, 1, 0, 0)  // fnsave [rdi + 100h]
            a.xor(.at(.rdi, 0x100), 0x0C00, .long)
            a.bytes(0xDD, 0xA7, 0, 1, 0, 0)  // frstor [rdi + 100h]
            a.bytes(0xD9, 0xEB, 0xDE, 0xC9)  // fldpi; fmulp
            a.bytes(0xDB, 0x5F, 0x08)  // fistp dword [rdi + 8]
        },
        Program(testDescription: "an image that is loaded") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            a.bytes(0x48, 0x0F, 0xAE, 0x87, 0, 2, 0, 0)  // fxsave64 [rdi + 200h]
            a.xor(.at(.rdi, 0x218), 0x6000, .long)
            a.xor(.at(.rdi, 0x200), 0x0C00, .long)
            a.bytes(0x48, 0x0F, 0xAE, 0x8F, 0, 2, 0, 0)  // fxrstor64 [rdi + 200h]
            a.bytes(0xD9, 0xEB, 0xDE, 0xC9)  // fldpi; fmulp
            a.bytes(0xD9, 0x5F, 0x08)  // fstp dword [rdi + 8]
        },
        Program(testDescription: "what is in use, as XSAVE has it") { a in
            a.xor(.rdx, .rdx, .long)
            a.mov(.rax, 7, .long)
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0x48, 0x0F, 0xAE, 0xA7, 0, 4, 0, 0)  // xsave64 [rdi + 400h]
            a.mov(.rbx, .at(.rdi, 0x600))
            a.add(.rsi, .rbx)
            a.bytes(0xDB, 0xE3)  // fninit
            a.bytes(0x48, 0x0F, 0xAE, 0xA7, 0, 4, 0, 0)  // xsave64 [rdi + 400h]
            a.add(.rsi, .at(.rdi, 0x600))
        },
        Program(testDescription: "an area whose header says nothing, or what XRSTOR refuses") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xD9, 0xFA)  // fsqrt
        } prepare: {
            $0.state.xsave[64] = 0x8000_0000_0000_0010
            $0.state.xsave[65] = 0x8000_0000_0000_0010
        },
        Program(testDescription: "rounding by fldcw") { a in
            a.bytes(0xD9, 0x7F, 0x40)  // fnstcw [rdi + 40h]
            a.xor(.at(.rdi, 0x40), 0x0C00, .word)
            a.bytes(0xD9, 0x6F, 0x40)  // fldcw [rdi + 40h]
            a.bytes(0xD9, 0xEB)  // fldpi
            a.bytes(0xDB, 0x1F)  // fistp dword [rdi]
            a.add(.rsi, .at(.rdi))
        },
        Program(testDescription: "an x87 exception that fldcw unmasks") { a in
            a.bytes(0xD9, 0xE8, 0xD9, 0xEE)  // fld1; fldz
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 61)
            a.and(.rax, 4)
            a.xor(.rax, 0x37F, .long)
            a.mov(.at(.rdi), .rax, .word)
            a.bytes(0xD9, 0x2F)  // fldcw [rdi]
            a.bytes(0xDE, 0xF9)  // fdivp
            a.bytes(0xDD, 0x5F, 0x08)  // fstp qword [rdi + 8]
        } prepare: {
            $0.state.cr0 |= 0x20
        },
        Program(testDescription: "a summary bit that no exception has set") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xDD, 0x7F, 0x40)  // fnstsw [rdi + 40h]
            a.add(.rsi, .at(.rdi, 0x40))
            a.bytes(0xDD, 0xD8)  // fstp st0
        } prepare: {
            $0.state.xsave[0] = $0.state.xsave[0] & ~0xFFFF_0000 | 0x8080_0000
        },
        Program(testDescription: "an x87 exception that is pending") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.add(.rsi, 1)
        } prepare: {
            $0.state.cr0 |= 0x20
            $0.state.xsave[0] = 0x8081_037E
        },
        Program(testDescription: "an x87 store to a page that isn't there") { a in
            a.bytes(0xD9, 0x07)  // fld dword [rdi]
            a.bytes(0xD9, 0xE1)  // fabs
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.shl(.rax, 30)
            a.add(.rax, 0)
            a.bytes(0xD9, 0x1C, 0x07)  // fstp dword [rdi + rax]
        },
        Program(testDescription: "an x87 load from an address that isn't canonical") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.shl(.rax, 60)
            a.add(.rax, 0)
            a.bytes(0xDC, 0x04, 0x07)  // fadd qword [rdi + rax]
            a.bytes(0xDD, 0xD8)  // fstp st0
        },
        Program(testDescription: "ten bytes that cross a page") { a in
            a.bytes(0xDB, 0xAF, 0xFA, 0x0F, 0, 0)  // fld tword [rdi + ffah]
            a.bytes(0xD9, 0xE8, 0xDE, 0xC1)  // fld1; faddp
            a.bytes(0xDB, 0xBF, 0xFA, 0x0F, 0, 0)  // fstp tword [rdi + ffah]
            a.bytes(0xDF, 0x67, 0x10)  // fbld tword [rdi + 16]
            a.bytes(0xDF, 0xB7, 0xFB, 0x0F, 0, 0)  // fbstp tword [rdi + ffbh]
        },
        Program(testDescription: "no x87 while CR0.TS is set") { a in
            let clear = a.label()
            a.bytes(0xD9, 0xE8)  // fld1
            a.cmp(.rcx, 5, .long)
            a.jcc(.nz, clear)
            a.mov(.rax, control: 0)
            a.or(.rax, 8)
            a.mov(control: 0, .rax)
            a.place(clear)
            a.bytes(0xDD, 0xD8)  // fstp st0
        },
        Program(testDescription: "MMX", features: [Features(.mmx)]) { a in
            a.bytes(0x0F, 0x6F, 0x07)  // movq mm0, [rdi]
            a.bytes(0x0F, 0xFE, 0xC1)  // paddd mm0, mm1
            a.bytes(0x0F, 0x7F, 0x47, 0x08)  // movq [rdi + 8], mm0
            a.bytes(0x0F, 0x2A, 0xC0)  // cvtpi2ps xmm0, mm0
            a.bytes(0xF2, 0x0F, 0xD6, 0xD0)  // movdq2q mm2, xmm0
            a.bytes(0xF3, 0x0F, 0xD6, 0xCA)  // movq2dq xmm1, mm2
            a.bytes(0x41, 0x0F, 0x7E, 0xC2)  // movd r10d, mm0
            a.bytes(0x0F, 0x2C, 0xDA)  // cvttps2pi mm3, xmm2
            a.bytes(0x0F, 0xF7, 0xC1)  // maskmovq mm0, mm1
        } end: { a in
            a.bytes(0xD9, 0xE8)  // fld1, of a full stack
        },
        Program(testDescription: "MMX to vector registers that nothing else has loaded", turns: 1) { a in
            a.bytes(0xF3, 0x0F, 0xD6, 0xC8)  // movq2dq xmm1, mm0
            a.bytes(0x0F, 0x2A, 0x17)  // cvtpi2ps xmm2, [rdi]
        },
        Program(testDescription: "MMX and x87 in turn", features: [Features(.mmx)]) { a in
            a.bytes(0x0F, 0x6F, 0x07)  // movq mm0, [rdi]
            a.bytes(0x0F, 0xFE, 0xC1)  // paddd mm0, mm1
            a.emms()
            a.bytes(0xD9, 0xE8, 0xD9, 0xEB)  // fld1; fldpi
            a.emms()
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xDC, 0x47, 0x08)  // fadd qword [rdi + 8]
            a.bytes(0xDD, 0x5F, 0x08)  // fstp qword [rdi + 8]
        },
        Program(testDescription: "MMX whose operand isn't there") { a in
            a.bytes(0xD9, 0xE8)  // fld1
            a.bytes(0xDD, 0xD8)  // fstp st0
            a.mov(.rax, .rcx)
            a.sub(.rax, 5)
            a.shr(.rax, 63)
            a.shl(.rax, 30)
            a.add(.rax, 0)
            a.bytes(0x0F, 0xFE, 0x04, 0x07)  // paddd mm0, [rdi + rax]
            a.emms()
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
        let differences = try VisibleState(machine).differences(from: VisibleState(reference))
        #expect(differences == [])
        #expect(machine.hasTranslated)
    }

    /// Page by page the host takes its memory away while the loop runs, and gives it back.
    @Test(
        arguments: [
            [0x0F, 0x58, 0x07], [0x0F, 0x10, 0x07], [0x0F, 0x11, 0x07],  // addps, movups, movups to
            [0xD9, 0x07], [0xDB, 0x3F], [0xDC, 0x07], [0xD9, 0x2F],  // fld, fstp tword, fadd qword, fldcw
            [0x0F, 0x6F, 0x07], [0x0F, 0x7F, 0x07],  // movq mm0, movq to
        ] as [[UInt8]])
    func theHostsMemoryIsGone(_ access: [UInt8]) throws {
        let program = Program(testDescription: "") { a in
            a.bytes(0x0F, 0x58, 0xC1)  // addps xmm0, xmm1
            if access[0] != 0x0F { a.bytes(0xD9, 0xEB) }  // fldpi
            a.bytes(access)
        } prepare: {
            try $0.memory.store(0x37F as UInt32, at: Self.data)
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
        let met = try VisibleState(machine).differences(from: VisibleState(reference))
        #expect(met == [])
        #expect(machine.processor.run() == .halted && reference.processor.run() == .halted)
        let ended = try VisibleState(machine).differences(from: VisibleState(reference))
        #expect(ended == [])
    }

    /// What is left to the interpreter is what reaches memory in ways of its own, and what exchanges a state.
    @Test func everyOtherRowPassesThrough() throws {
        let kept: Set<Mnemonic> = [
            .maskmovq, .maskmovdqu, .vmaskmovdqu, .fninit, .fnstenv, .fldenv, .fnsave, .frstor, .vgatherdps,
            .vgatherdpd, .vgatherqps, .vgatherqpd, .vpgatherdd, .vpgatherdq, .vpgatherqd, .vpgatherqq,
        ]
        let mode = CodeMode(rawValue: 8 | (HostProcessor.isAMD ? CodeMode.amd.rawValue : 0))
        var count = 0
        for row in OpcodeTable.rows where [.sse, .vex, .mmx, .x87].contains(row.opcodeClass) {
            guard HostProcessor.features.contains(.avx), HostProcessor.offered.permits(row.feature) else { continue }
            for memory in [false, true] {
                guard let bytes = example(of: row, memory: memory) else { continue }
                let padded = bytes + [UInt8](repeating: 0, count: 16)
                // SAFETY: 16 bytes and more.
                let code = unsafe padded.withUnsafeBytes { unsafe CodeBytes($0.baseAddress!, count: bytes.count) }
                guard let instruction = try? mode.decode(code), instruction.mnemonic == row.mnemonic,
                    HostProcessor.offered.permits(instruction.feature)
                else { continue }
                let isKept =
                    switch Superblock.Step(instruction, offset: 0, passing: PassThrough(instruction, mode)).kind {
                    case .cold, .interpreted: true
                    default: false
                    }
                #expect(isKept == kept.contains(row.mnemonic), "\(row.mnemonic), memory: \(memory)")
                count += 1
            }
        }
        #expect(count > 900 || !HostProcessor.features.contains(.avx))
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
        // Instructions and clients see their own MXCSR_MASK and header, whatever the kept area has.
        area = (0..<128).filter { !(64..<72).contains($0) }.map {
            $0 == 3 ? state.xsave[$0] & 0xFFFF_FFFF : state.xsave[$0]
        }
        others = [state.rip, machine.processor.rflags, UInt64(state.cpl), UInt64(state.interruptShadow), state.cr2]
        others += [state.cr0, state.pendingException.isPending ? 1 : 0]
        // Tables and stacks, and data.
        memory = try machine.memory.read(count: 0x8000, at: 0) + machine.memory.read(count: 0x4000, at: 0x9_0000)
    }

    /// What differs, for a reader.
    func differences(from other: VisibleState) -> [String] {
        func compare<T: FixedWidthInteger>(_ name: String, _ all: [T], _ others: [T]) -> [String] {
            all.indices.filter { all[$0] != others[$0] }.map {
                "\(name)[\($0)]: \(String(all[$0], radix: 16)), not \(String(others[$0], radix: 16))"
            }
        }
        return compare("register", registers, other.registers) + compare("area", area, other.area)
            + compare("other", others, other.others) + compare("memory", memory, other.memory)
    }
}
