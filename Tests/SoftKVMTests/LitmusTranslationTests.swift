// Translations that one vCPU takes away from another: a page is made read-only while the other writes to it, and once that one
// has acknowledged the interrupt that tells it to forget the translation, nothing more is written. Intel SDM vol. 3, 4.10.5.

import KVM
import TestLimits
import Testing

@Suite(.serialized, .enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20, long: 120))
struct LitmusTranslationTests {
    @Test(arguments: LitmusTranslationTests.all, hypervisors)
    func nothingIsWrittenAfterTheAcknowledgement(_ litmus: Litmus, _ hypervisor: Hypervisor) throws {
        try litmus.check(on: hypervisor)
    }

    /// The first vCPU takes W from the page's entry and interrupts the second, which counts in that page all the while. Its
    /// handler forgets the translation and acknowledges; its page-fault handler waits until W is back.
    private static func shootdown(
        _ name: String, forget: String, global: Bool = false, large: Bool = false, isVariant: Bool = false
    ) -> Litmus {
        let bits = large ? 0x83 : global ? 0x103 : 3
        return Litmus(
            name: "TLB shootdown, \(name)",
            threads: [
                """
                .ready: cmp [RESULTS], r15d
                je .go
                yield
                jmp .ready
                .go: and dword [entry], ~2
                mov r10d, 0xfee00000
                mov dword [r10 + 0x310], 1 << 24
                mov dword [r10 + 0x300], 0x4030
                .patience: mov r9d, 100
                .turn: cmp [Y], r15d
                je .acknowledged
                pause
                dec r9d
                jnz .turn
                yield
                jmp .patience
                .acknowledged: mov ebx, [counter]
                mov r9d, 200
                .wait: dec r9d
                jnz .wait
                yield
                mov esi, [counter]
                or dword [entry], 2
                mov [Z], r15d
                """,
                """
                result 0, r15d
                .patience: mov r9d, 1000
                .turn: inc dword [counter]
                cmp [Z], r15d
                je .enough
                dec r9d
                jnz .turn
                yield
                jmp .patience
                .enough:
                """,
            ],
            outcome: "xor eax, eax\ncmp ebx, esi\nsetne al", reset: "",
            begin: """
                mov r10d, 0xfee00000
                mov dword [r10 + 0xf0], 0x1ff
                mov eax, interrupt
                mov edi, 0x6d000 + 0x30 * 16
                call gate
                mov eax, fault
                mov edi, 0x6d000 + 14 * 16
                call gate
                mov rax, cr0
                or eax, 1 << 16
                mov cr0, rax
                mov rax, cr4
                or eax, 0x80
                mov cr4, rax
                sti
                """,
            data: """
                \(large ? "counter equ 0x600000\nentry equ 0x72000 + 3 * 8" : "counter equ 0x600000\nentry equ 0x106000")
                gate: mov [rdi], ax
                mov word [rdi + 2], 8
                mov word [rdi + 4], 0x8e00
                shr eax, 16
                mov [rdi + 6], ax
                mov qword [rdi + 8], 0
                \(large ? "mov qword [entry], \(bits)" : "mov qword [entry], 0x107000 | \(bits)\nmov qword [0x72000 + 3 * 8], 0x106003")
                invlpg [counter]
                ret
                interrupt: push rax
                \(forget)
                mov eax, 0xfee00000
                mov dword [rax + 0xb0], 0
                mov [Y], r15d
                pop rax
                iretq
                fault: add rsp, 8
                push rax
                sti
                .patience: mov eax, 100
                .turn: test dword [entry], 2
                jnz .back
                pause
                dec eax
                jnz .turn
                yield
                jmp .patience
                .back: pop rax
                iretq
                """,
            outcomes: [1], isVariant: isVariant, weight: 4, batch: 1, usesInterrupts: true)
    }

    static let all = [
        shootdown("INVLPG", forget: "invlpg [counter]"),
        shootdown("MOV to CR3", forget: "mov rax, cr3\nmov cr3, rax"),
        shootdown("INVLPG of a global page", forget: "invlpg [counter]", global: true),
        shootdown(
            "CR4.PGE off and on", forget: "mov rax, cr4\nxor al, 0x80\nmov cr4, rax\nxor al, 0x80\nmov cr4, rax",
            global: true),
        shootdown("INVLPG within a large page", forget: "invlpg [counter + 0x1234]", large: true),
        shootdown("nothing forgotten", forget: "", isVariant: true),
        shootdown("MOV to CR3 with a global page", forget: "mov rax, cr3\nmov cr3, rax", global: true, isVariant: true),
    ]
}
