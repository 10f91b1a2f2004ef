// Atomicity: LOCK'd read-modify-writes of every width and alignment, locks made of them, and loads and stores that are
// atomic by themselves. Intel SDM vol. 3, 8.1.1 and 8.1.2.

import KVM
import TestLimits
import Testing

@Suite(.serialized, .enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20, long: 120))
struct LitmusAtomicityTests {
    @Test(arguments: LitmusAtomicityTests.counters, hypervisors)
    func noCountIsLost(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    @Test(arguments: LitmusAtomicityTests.misaligned, hypervisors)
    func noneIsLostAcrossABorder(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    @Test(arguments: LitmusAtomicityTests.pairs + LitmusAtomicityTests.locks, hypervisors)
    func pairsAndLocksHold(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    @Test(arguments: LitmusAtomicityTests.torn, hypervisors)
    func nothingIsTorn(_ litmus: Litmus, _ hypervisor: Hypervisor) throws { try litmus.check(on: hypervisor) }

    /// How often each vCPU changes the place in a round.
    private static let turns = 50

    /// Both vCPUs execute `body` `turns` times; after that the place of `size` bytes holds `sum`.
    private static func counter(
        _ name: String, _ body: String, size: Int, at place: String = "X", from: Int = 0, sum: Int = 2 * turns,
        second: String? = nil, isVariant: Bool = false, needsProcessors: Bool? = nil, batch: Int = 64,
        notKernel: String? = nil
    ) -> Litmus {
        let accumulator = [1: "al", 2: "ax", 4: "eax", 8: "rax"][size] ?? "rax"
        func loop(_ body: String) -> String { "mov r8d, \(turns)\n.turn:\n\(body)\ndec r8d\njnz .turn" }
        return Litmus(
            name: name, threads: [loop(body), loop(second ?? body)],
            outcome: "xor eax, eax\nmov \(accumulator), [\(place)]\nunless_equal rax, \(sum)",
            reset: "mov qword [\(place)], \(from)", outcomes: [1], isVariant: isVariant,
            needsProcessors: needsProcessors ?? isVariant, weight: turns, batch: batch, notKernel: notKernel)
    }

    private static let operandSizes = [(1, "byte", "bl"), (2, "word", "bx"), (4, "dword", "ebx"), (8, "qword", "rbx")]

    // MARK: Counters

    private static let counters: [Litmus] =
        operandSizes.flatMap { size, keyword, register in
            let accumulator = [1: "al", 2: "ax", 4: "eax", 8: "rax"][size] ?? "rax"
            return [
                counter("ADD \(keyword) without LOCK", "add \(keyword) [X], 1", size: size, isVariant: true),
                counter("LOCK ADD \(keyword)", "lock add \(keyword) [X], 1", size: size),
                counter("LOCK INC \(keyword)", "lock inc \(keyword) [X]", size: size),
                counter(
                    "LOCK XADD \(keyword)", "mov ebx, 1\nlock xadd [X], \(register)", size: size),
                counter(
                    "LOCK SUB and DEC \(keyword)", "lock sub \(keyword) [X], -2\nlock dec \(keyword) [X]", size: size),
                counter(
                    "LOCK ADC \(keyword)", "stc\nlock adc \(keyword) [X], 0", size: size,
                    notKernel: "its emulator tries again with the carry of the try that failed"),
                counter(
                    "LOCK SBB \(keyword)", "stc\nlock sbb \(keyword) [X], -2", size: size),
                // One that is lost leaves the lowest bit set.
                counter(
                    "LOCK XOR \(keyword)", "lock xor \(keyword) [X], 1\nlock add \(keyword) [X], 2", size: size,
                    sum: 4 * turns & 0xff),
                counter("LOCK NOT \(keyword)", "lock not \(keyword) [X]", size: size, sum: 0),
                counter("LOCK NEG \(keyword)", "lock neg \(keyword) [X]", size: size, from: 1, sum: 1),
                counter(
                    "LOCK CMPXCHG \(keyword) loop",
                    """
                    .again: mov \(accumulator), [X]
                    lea rbx, [rax + 1]
                    lock cmpxchg [X], \(register)
                    jne .again
                    """, size: size),
                counter(
                    "CMPXCHG \(keyword) loop without LOCK",
                    """
                    .again: mov \(accumulator), [X]
                    lea rbx, [rax + 1]
                    cmpxchg [X], \(register)
                    jne .again
                    """, size: size, isVariant: true),
            ]
        }
        + operandSizes.dropFirst().map { _, keyword, _ in
            // Each vCPU sets every other bit, complements and clears some.
            Litmus(
                name: "LOCK BTS, BTC and BTR \(keyword)",
                threads: [0, 1].map { thread in
                    """
                    mov ebx, \(thread)
                    .bit: lock bts \(keyword) [X], bx
                    lock btc \(keyword) [X], bx
                    lock bts \(keyword) [X], bx
                    lock btr \(keyword) [X], bx
                    lock btc \(keyword) [X], bx
                    add ebx, 2
                    cmp ebx, 16
                    jb .bit
                    """.replacing(", bx", with: keyword == "word" ? ", bx" : keyword == "dword" ? ", ebx" : ", rbx")
                },
                outcome: "mov rax, [X]\nunless_equal rax, 0xffff", outcomes: [1], weight: 40)
        } + [
            Litmus(
                name: "BTS without LOCK",
                threads: [0, 1].map { thread in
                    "mov ebx, \(thread)\n.bit: bts dword [X], ebx\nadd ebx, 2\ncmp ebx, 32\njb .bit"
                },
                outcome: "mov eax, [X]\nunless_equal rax, 0xffffffff", outcomes: [1], isVariant: true,
                needsProcessors: true, weight: 16),
            // What the others would be without LOCK, and slow.
            counter(
                "a count with a wait between load and store", "mov ebx, [X]\nyield\ninc ebx\nmov [X], ebx", size: 4,
                isVariant: true, needsProcessors: false, batch: 1),

        ]

    // MARK: Across cache lines and pages

    private static let emulated = "its emulator stores such an operand in two pieces"

    private static let misaligned: [Litmus] =
        [(2, "word", "bx"), (4, "dword", "ebx"), (8, "qword", "rbx")].flatMap { size, keyword, register in
            let accumulator = [2: "ax", 4: "eax", 8: "rax"][size] ?? "rax"
            return [("a line", "LINE"), ("a page", "PAGE")].flatMap { what, end in
                // Steps that carry from the one part into the other.
                let first = "\(end) - \(size / 2)"
                return [
                    counter(
                        "LOCK ADD \(keyword) across \(what)", "lock add \(keyword) [\(first)], 0x7f", size: size,
                        at: first, sum: 2 * turns * 0x7f, notKernel: emulated),
                    counter(
                        "LOCK XADD \(keyword) across \(what)", "mov ebx, 0x7f\nlock xadd [\(first)], \(register)",
                        size: size, at: first, sum: 2 * turns * 0x7f, notKernel: emulated),
                    counter(
                        "LOCK CMPXCHG \(keyword) across \(what)",
                        """
                        .again: mov \(accumulator), [\(first)]
                        lea rbx, [rax + 0x7f]
                        lock cmpxchg [\(first)], \(register)
                        jne .again
                        """, size: size, at: first, sum: 2 * turns * 0x7f, notKernel: emulated),
                    counter(
                        "ADD \(keyword) across \(what) without LOCK", "add \(keyword) [\(first)], 0x7f", size: size,
                        at: first, sum: 2 * turns * 0x7f, isVariant: true),
                ]
            }
        } + [
            // One operand lies within a page and overlaps the other's, which does not.
            counter(
                "LOCK INC across a page and within it", "lock inc dword [PAGE - 2]", size: 4,
                at: "PAGE - 2", sum: turns + turns << 24, second: "lock inc byte [PAGE + 1]",
                notKernel: emulated),
            counter(
                "LOCK INC across a line and within it", "lock inc dword [LINE - 2]", size: 4,
                at: "LINE - 2", sum: turns + turns << 24, second: "lock inc byte [LINE + 1]",
                notKernel: emulated),
        ]

    // MARK: Pairs

    private static let pairs: [Litmus] = [("LOCK ", false), ("", true)].flatMap { prefix, isVariant in
        [
            // Both halves count.
            counter(
                "\(prefix)CMPXCHG8B loop",
                """
                .again: mov eax, [X]
                mov edx, [X + 4]
                lea ebx, [rax + 1]
                lea ecx, [rdx + 1]
                \(prefix)cmpxchg8b [X]
                jne .again
                """, size: 8, sum: 2 * turns * 0x1_0000_0001, isVariant: isVariant),
            Litmus(
                name: "\(prefix)CMPXCHG16B loop",
                threads: [Litmus](
                    repeating: counter(
                        "",
                        """
                        .again: mov rax, [X]
                        mov rdx, [X + 8]
                        lea rbx, [rax + 1]
                        lea rcx, [rdx + 3]
                        \(prefix)cmpxchg16b [X]
                        jne .again
                        """, size: 8), count: 2
                ).map { $0.threads[0] },
                outcome: """
                    mov rax, [X]
                    imul rax, rax, 1000
                    add rax, [X + 8]
                    unless_equal rax, \(2 * turns * 1003)
                    """, reset: "mov qword [X], 0\nmov qword [X + 8], 0",
                // The host's own instruction is at work, which is locked either way on some hosts: no variant of this one.
                outcomes: [1], weight: turns),
        ].filter { !isVariant || $0.isVariant }
    }

    // MARK: Locks

    /// Both vCPUs count under a lock; `take` goes to `.taken` with the lock in X held.
    private static func lock(_ name: String, _ take: String, isVariant: Bool = false) -> Litmus {
        var litmus = counter(
            name,
            """
            .patience: mov r9d, 100
            .take: \(take)
            pause
            dec r9d
            jnz .take
            yield
            jmp .patience
            .taken: inc qword [Y]
            mov dword [X], 0
            """, size: 8, at: "Y", isVariant: isVariant)
        // A release between the load and the store of another's BTS is lost.
        litmus.mayStall = isVariant
        return litmus
    }

    private static let locks = [
        lock("a lock by LOCK BTS", "lock bts dword [X], 0\njnc .taken"),
        lock("a lock by XCHG", "mov eax, 1\nxchg [X], eax\ntest eax, eax\njz .taken"),
        lock("a lock by LOCK CMPXCHG", "xor eax, eax\nmov ebx, 1\nlock cmpxchg [X], ebx\nje .taken"),
        lock("a lock by XCHG of a byte", "mov al, 1\nxchg [X], al\ntest al, al\njz .taken"),
        lock("a lock by BTS without LOCK", "bts dword [X], 0\njnc .taken", isVariant: true),
    ]

    // MARK: Loads and stores of one piece

    /// One stores all zeros and all ones in turn, the other must see nothing else.
    private static func torn(
        _ name: String, store: (_ value: String) -> String, load: String, at place: String = "X",
        isVariant: Bool = false,
        needsProcessors: Bool? = nil, batch: Int = 64
    ) -> Litmus {
        let zeros = store("0"), ones = store("-1")
        return Litmus(
            name: name,
            threads: [
                "mov r8d, 25\n.turn:\n\(zeros)\n\(ones)\ndec r8d\njnz .turn",
                // RDI: one if any of the values was torn.
                "xor edi, edi\nmov r8d, 50\n.turn:\n\(load)\ndec r8d\njnz .turn\nresult 0, edi",
            ],
            outcome: "pack 1", reset: "pxor xmm0, xmm0\nmovups [\(place)], xmm0", outcomes: [1], isVariant: isVariant,
            needsProcessors: needsProcessors ?? isVariant, weight: 50, batch: batch)
    }

    /// Loads into a register, which must be 0 or -1.
    private static func check(_ move: String, _ register: String) -> String {
        "\(move)\ninc \(register)\ncmp \(register), 1\njbe .whole\nmov edi, 1\n.whole:"
    }

    private static let torn: [Litmus] =
        [(2, "word", "bx"), (4, "dword", "ebx"), (8, "qword", "rbx")].flatMap { size, keyword, register in
            func store(_ place: String) -> (String) -> String { { "mov \(keyword) [\(place)], \($0)" } }
            return [
                torn(
                    "aligned \(keyword)", store: store("X"), load: check("mov \(register), [X]", register)),
                torn(
                    "\(keyword) within a line", store: store("X + 9"),
                    load: check("mov \(register), [X + 9]", register),
                    at: "X + 9"),
                torn(
                    "\(keyword) across a line", store: store("LINE - 1"),
                    load: check("mov \(register), [LINE - 1]", register), at: "LINE - 1", isVariant: true),
                torn(
                    "aligned \(keyword), stored by STOS and loaded by LODS",
                    store: { "mov rax, \($0)\nlea rdi, [X]\nstos\(keyword.prefix(1))" },
                    load: check("lea rsi, [X]\nlods\(keyword.prefix(1))\nmov rbx, rax", register)),
                torn(
                    "aligned \(keyword), stored by PUSH",
                    store: {
                        size == 4
                            ? "mov dword [X], \($0)"
                            : "mov rax, rsp\nlea rsp, [X + \(size)]\npush \(keyword) \($0)\nmov rsp, rax"
                    },
                    load: check("mov \(register), [X]", register)),
            ]
        } + [
            torn(
                "aligned qword in two halves, and a wait between",
                store: { "mov dword [X], \($0)\nyield\nmov dword [X + 4], \($0)" },
                load: "yield\n" + check("mov rbx, [X]", "rbx"), isVariant: true, needsProcessors: false, batch: 1),
            torn(
                "aligned qword by MOVQ", store: { "mov rax, \($0)\nmovq xmm0, rax\nmovq [X], xmm0" },
                load: check("movq xmm1, [X]\nmovq rbx, xmm1", "rbx")),
            torn(
                "aligned qword by FILD and FISTP",
                store: { "push \($0)\nfild qword [rsp]\nadd rsp, 8\nfistp qword [X]" },
                load: check("fild qword [X]\nsub rsp, 8\nfistp qword [rsp]\npop rbx", "rbx")),
            torn(
                "aligned dword by an instruction that reads and computes",
                store: { "mov dword [X], \($0)" }, load: check("mov ebx, 0\nadd ebx, [X]", "ebx")),
            // Likewise where the translation has to be found first.
            torn(
                "aligned qword after INVLPG", store: { "invlpg [X]\nmov qword [X], \($0)" },
                load: check("invlpg [X]\nmov rbx, [X]", "rbx")),
            torn(
                "16 aligned bytes by MOVDQA after INVLPG",
                store: { "mov rax, \($0)\nmovq xmm0, rax\npunpcklqdq xmm0, xmm0\ninvlpg [X]\nmovdqa [X], xmm0" },
                load: "invlpg [X]\nmovdqa xmm1, [X]\n" + sixteenWhole),
            // Atomic where the processor has AVX; Intel SDM vol. 3, 8.1.1.
            torn(
                "16 aligned bytes by MOVDQA",
                store: { "mov rax, \($0)\nmovq xmm0, rax\npunpcklqdq xmm0, xmm0\nmovdqa [X], xmm0" },
                load: "movdqa xmm1, [X]\n" + sixteenWhole),
            torn(
                "16 bytes across a line by MOVUPS",
                store: { "mov rax, \($0)\nmovq xmm0, rax\npunpcklqdq xmm0, xmm0\nmovups [LINE - 8], xmm0" },
                load: "movups xmm1, [LINE - 8]\n" + sixteenWhole, at: "LINE - 8", isVariant: true),
        ]

    private static let sixteenWhole = """
        movq rbx, xmm1
        punpckhqdq xmm1, xmm1
        movq rcx, xmm1
        cmp rbx, rcx
        jne .torn
        inc rbx
        cmp rbx, 1
        jbe .whole
        .torn: mov edi, 1
        .whole:
        """
}
