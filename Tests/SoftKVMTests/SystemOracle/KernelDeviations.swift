// Where the kernel's instruction emulator is known not to do what the manual says. Each has a name and the section that
// says otherwise; a sweep counts the cases that it explains and says so.

import KVMABI

/// A deviation of the kernel's emulator from the manual.
struct KernelDeviation: Sendable {
    let name: String
    /// The section that says otherwise.
    let section: String
    /// Whether it is what this comparison shows.
    let explains: @Sendable (Comparison) -> Bool

    static let all: [KernelDeviation] = [
        KernelDeviation(name: "what its emulator can't do is #UD outside of level 0", section: "vol. 3, 6.15") {
            $0.isUnimplemented && $0.setup.state.cpl > 0 && Comparison.vector($0.got.state) == 6
        },
        KernelDeviation(
            name: "level 3 of 64-bit mode runs natively: its debug registers, flags and gates are not the guest's",
            section: "vol. 3, 17.2"
        ) { $0.setup.isWatched && $0.isNative },
        KernelDeviation(name: "its emulator meets no breakpoints on data and ports", section: "vol. 3, 17.2.4") {
            $0.setup.isWatched && $0.hasDataBreakpoint
        },
        KernelDeviation(name: "its emulator steps over a whole REP string instruction", section: "vol. 3, 17.3.1.4") {
            $0.isStepped && $0.setup.code.contains(0xF3)
        },
        KernelDeviation(name: "its emulator lets MOV SS and POP SS hold no traps back", section: "vol. 3, 6.8.3") {
            $0.isStepped
                && ($0.setup.code.contains(0x17)
                    || zip($0.setup.code, $0.setup.code.dropFirst()).contains { $0 == 0x8E && $1 != 0xD8 })
        },
        KernelDeviation(name: "TF of POPF and IRET leaves no trap of the OUT behind it", section: "vol. 3, 17.3.1.4") {
            $0.isStepped && ($0.setup.code.contains(0x9D) || $0.setup.code.contains(0xCF))
                && $0.wanted.state.events.exception.injected != 0
                && $0.got.state.events.exception.injected == 0
        },
        // Its authors say of the manuals, which have RF set, that processors leave it alone.
        KernelDeviation(name: "a general-detect fault leaves RF as it was before", section: "vol. 3, 17.3.1.1") {
            $0.setup.isWatched && $0.setup.state.general.rflags & 1 << 16 != 0
                && Comparison.vector($0.wanted.state) == 1 && $0.wanted.state.debug.dr6 & 1 << 13 != 0
                && $0.differences.isEmpty && $0.memory.count == 1
        },
        KernelDeviation(name: "task switches look at no T bit", section: "vol. 3, 17.3.1.5") {
            !$0.setup.isWatched && $0.wanted.state.debug.dr6 & 1 << 15 != 0 && Comparison.vector($0.wanted.state) == 1
        },
        KernelDeviation(name: "INT n leaves its emulator a single-step trap", section: "vol. 3, 17.3.1.4") {
            $0.isStepped && $0.hasSoftwareInterrupt
        },
        KernelDeviation(name: "what its emulator can't do is #UD outside of level 0", section: "vol. 3, 6.15") {
            $0.setup.isWatched && $0.setup.state.cpl > 0 && Comparison.vector($0.got.state) == 6
                && ($0.hasSoftwareInterrupt || $0.setup.code.contains(0xCF))
        },
        KernelDeviation(
            name: "level 3 of 64-bit mode runs natively: LAR and LSL see the host's tables", section: "vol. 2, LAR"
        ) { $0.isQuestion && $0.isNative && Comparison.vector($0.got.state) == nil },
        KernelDeviation(
            name: "level 3 of 64-bit mode runs natively: DS, ES, FS and GS aren't kept", section: "vol. 2, MOV"
        ) { comparison in
            comparison.isNative && comparison.wanted.exit == comparison.got.exit && comparison.memory.isEmpty
                && comparison.differences.allSatisfy { ["DS.", "ES.", "FS.", "GS."].contains($0.name.prefix(3)) }
        },
        KernelDeviation(
            name: "events and far transfers of virtual-8086 mode go as if it were protected mode",
            section: "vol. 3, 20.2 and 20.3"
        ) { $0.setup.mode == .v86 },
        KernelDeviation(
            name: "real-address mode: neither the vector table's limit nor the stack's counts",
            section: "vol. 3, 20.1.4"
        ) {
            $0.setup.mode == .real
                && ($0.setup.state.special.idt.limit < 0x3FF || $0.setup.state.special.ss.limit < 0xFFFF)
        },
        KernelDeviation(
            name: "delivery of events clears AC, and marks no segment accessed", section: "vol. 2, INT n, operation"
        ) { comparison in
            Comparison.vector(comparison.wanted.state) != nil && comparison.wanted.exit == comparison.got.exit
                && comparison.differences.allSatisfy {
                    $0.name == "RFLAGS" && ($0.wanted ^ $0.got) & ~0x4_0000 == 0
                }
                && comparison.memory.allSatisfy { ($0.here ^ $0.there) == 1 && $0.address < Layout.idt }
        },
        KernelDeviation(
            name:
                "delivery of events checks neither gates nor segments, and takes every gate for one of the mode's size",
            section: "vol. 2, INT n, operation"
        ) { $0.hasGateOfItsOwn },
        KernelDeviation(
            name: "IRET of IA-32e mode checks little, and restores neither IOPL and RF nor the data segments",
            section: "vol. 2, IRET, operation"
        ) { $0.setup.mode.isLong && ($0.opcode == [0xCF] || ($0.setup.isWatched && $0.setup.code.contains(0xCF))) },
        KernelDeviation(name: "SYSRET is SYSEXIT's selector, flags and checks", section: "vol. 2, SYSRET, operation") {
            $0.opcode == [0x0F, 0x07] || ($0.setup.isWatched && $0.setup.code.suffix(2) == [0x0F, 0x07])
        },
        KernelDeviation(name: "SYSEXIT of IA-32e mode whatever the vendor", section: "AMD APM vol. 3, SYSEXIT") {
            $0.setup.mode.isLong && $0.opcode == [0x0F, 0x35]
        },
        KernelDeviation(
            name: "SYSCALL of 64-bit level 3 goes the host's way: CS, SS and the flags stay", section: "vol. 2, SYSCALL"
        ) { $0.isNative && $0.opcode == [0x0F, 0x05] },
        KernelDeviation(name: "SWAPGS asks for neither mode nor level", section: "vol. 2, SWAPGS") {
            $0.opcode == [0x0F, 0x01, 0xF8]
        },
        KernelDeviation(name: "transfers mark CS accessed before their last check", section: "vol. 3, 3.4.5.1") {
            $0.differences.isEmpty && $0.wanted.exit == $0.got.exit
                && $0.memory.allSatisfy { ($0.here ^ $0.there) == 1 && Layout.gdt..<Layout.idt ~= $0.address }
        },
        KernelDeviation(name: "CR0's upper half is ignored", section: "vol. 2, MOV (control registers)") {
            $0.setup.code.starts(with: [0x0F, 0x22, 0xC3]) && $0.setup.state.general.rbx >> 32 != 0
        },
        KernelDeviation(name: "no paging but that of IA-32e mode", section: "vol. 3, 4.1.1") {
            $0.setup.code.starts(with: [0x0F, 0x22, 0xC3]) && !$0.setup.mode.isLong
                && Comparison.vector($0.got.state) == 13
        },
        KernelDeviation(name: "CR4 takes PKE, which CPUID does not show", section: "vol. 2, MOV (control registers)") {
            $0.setup.code.starts(with: [0x0F, 0x22, 0xE3]) && $0.got.state.special.cr4 & 1 << 22 != 0
        },
        KernelDeviation(name: "CR4.PCIDE can't be set, nor PAE cleared", section: "vol. 3, 4.10.1") {
            $0.setup.code.starts(with: [0x0F, 0x22, 0xE3]) && $0.setup.mode.isLong
        },
        KernelDeviation(name: "DR7's reserved bit 11 stays", section: "vol. 3, 17.2.4") {
            $0.differences.contains { $0.name == "DR7" }
                && $0.differences.allSatisfy { difference in
                    let changed = difference.wanted ^ difference.got
                    // AC, where an event came after it.
                    let isFlags = difference.name == "RFLAGS"
                    return difference.name == "DR7" ? changed == 0x800 : isFlags && changed == 0x4_0000
                }
        },
        KernelDeviation(
            name: "the upper halves of DR6 and DR7 are ignored in writes of DR4 and DR5", section: "vol. 3, 17.2.2"
        ) { $0.setup.code.starts(with: [0x0F, 0x23]) && $0.setup.state.general.rbx >> 32 != 0 },
        KernelDeviation(
            name: "LLDT and LTR of compatibility mode read eight bytes of a descriptor", section: "vol. 3, 3.5.2"
        ) {
            $0.setup.mode == .compatibility && $0.setup.code.starts(with: [0x0F, 0x00])
                && $0.setup.patches.contains { $0.address == Layout.gdt + UInt64(Selectors.slot) + 8 }
        },
        KernelDeviation(name: "no pages of 1 GiB, which CPUID shows", section: "vol. 3, 4.5") { comparison in
            comparison.setup.changesPageTables && comparison.got.state.special.cr2 != 0
                && comparison.setup.patches.contains { $0.address == 0x1_8000 && $0.bytes[0] & 0x80 != 0 }
        },
        KernelDeviation(
            name: "its emulator stores what lies on the first page before it finds that the second faults",
            section: "vol. 3, 6.5"
        ) { comparison in
            comparison.setup.changesPageTables && comparison.got.exit == comparison.wanted.exit
                && comparison.got.state.special.cr2 == comparison.wanted.state.special.cr2
                && comparison.wanted.state.special.cr2 & 0xFFF == 0
                && Comparison.vector(comparison.wanted.state) == 14
                && comparison.differences.allSatisfy { $0.name == "RFLAGS" && $0.wanted ^ $0.got == 0x4_0000 }
                && comparison.memory.allSatisfy { Layout.data + 0xFF0..<Layout.data + 0x1000 ~= $0.address }
        },
        KernelDeviation(name: "LLDT takes a selector of the LDT", section: "vol. 2, LLDT") {
            $0.setup.code.starts(with: [0x0F, 0x00, 0xD0]) && $0.setup.state.general.rax & 4 != 0
        },
        KernelDeviation(name: "LTR of a selector of the LDT has no error code", section: "vol. 2, LTR") {
            $0.setup.code.starts(with: [0x0F, 0x00, 0xD8]) && $0.setup.state.general.rax & 4 != 0
                && Comparison.vector($0.got.state) == 13
        },
        KernelDeviation(name: "LTR takes a 16-bit TSS in IA-32e mode", section: "vol. 3, 3.5, table 3-2") {
            $0.setup.mode.isLong && $0.setup.code.starts(with: [0x0F, 0x00, 0xD8])
                && Comparison.vector($0.wanted.state) == 13 && Comparison.vector($0.got.state) != 13
        },
    ]
}

extension Comparison {
    /// The guest began at level 3 of 64-bit mode, which this kind of /dev/kvm executes natively.
    fileprivate var isNative: Bool { setup.mode == .long && setup.state.cpl == 3 }

    /// One of the instructions that the kernel's emulator has only a part of, or nothing.
    fileprivate var isUnimplemented: Bool {
        switch setup.code.first(where: { $0 != 0x66 && $0 != 0x48 }) {
        // Far JMP, CALL and RET, IRET, INT n, INT3, INTO.
        case 0x9A, 0xEA, 0xFF, 0xCA, 0xCB, 0xCF, 0xCD, 0xCC, 0xCE, 0xF1: true
        // INVPCID.
        case 0x0F where opcode.starts(with: [0x0F, 0x38, 0x82]): true
        default: isQuestion
        }
    }

    /// A case of debug exceptions that begins with TF set, or sets it.
    fileprivate var isStepped: Bool {
        setup.isWatched
            && (setup.state.general.rflags & 0x100 != 0 || setup.code.contains(0x9D) || setup.code.contains(0xCF))
    }

    fileprivate var hasSoftwareInterrupt: Bool { setup.code.contains { [0xCC, 0xCD, 0xF1].contains($0) } }

    /// A breakpoint on data or a port is enabled, by the case or by what it writes to DR7.
    fileprivate var hasDataBreakpoint: Bool {
        for dr7 in [setup.state.debug.dr7, setup.state.general.rbp] {
            for index in UInt64(0)..<4 {
                let isEnabled = dr7 >> (index * 2) & 3 != 0, condition = dr7 >> (16 + index * 4) & 3
                if isEnabled, condition != 0 { return true }
            }
        }
        return false
    }

    /// The instruction without its prefixes.
    fileprivate var opcode: [UInt8] { Array(setup.code.drop { $0 == 0x66 || $0 == 0x48 }) }

    /// The case has put a gate of its own into the IDT, or has shortened it.
    fileprivate var hasGateOfItsOwn: Bool {
        setup.patches.contains { Layout.idt..<Layout.task ~= $0.address }
            || setup.state.special.idt.limit < (setup.mode == .real ? 0x3FF : setup.mode.isLong ? 0xFFF : 0x7FF)
    }

    /// LAR, LSL, VERR, VERW or ARPL.
    fileprivate var isQuestion: Bool {
        let code = setup.code
        if code.first == 0x63 { return setup.mode != .long }
        guard code.count > 2, code[0] == 0x0F else { return false }
        return code[1] == 2 || code[1] == 3 || (code[1] == 0 && code[2] & 0x30 == 0x20)
    }
}
