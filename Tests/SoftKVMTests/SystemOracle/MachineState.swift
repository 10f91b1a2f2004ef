// All of a vCPU that its client can see, how it begins in each mode, and how two of them differ.

import KVM
import KVMABI

/// The modes that a case can begin in, with the level that it begins at.
enum CaseMode: Hashable, CustomStringConvertible {
    case real, v86
    case protected16, protected32, long, compatibility

    var description: String {
        switch self {
        case .real: "real-address"
        case .v86: "virtual-8086"
        case .protected16: "protected 16-bit"
        case .protected32: "protected 32-bit"
        case .long: "64-bit"
        case .compatibility: "compatibility"
        }
    }
    var isLong: Bool { self == .long || self == .compatibility }
    /// Bytes of an operand, by default.
    var operandSize: Int { self == .real || self == .v86 || self == .protected16 ? 2 : 4 }
}

/// The system-call MSRs.
enum CallMSR: Int, CaseIterable {
    case star, lstar, cstar, fmask, kernelGSBase, sysenterCS, sysenterESP, sysenterEIP

    var index: UInt32 {
        switch self {
        case .star: 0xC000_0081
        case .lstar: 0xC000_0082
        case .cstar: 0xC000_0083
        case .fmask: 0xC000_0084
        case .kernelGSBase: 0xC000_0102
        case .sysenterCS: 0x174
        case .sysenterESP: 0x175
        case .sysenterEIP: 0x176
        }
    }
}

struct MachineState {
    var general = kvm_regs()
    var special = kvm_sregs()
    var debug = kvm_debugregs()
    var events = kvm_vcpu_events()
    var msrs = [UInt64](repeating: 0, count: CallMSR.allCases.count)

    static let reset: MachineState = {
        var state = MachineState()
        state.debug.dr6 = 0xFFFF_0FF0
        state.debug.dr7 = 0x400
        state.general.rflags = 2
        state.special.cr0 = 0x10
        state.special.apic_base = 0xFEE0_0900
        return state
    }()

    /// At level `cpl` of a mode, about to execute what lies at `Layout.code`.
    init(_ mode: CaseMode, cpl: Int = 0) {
        self = MachineState.reset
        general.rip = Layout.code
        general.rsp = Layout.stacks[cpl] - 0x80
        general.rflags = 2
        special.idt.base = mode == .real ? Layout.vectors : Layout.idt
        special.idt.limit = mode == .real ? 0x3FF : mode.isLong ? 0xFFF : 0x7FF
        special.gdt.base = Layout.gdt
        special.gdt.limit = Selectors.limit
        special.tr = kvm_segment(Selectors.task, descriptor(base: Layout.task, limit: 0x8F, access: 0x8B, flags: 0))
        special.ldt = kvm_segment(
            Selectors.ldt, descriptor(base: Layout.ldt, limit: UInt64(Selectors.localLimit), access: 0x82, flags: 0))
        let dpl = UInt64(cpl) << 5
        var code: kvm_segment, data: kvm_segment
        switch mode {
        case .real, .v86:
            let access: UInt64 = mode == .v86 ? 0xF3 : 0x93
            code = kvm_segment(0, descriptor(limit: 0xFFFF, access: mode == .v86 ? 0xF3 : 0x9B, flags: 0))
            data = kvm_segment(0, descriptor(limit: 0xFFFF, access: access, flags: 0))
        case .protected16:
            code = kvm_segment(Selectors.code16[cpl], descriptor(limit: 0xFFFF, access: 0x9B | dpl, flags: 0))
            data = kvm_segment(Selectors.data16[cpl], descriptor(limit: 0xFFFF, access: 0x93 | dpl, flags: 0))
        case .protected32, .compatibility:
            code = kvm_segment(Selectors.code32[cpl], descriptor(access: 0x9B | dpl, flags: 0xC))
            data = kvm_segment(Selectors.data32[cpl], descriptor(access: 0x93 | dpl, flags: 0xC))
        case .long:
            code = kvm_segment(Selectors.code64[cpl], descriptor(access: 0x9B | dpl, flags: 0xA))
            data = kvm_segment(Selectors.data32[cpl], descriptor(access: 0x93 | dpl, flags: 0xC))
        }
        special.cs = code
        for path in [\kvm_sregs.ds, \.es, \.fs, \.gs, \.ss] { special[keyPath: path] = data }
        if mode != .real { special.cr0 |= 1 }
        // Virtual-8086 mode's IRET and INT n need IOPL 3; the port that ends a case is reached by the TSS's map.
        if mode == .v86 { general.rflags |= 1 << 17 | 0x3000 }
        if mode.isLong {
            special.cr0 |= 1 << 31
            special.cr4 = 1 << 5
            special.cr3 = Layout.pageTables
            special.efer = 0xD00  // LME, LMA, NXE
        }
    }

    private init() {}
}

extension kvm_segment {
    /// What a register holds once `descriptor` is loaded.
    init(_ selector: UInt16, _ descriptor: UInt64, upper: UInt64 = 0) {
        self.init()
        self.selector = selector
        base = descriptor >> 16 & 0xFF_FFFF | descriptor >> 32 & 0xFF00_0000 | upper << 32
        let raw = UInt32(truncatingIfNeeded: descriptor & 0xFFFF | descriptor >> 32 & 0xF_0000)
        type = UInt8(descriptor >> 40 & 15)
        s = UInt8(descriptor >> 44 & 1)
        dpl = UInt8(descriptor >> 45 & 3)
        present = UInt8(descriptor >> 47 & 1)
        avl = UInt8(descriptor >> 52 & 1)
        l = UInt8(descriptor >> 53 & 1)
        db = UInt8(descriptor >> 54 & 1)
        g = UInt8(descriptor >> 55 & 1)
        limit = g != 0 ? raw << 12 | 0xFFF : raw
    }

    /// After a null selector.
    static func null(_ selector: UInt16, dpl: UInt8 = 0) -> kvm_segment {
        var segment = kvm_segment()
        segment.selector = selector
        segment.unusable = 1
        segment.dpl = dpl
        return segment
    }
}

/// One thing that differs: its name, and its values here and there.
struct Difference: CustomStringConvertible {
    let name: String
    let wanted: UInt64
    let got: UInt64
    var description: String { "\(name) \(String(got, radix: 16)), not \(String(wanted, radix: 16))" }
}

extension MachineState {
    private static let generalFields: [(String, any KeyPath<kvm_regs, UInt64> & Sendable)] = [
        ("RAX", \.rax), ("RBX", \.rbx), ("RCX", \.rcx), ("RDX", \.rdx), ("RSI", \.rsi), ("RDI", \.rdi), ("RSP", \.rsp),
        ("RBP", \.rbp), ("R8", \.r8), ("R9", \.r9), ("R10", \.r10), ("R11", \.r11), ("R12", \.r12), ("R13", \.r13),
        ("R14", \.r14), ("R15", \.r15), ("RIP", \.rip),
    ]
    private static let segmentFields: [(String, any KeyPath<kvm_sregs, kvm_segment> & Sendable)] = [
        ("CS", \.cs), ("SS", \.ss), ("DS", \.ds), ("ES", \.es), ("FS", \.fs), ("GS", \.gs), ("TR", \.tr),
        ("LDTR", \.ldt),
    ]
    private static let controlFields: [(String, any KeyPath<kvm_sregs, UInt64> & Sendable)] = [
        ("CR0", \.cr0), ("CR2", \.cr2), ("CR3", \.cr3), ("CR4", \.cr4), ("CR8", \.cr8), ("EFER", \.efer),
        ("GDTR.base", \.gdt.base), ("IDTR.base", \.idt.base), ("IA32_APIC_BASE", \.apic_base),
    ]

    var isIn64BitMode: Bool { special.efer & 1 << 10 != 0 && special.cs.l != 0 }
    /// The current privilege level.
    var cpl: UInt8 { special.cr0 & 1 == 0 ? 0 : general.rflags & 1 << 17 != 0 ? 3 : special.ss.dpl }

    /// How `self` differs from what was wanted. `undefinedFlags` are left out of RFLAGS.
    func differences(from wanted: MachineState, undefinedFlags: UInt64 = 0) -> [Difference] {
        var found: [Difference] = []
        func compare(_ name: @autoclosure () -> String, _ wanted: UInt64, _ got: UInt64) {
            if wanted != got { found.append(Difference(name: name(), wanted: wanted, got: got)) }
        }
        for (name, path) in MachineState.generalFields {
            compare(name, wanted.general[keyPath: path], general[keyPath: path])
        }
        compare("RFLAGS", wanted.general.rflags & ~undefinedFlags, general.rflags & ~undefinedFlags)
        for (name, path) in MachineState.controlFields {
            compare(name, wanted.special[keyPath: path], special[keyPath: path])
        }
        compare("GDTR.limit", UInt64(wanted.special.gdt.limit), UInt64(special.gdt.limit))
        compare("IDTR.limit", UInt64(wanted.special.idt.limit), UInt64(special.idt.limit))
        for (name, path) in MachineState.segmentFields {
            let wanted = wanted.special[keyPath: path], got = special[keyPath: path]
            compare(name + ".selector", UInt64(wanted.selector), UInt64(got.selector))
            // CPL is SS's DPL, usable or not.
            if name == "SS" { compare("SS.DPL", UInt64(wanted.dpl), UInt64(got.dpl)) }
            // What else a null selector leaves behind is nobody's business, and in 64-bit mode SS is always used.
            let isNullStack = name == "SS" && isIn64BitMode && wanted.isNull && got.isNull
            if isNullStack || (wanted.unusable != 0 && got.unusable != 0) { continue }
            compare(name + ".unusable", UInt64(wanted.unusable), UInt64(got.unusable))
            compare(name + ".base", wanted.base, got.base)
            compare(name + ".limit", UInt64(wanted.limit), UInt64(got.limit))
            compare(name + ".type", UInt64(wanted.type), UInt64(got.type))
            let (one, other) = (wanted.flags, got.flags)
            compare(name + ".P,DPL,DB,S,L,G,AVL", one, other)
        }
        for (index, (one, other)) in [
            (wanted.debug.db.0, debug.db.0), (wanted.debug.db.1, debug.db.1), (wanted.debug.db.2, debug.db.2),
            (wanted.debug.db.3, debug.db.3), (wanted.debug.dr6, debug.dr6), (wanted.debug.dr7, debug.dr7),
        ].enumerated() {
            compare("DR\(index < 4 ? index : index + 2)", one, other)
        }
        for msr in CallMSR.allCases { compare("\(msr)", wanted.msrs[msr.rawValue], msrs[msr.rawValue]) }
        compare("exception", wanted.events.pendingException, events.pendingException)
        compare("interrupt.shadow", UInt64(wanted.events.interrupt.shadow), UInt64(events.interrupt.shadow))
        compare("interrupt.injected", UInt64(wanted.events.interrupt.injected), UInt64(events.interrupt.injected))
        compare("nmi.masked", UInt64(wanted.events.nmi.masked), UInt64(events.nmi.masked))
        compare("nmi.pending", UInt64(wanted.events.nmi.pending), UInt64(events.nmi.pending))
        return found
    }
}

extension kvm_segment {
    fileprivate var isNull: Bool { selector & 0xFFFC == 0 }

    fileprivate var flags: UInt64 {
        let low = UInt64(present) << 24 | UInt64(dpl) << 20 | UInt64(db) << 16 | UInt64(s) << 12
        return low | UInt64(l) << 8 | UInt64(g) << 4 | UInt64(avl)
    }
}

extension kvm_vcpu_events {
    /// An exception that is raised and not delivered, as one number; 0 for none.
    fileprivate var pendingException: UInt64 {
        guard exception.injected != 0 || exception.pending != 0 else { return 0 }
        return 1 << 48 | UInt64(exception.nr) << 40 | UInt64(exception.has_error_code) << 32
            | UInt64(exception.error_code)
    }
}
