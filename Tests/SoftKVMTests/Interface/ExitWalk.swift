// Every exit reason of the interface, and how it is shown that it comes to who asked for it and to nobody else.

import KVM
import KVMABI

enum ExitWalk {
    enum Way: Sendable {
        /// A guest brings it about.
        case scenario(ExitScenario)
        /// A test of its own does, which the walk has beside the scenarios.
        case test(String)
        /// The software hypervisor never gives it, for this reason.
        case notGiven(String)
    }

    static let ways: [ExitReason: Way] = [
        // Nothing asks for these.
        .unknown: .test("EndpointVirtualCPUTests/intercepts"),
        .io: .scenario(.init(source: "out 0x80, al\ndone")),
        .mmio: .scenario(.init(source: "mov r12d, 0xd0000000\nmov [r12], eax\ndone")),
        .shutdown: .scenario(.init(source: "push 0\npush 0\nlidt [rsp]\nud2\ndone")),
        .internalError: .scenario(.init(source: "mov eax, 0xd0000000\njmp rax")),
        .intr: .test("ExitWalkTests/aKickIsAnExit"),
        .memoryFault: .test("ExitWalkTests/memoryThatGoesIsAnExitBesideEFAULT"),
        .failEntry: .notGiven("state that can't be entered is refused when it is set"),

        // The lack of a local APIC asks for these.
        .hlt: .scenario(
            .init(
                source: """
                    handlers
                    mov r12d, 0xfee00000
                    mov dword [r12 + 0xf0], 0x1ff
                    midway
                    sti
                    hlt
                    cli
                    done
                    """,
                refrain: { try $0.createInterruptControllers() },
                midway: { _ = try? $0.signalMSI(address: 0xfee0_0000, data: 0x24) })),
        .setTPR: .scenario(
            .init(
                source: "mov eax, 5\nmov cr8, rax\nmov eax, 2\nmov cr8, rax\ndone",
                refrain: { try $0.createInterruptControllers() },
                emulators: "its emulator changes CR8 without an exit")),

        // A field of the run area.
        .irqWindowOpen: .scenario(
            .init(
                source: "handlers\nsti\nnop\nout 0x80, al\nout 0x80, al\ncli\ndone",
                askCPU: { $0.requestsInterruptWindow = true },
                emulators: "it emulates, and looks for a window only where it enters its guest anew")),

        // Ioctls.
        .debug: .scenario(.init(source: "nop\nnop\ndone", askCPU: { try $0.setDebugging(.singleStepping) })),
        .exception: .notGiven("guest debugging gives KVM_EXIT_DEBUG"),
        .tprAccess: .scenario(
            .init(
                source: "mov r12d, 0xfee00000\nmov dword [r12 + 0x80], 0x20\ntick\ndone",
                prepare: { try $0.createInterruptControllers() }, askCPU: { try $0.setTPRAccessReporting(true) })),
        .xen: .notGiven("there are no Xen guests"),
        .systemEvent: .notGiven("there is no Hyper-V, whose MSRs ask for a reset or report a crash"),
        .apResetHold: .notGiven("there are no encrypted guests"),
        .tdx: .notGiven("there are no encrypted guests"),

        // Capabilities.
        .hypercall: .scenario(
            .init(
                source: """
                    mov eax, 12             ; KVM_HC_MAP_GPA_RANGE: one page, private
                    mov ebx, 0x100000
                    mov ecx, 1
                    mov edx, 0x10
                    vmcall
                    done
                    """,
                ask: { try $0.enable(.exitHypercall(1 << 12)) },
                notKernel: "the emulator of some kernels puts another instruction in VMCALL's place, for ever")),
        .x86RdMSR: .scenario(
            .init(
                source: "handlers\nattempt over\nmov ecx, 0x4000fff0\nrdmsr\nover: done",
                ask: { try $0.enable(.userSpaceMSR(.unknown)) })),
        .x86WrMSR: .scenario(
            .init(
                source: "handlers\nattempt over\nmov ecx, 0x4000fff0\nwrmsr\nover: done",
                ask: { try $0.enable(.userSpaceMSR(.unknown)) })),
        .ioapicEOI: .scenario(
            .init(
                source: """
                    handlers
                    mov word [0x6d000 + 0x24 * 16], handler
                    mov r12d, 0xfee00000
                    mov dword [r12 + 0xf0], 0x1ff
                    sti
                    midway
                    hlt
                    handler: mov dword [r12 + 0xb0], 0
                    jmp ended
                    ended: tick
                    done
                    """,
                ask: { try $0.enable(.splitIRQChip()) }, refrain: { try $0.createInterruptControllers() },
                midway: {
                    // A level-triggered message, routed as a pin of an I/O APIC.
                    try $0.setRouting([.msi(gsi: 4, address: 0xfee0_0000, data: 0x8024)])
                    try $0.setLine(4, to: true)
                })),
        .dirtyRingFull: .scenario(
            .init(
                source: """
                    mov edi, 0x100000
                    more: mov byte [rdi], 1
                    add edi, 0x1000
                    cmp edi, 0x200000
                    jne more
                    done
                    """,
                ask: { try $0.enable(.dirtyLogRing(bytes: 4096)) },
                equip: { try $0.machine.setFlags(.logDirtyPages, of: $0.high) },
                emulators: "it emulates, and looks at its ring only where it enters its guest anew")),
        .x86BusLock: .notGiven("a locked access is not told from another"),
        .notify: .notGiven("no guest can keep events from the hypervisor"),
        .hyperV: .notGiven("there is no Hyper-V"),

        // Other architectures'.
        .nmi: .notGiven("an NMI of the host is none of a process's"),
        .watchdog: .notGiven("it is of PowerPC"),
    ]
}
