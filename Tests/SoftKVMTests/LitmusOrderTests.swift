// Memory order: what two or four vCPUs may see of each other's loads and stores. Intel SDM vol. 3, 8.2.2 and 8.2.3, whose
// examples these are, and 8.2.5 for what strengthens the order.

import KVM
import TestLimits
import Testing

@Suite(.serialized, .enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20, long: 120))
struct LitmusOrderTests {
    @Test(arguments: LitmusOrderTests.all, hypervisors)
    func theOrderIsTheArchitectures(_ litmus: Litmus, _ hypervisor: Hypervisor) throws {
        try litmus.check(on: hypervisor)
    }

    static let all = storeBuffering + messagePassing + others

    // MARK: Store buffering: each stores to one place and loads the other (8.2.3.4)

    private static func storeBuffering(_ name: String, _ between: String, isVariant: Bool = false) -> Litmus {
        Litmus(
            name: "store buffering, \(name)",
            threads: [
                "mov dword [X], 1\n\(between)\nmov edi, [Y]\nresult 0, edi",
                "mov dword [Y], 1\n\(between)\nmov edi, [X]\nresult 1, edi",
            ],
            outcome: "pack 2", outcomes: [0], isVariant: isVariant, needsProcessors: isVariant)
    }

    private static let storeBuffering = [
        storeBuffering("nothing between", "", isVariant: true),
        storeBuffering("SFENCE and LFENCE between", "sfence\nlfence", isVariant: true),
        storeBuffering("MFENCE between", "mfence"),
        storeBuffering("LOCK OR between", "lock or dword [rsp - 8], 0"),
        storeBuffering("LOCK ADD across a page between", "lock add dword [BORDER - 2], 0"),
        storeBuffering("LOCK CMPXCHG that fails between", "mov eax, 1\nlock cmpxchg [rsp - 8], ebx"),
        storeBuffering("LOCK CMPXCHG16B between", "lock cmpxchg16b [rsp - 64]"),
        storeBuffering("XCHG between", "xchg eax, [rsp - 8]"),
        storeBuffering("CPUID between", "xor eax, eax\ncpuid"),
        storeBuffering("MOV to CR3 between", "mov rax, cr3\nmov cr3, rax"),
        storeBuffering("INVLPG between", "invlpg [rsp]"),
        storeBuffering("LGDT between", "sgdt [rsp - 16]\nlgdt [rsp - 16]"),
        storeBuffering("IRETQ between", "mov rax, rsp\npush 0x10\npush rax\npushfq\npush 8\npush .next\niretq\n.next:"),
        Litmus(
            name: "store buffering, XCHG as the store",
            threads: [
                "mov eax, 1\nxchg [X], eax\nmov edi, [Y]\nresult 0, edi",
                "mov eax, 1\nxchg [Y], eax\nmov edi, [X]\nresult 1, edi",
            ],
            outcome: "pack 2", outcomes: [0]),
        Litmus(
            name: "store buffering, vectors with MFENCE between",
            threads: [
                "pcmpeqd xmm0, xmm0\nmovdqa [X], xmm0\nmfence\nmovdqa xmm1, [Y]\nmovd edi, xmm1\nand edi, 1\nresult 0, edi",
                "pcmpeqd xmm0, xmm0\nmovdqa [Y], xmm0\nmfence\nmovdqa xmm1, [X]\nmovd edi, xmm1\nand edi, 1\nresult 1, edi",
            ],
            outcome: "pack 2", reset: "xor eax, eax\nmov [X], rax\nmov [X + 8], rax\nmov [Y], rax\nmov [Y + 8], rax",
            outcomes: [0]),
    ]

    // MARK: Message passing: stores are not reordered with stores, nor loads with loads (8.2.3.2)

    /// The flag in Y is seen, and the data is not.
    private static func messagePassing(
        _ name: String, _ writer: String, _ reader: String = "mov edi, [Y]\nmov esi, [X]",
        reset: String = "mov qword [X], 0\nmov qword [Y], 0", data: String = "", batch: Int = 64,
        isVariant: Bool = false, needsProcessors: Bool = false
    ) -> Litmus {
        Litmus(
            name: "message passing, \(name)",
            threads: [writer, "\(reader)\nresult 0, edi\nresult 1, esi"], outcome: "pack 2", reset: reset, data: data,
            outcomes: [1], isVariant: isVariant, needsProcessors: needsProcessors, batch: batch)
    }

    private static let messagePassing = [
        messagePassing("plain", "mov dword [X], 1\nmov dword [Y], 1"),
        messagePassing(
            "the flag first, and a wait", "mov dword [Y], 1\nyield\nyield\nmov dword [X], 1",
            ".wait: yield\nmov edi, [Y]\ntest edi, edi\njz .wait\nmov esi, [X]", isVariant: true),
        messagePassing("the flag first", "mov dword [Y], 1\nmov dword [X], 1", isVariant: true, needsProcessors: true),
        messagePassing(
            "the data read first", "mov dword [X], 1\nmov dword [Y], 1", "mov esi, [X]\nmov edi, [Y]", isVariant: true,
            needsProcessors: true),
        messagePassing(
            "a flag in another page", "mov dword [X], 1\nmov dword [OTHER], 1", "mov edi, [OTHER]\nmov esi, [X]",
            reset: "mov qword [X], 0\nmov qword [OTHER], 0"),
        messagePassing("bytes", "mov byte [X], 1\nmov byte [Y], 1", "movzx edi, byte [Y]\nmovzx esi, byte [X]"),
        messagePassing(
            "data by a string instruction", "lea rdi, [X - 64]\nmov ecx, 17\nmov eax, 1\nrep stosd\nmov dword [Y], 1"),
        messagePassing(
            "data by a vector store", "pcmpeqd xmm0, xmm0\npsrld xmm0, 31\nmovups [X - 12], xmm0\nmov dword [Y], 1"),
        messagePassing(
            "data past the caches, SFENCE", "mov eax, 1\nmovnti [X], eax\nsfence\nmov dword [Y], 1"),
        messagePassing(
            "data by a read-modify-write", "inc dword [X]\ninc dword [Y]"),
        messagePassing(
            "data by a push", "mov rax, rsp\nlea rsp, [X + 8]\npush 1\nmov rsp, rax\nmov dword [Y], 1"),
        messagePassing(
            "data by the FPU", "fld1\nfistp dword [X]\nmov dword [Y], 1"),
        // Stores to a page that code was decoded from take another way.
        messagePassing(
            "data in a page of code", "call place\nmov dword [place + 64], 1\nmov dword [Y], 1",
            "call place\nmov edi, [Y]\nmov esi, [place + 64]", reset: "mov qword [place + 64], 0\nmov qword [Y], 0",
            data: "align 4096\nplace: ret\nalign 128\ndq 0\ndq 0", batch: 1),
    ]

    // MARK: The rest

    private static let others = [
        // Loads are not reordered with later stores (8.2.3.3).
        Litmus(
            name: "load buffering",
            threads: [
                "mov edi, [X]\nmov dword [Y], 1\nresult 0, edi", "mov edi, [Y]\nmov dword [X], 1\nresult 1, edi",
            ],
            outcome: "pack 2", outcomes: [3]),
        Litmus(
            name: "load buffering, the stores first",
            threads: [
                "mov dword [Y], 1\nmov edi, [X]\nresult 0, edi", "mov dword [X], 1\nmov edi, [Y]\nresult 1, edi",
            ],
            outcome: "pack 2", outcomes: [3], isVariant: true, needsProcessors: true),
        // Each stores to both places, in opposite orders: both first stores can't be the last.
        Litmus(
            name: "2+2W",
            threads: ["mov dword [X], 1\nmov dword [Y], 2", "mov dword [Y], 1\nmov dword [X], 2"],
            outcome: "mov eax, [X]\nmov ecx, [Y]\nlea eax, [rax + rcx * 4]", outcomes: [1 + 4]),
        Litmus(
            name: "2+2W, one the other way round",
            threads: ["mov dword [Y], 2\nmov dword [X], 1", "mov dword [Y], 1\nmov dword [X], 2"],
            outcome: "mov eax, [X]\nmov ecx, [Y]\nlea eax, [rax + rcx * 4]", outcomes: [1 + 4], isVariant: true,
            needsProcessors: true),
        // Two loads of one place: the second is not older than the first.
        Litmus(
            name: "coherence of two loads",
            threads: ["mov dword [X], 1", "mov edi, [X]\nmov esi, [X]\nresult 0, edi\nresult 1, esi"],
            outcome: "pack 2", outcomes: [1]),
        Litmus(
            name: "coherence of two loads, told the other way round",
            threads: ["mov dword [X], 1", "mov esi, [X]\nmov edi, [X]\nresult 0, edi\nresult 1, esi"],
            outcome: "pack 2", outcomes: [1], isVariant: true, needsProcessors: true),
        // Stores are seen through others: causality (8.2.3.6).
        Litmus(
            name: "causality through a third",
            threads: [
                "mov dword [X], 1", "mov edi, [X]\nmov [Y], edi\nresult 0, edi",
                "mov edi, [Y]\nmov esi, [X]\nresult 1, edi\nresult 2, esi",
            ],
            outcome: "pack 3", outcomes: [2, 3], weight: 20),
        // Two that read see the stores of two others in one order (8.2.3.7).
        Litmus(
            name: "IRIW",
            threads: [
                "mov dword [X], 1", "mov dword [Y], 1", "mov edi, [X]\nmov esi, [Y]\nresult 0, edi\nresult 1, esi",
                "mov edi, [Y]\nmov esi, [X]\nresult 2, edi\nresult 3, esi",
            ],
            outcome: "pack 4", outcomes: [1 + 4], weight: 20),
        Litmus(
            name: "IRIW, the readers the other way round",
            threads: [
                "mov dword [X], 1", "mov dword [Y], 1", "mov esi, [Y]\nmov edi, [X]\nresult 0, edi\nresult 1, esi",
                "mov esi, [X]\nmov edi, [Y]\nresult 2, edi\nresult 3, esi",
            ],
            outcome: "pack 4", outcomes: [1 + 4], isVariant: true, needsProcessors: true, weight: 20),
        // LOCK'd instructions have one order (8.2.3.8).
        Litmus(
            name: "IRIW, with LOCK'd stores",
            threads: [
                "mov eax, 1\nxchg [X], eax", "mov eax, 1\nxchg [Y], eax",
                "mov edi, [X]\nmov esi, [Y]\nresult 0, edi\nresult 1, esi",
                "mov edi, [Y]\nmov esi, [X]\nresult 2, edi\nresult 3, esi",
            ],
            outcome: "pack 4", outcomes: [1 + 4], weight: 20),
    ]
}
