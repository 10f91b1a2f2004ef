import X86

/// Whether FP and SIMD instructions may run at all: #UD and #NM by CR0, CR4 and XCR0.
/// Intel SDM vol. 3, 2.5 (CR0.EM, MP, TS), 13.1 (CR4.OSFXSR); vol. 1, 13 (XCR0).
///
/// `CodeMode.checksFPU` is set whenever any of these checks could fail, and then every such op goes through `check`; else
/// none is made.
enum FloatingPointCheck: UInt {
    case x87, wait, mmx, sse, mmxAndSSE, avx, xsave

    static let function: Op.Handler = { cpu, kind in
        let cpu = CPU(cpu)
        guard let check = FloatingPointCheck(rawValue: kind), let stop = check.problem(cpu) else { return 1 }
        return cpu.stopped(stop)
    }

    /// Whether every check passes: then none is made (`CPU.updateMode`).
    static func arePassed(cr0: UInt64, cr4: UInt64, xcr0: UInt64) -> Bool {
        cr0 & (CR0.EM.rawValue | CR0.TS.rawValue) == 0 && cr4 & CR4.OSFXSR.rawValue != 0
            && cr4 & CR4.OSXSAVE.rawValue != 0 && xcr0 & 7 == 7
    }

    private func problem(_ cpu: CPU) -> Stop? {
        let cr0 = cpu.state.cr0, cr4 = cpu.state.cr4
        let emulated = cr0 & CR0.EM.rawValue != 0, switched = cr0 & CR0.TS.rawValue != 0
        switch self {
        case .x87: return emulated || switched ? .deviceNotAvailable : nil
        case .wait: return switched && cr0 & CR0.MP.rawValue != 0 ? .deviceNotAvailable : nil
        case .mmx: if emulated { return .invalidOpcode }
        case .sse, .mmxAndSSE: if emulated || cr4 & CR4.OSFXSR.rawValue == 0 { return .invalidOpcode }
        case .avx: if cr4 & CR4.OSXSAVE.rawValue == 0 || cpu.state.xcr0 & 6 != 6 { return .invalidOpcode }
        case .xsave: if cr4 & CR4.OSXSAVE.rawValue == 0 { return .invalidOpcode }
        }
        return switched ? .deviceNotAvailable : nil
    }

    // MARK: In front of a handler

    struct Key: Hashable {
        var check: FloatingPointCheck
        var handler: UInt
    }

    static let made = HostCodeCache<Key>()

    /// A handler that makes this check and goes on to `handler`.
    func before(_ handler: Op.Handler) -> Op.Handler? {
        let handler = unsafe unsafeBitCast(handler, to: UInt.self)
        let address = FloatingPointCheck.made.address(of: Key(check: self, handler: handler)) {
            Assembler.code { a in
                let stopped = a.label()
                for register in [GeneralRegister.rdi, .rsi, .rax] { a.push(register) }
                a.mov(.rsi, rawValue)
                a.mov(.rax, unsafe unsafeBitCast(FloatingPointCheck.function, to: UInt.self))
                a.call(.rax)
                for register in [GeneralRegister.rcx, .rsi, .rdi] { a.pop(register) }
                a.test(.rax, .rax)
                a.jcc(.z, stopped)
                a.mov(.rax, handler)
                a.jmp(.rax)
                a.place(stopped)
                a.ret()
            }
        }
        return address.map(HostCode.handler)
    }
}
