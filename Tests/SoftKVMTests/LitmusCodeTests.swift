// Code that one vCPU writes and another executes, by the sequence that the architecture asks for: the store, then a flag, and
// on the other side a serialising instruction. Intel SDM vol. 3, 8.1.3.

import KVM
import TestLimits
import Testing

@Suite(.serialized, .enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20, long: 120))
struct LitmusCodeTests {
    @Test(arguments: LitmusCodeTests.sequences, hypervisors)
    func whatIsToldOfIsExecuted(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    @Test(arguments: LitmusCodeTests.stores, hypervisors)
    func whatIsStoredIsExecuted(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    @Test(arguments: LitmusCodeTests.routines, hypervisors)
    func noStaleCodeStays(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    /// Returns the operand of its MOV, which is stored over.
    private static let routine = "align 4096\nroutine: mov eax, 0\nret\n"

    /// The reader calls the routine until the flag is up, whatever comes, serialises, and calls once more.
    private static func crossModifying(
        _ name: String, _ write: String, serialising: String = "xor eax, eax\ncpuid", data: String = routine,
        isVariant: Bool = false
    ) -> Litmus {
        Litmus(
            name: "cross-modifying code, \(name)",
            threads: [
                write,
                """
                .patience: mov r9d, 100
                .turn: call routine
                cmp [Y], r15d
                je .seen
                dec r9d
                jnz .turn
                yield
                jmp .patience
                .seen: \(serialising)
                call routine
                result 0, eax
                """,
            ],
            outcome: "mov ebx, [RESULTS]\nunless_equal rbx, r15", reset: "", data: data, outcomes: [1],
            isVariant: isVariant, batch: 1)
    }

    private static let store = "mov [routine + 1], r15d\n"
    private static let flag = "\nmov [Y], r15d"

    /// How the reader is told, and by what it serialises.
    private static let sequences = [
        crossModifying("one store", store + flag),
        // Both between the reader's calls, in one block of the writer's.
        crossModifying(
            "two stores", "lea eax, [r15 + 0x10000000]\nmov [routine + 1], eax\nnop\nnop\nnop\nnop\n" + store + flag),
        crossModifying("the flag first", "mov [Y], r15d\nyield\nyield\n" + store, isVariant: true),
        crossModifying("IRETQ", store + flag, serialising: iret),
        crossModifying("MOV to CR3", store + flag, serialising: "mov rax, cr3\nmov cr3, rax"),
        crossModifying("INVLPG of another page", store + flag, serialising: "invlpg [X]"),
    ]

    /// What stores, and where.
    private static let stores = [
        crossModifying("LOCK XCHG as the store", "mov eax, r15d\nxchg [routine + 1], eax" + flag),
        crossModifying(
            "a string instruction as the store",
            "mov eax, r15d\nmov edi, routine + 1\nmov ecx, 4\n"
                + ".byte: stosb\nshr eax, 8\ndec ecx\njnz .byte" + flag),
        crossModifying(
            "a vector store",
            "mov eax, r15d\nshl rax, 8\nmov al, 0xb8\nmov rcx, 0xc3 << 40\nor rax, rcx\nmovq xmm0, rax\nmovq [routine], xmm0"
                + flag),
        crossModifying(
            "a vector store of sixteen bytes",
            "mov eax, r15d\nshl rax, 8\nmov al, 0xb8\nmov rcx, 0xc3 << 40\nor rax, rcx\nmovq xmm0, rax\nmovdqa [routine], xmm0"
                + flag),
        crossModifying(
            "through another linear address", "mov dword [0x72040], 0x83\nmov [0x1000000 + routine + 1], r15d" + flag),
        crossModifying(
            "the operand across a cache line", store + flag,
            data: "align 4096\ntimes 61 nop\nroutine: mov eax, 0\nret\n"),
        crossModifying(
            "the instruction across a page", store + flag,
            data: "align 4096\ntimes 4093 nop\nroutine: mov eax, 0\nret\n"),
        // Stores all over the page, most of them beside the code.
        crossModifying(
            "data beside the code",
            "mov ecx, 32\n.data: mov [routine + 64 + rcx * 8], rcx\ndec ecx\njnz .data\n" + store + flag,
            data: routine + "times 64 dq 0\n"),
    ]

    private static let routines = [
        // The writer runs the code too, and sees what it has written at once.
        Litmus(
            name: "code that changes itself, and is executed by two",
            threads: [
                store + "call routine\nresult 1, eax" + flag,
                """
                .patience: mov r9d, 100
                .turn: call routine
                cmp [Y], r15d
                je .seen
                dec r9d
                jnz .turn
                yield
                jmp .patience
                .seen: xor eax, eax
                cpuid
                call routine
                result 0, eax
                """,
            ],
            outcome: "mov ebx, [RESULTS]\ncmp ebx, [RESULTS + 64]\njne .differ\nunless_equal rbx, r15\njmp .known\n"
                + ".differ: mov eax, 1\n.known:",
            reset: "", data: routine, outcomes: [1], batch: 1),
        // The block that waits is the one that is changed: no flag, no serialising, but no stale code for ever.
        Litmus(
            name: "a loop that is changed under itself",
            threads: [
                "dawdle\nmov [routine + 1], r15d",
                """
                mov r9d, 0x1000000
                call routine
                result 0, eax
                """,
            ],
            outcome: "mov ebx, [RESULTS]\nunless_equal rbx, r15", reset: "",
            data: """
                align 4096
                routine: mov eax, 0
                cmp eax, r15d
                je .changed
                dec r9d
                jz .changed
                test r9d, 1023
                jnz routine
                yield
                jmp routine
                .changed: ret
                """, outcomes: [1], batch: 1),
        // Code that another vCPU makes anew each time, where it was executed before: published by a pointer, as by a compiler.
        Litmus(
            name: "a routine that is published by its address",
            threads: [
                """
                mov eax, r15d
                and eax, 63
                imul eax, eax, 16
                lea rbx, [routines + rax]
                mov byte [rbx], 0xb8
                mov [rbx + 1], r15d
                mov byte [rbx + 5], 0xc3
                mov [X], rbx
                """,
                """
                .patience: mov r9d, 100
                .turn: mov rbx, [X]
                test rbx, rbx
                jnz .there
                pause
                dec r9d
                jnz .turn
                yield
                jmp .patience
                .there: call rbx
                result 0, eax
                """,
            ],
            outcome: "mov ebx, [RESULTS]\nunless_equal rbx, r15",
            data: "align 4096\nroutines: times 1024 db 0xcc\n", outcomes: [1], batch: 1),
    ]

    private static let iret = "mov rax, rsp\npush 0x10\npush rax\npushfq\npush 8\npush .next\niretq\n.next:"
}
