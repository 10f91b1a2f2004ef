import X86

/// In what two ends of one case differ, in words; empty where they agree.
///
/// Not compared: flags that the manual leaves undefined, flags that a user can't change, and what XSAVE images hold beside
/// registers.
struct Comparison {
    var differences: [String] = []
    /// The two can't be compared: a system call, a case that ran too long or killed its process.
    var inconclusive = false
    /// The two differ as models do.
    var choice: ModelChoice?

    private static let flags: RFLAGS = [.CF, .PF, .AF, .ZF, .SF, .OF, .DF, .NT, .AC, .ID]

    /// `path`: the way that execution has taken, where it is known.
    init(
        _ test: OracleCase, native: OracleEnd, guest: OracleEnd, memory: [String], path: PathAnalysis? = nil
    ) {
        let special: Set<UInt32> = [OracleEnd.runaway, OracleEnd.systemCall, OracleEnd.killed]
        // MXCSR.MM is a feature of the host's that guests aren't offered: the host may have gone on where a guest's load of it
        // is #GP.
        let misaligned =
            native.state.xsave[3] & 0x2_0000 != 0
            || Comparison.loadsMXCSR(test, guest) && Comparison.wentOn(native, guest)
        if special.contains(native.vector) || guest.vector == OracleEnd.runaway || misaligned {
            inconclusive = true
            return
        }
        // The native process's own memory may lie there: its program, its libraries, its stack.
        let hitsTheProcess = guest.vector == 14 && (0x5000_0000_0000..<0x8000_0000_0000).contains(guest.faultAddress)
        if Comparison.isOpen(test, native) || hitsTheProcess && !Comparison.sameFault(native, guest) {
            inconclusive = true
            return
        }
        choice = ModelChoice.explaining(test, native: native, guest: guest)
        guard choice == nil else {
            inconclusive = true
            return
        }
        func note(_ name: String, _ a: UInt64, _ b: UInt64) {
            differences.append("\(name) \(String(a, radix: 16)), not \(String(b, radix: 16))")
        }
        let isOpenFault = !Comparison.sameFault(native, guest) && Comparison.isOfEitherOperand(test, native, guest)
        if native.vector != guest.vector, !isOpenFault {
            note("vector", UInt64(guest.vector), UInt64(native.vector))
        }
        guard guest.vector != OracleEnd.failure else { return }
        if native.state.rip != guest.state.rip { note("rip", guest.state.rip, native.state.rip) }
        if native.vector == guest.vector, !isOpenFault, Exceptions.withErrorCode.contains(UInt64(native.vector)) {
            var mask = UInt32.max
            if native.vector == 14 {
                if native.faultAddress != guest.faultAddress,
                    test.instruction(at: native.state.rip).map(Comparison.isInPieces) != true
                {
                    note("cr2", guest.faultAddress, native.faultAddress)
                }
                // What the kernel's half of the address space holds is not shown to a process.
                if native.faultAddress >= 0x7FFF_FFFF_F000 { mask &= ~1 }
            }
            if (native.errorCode ^ guest.errorCode) & mask != 0 {
                note(
                    "error code of \(String(guest.faultAddress, radix: 16))", UInt64(guest.errorCode),
                    UInt64(native.errorCode))
            }
        }
        let popped = Comparison.poppedBeforeFault(test, native)
        for index in 0..<16 where native.state.registers[index] != guest.state.registers[index] {
            if popped.contains(index) { continue }
            note("\(GeneralRegister.allCases[index])", guest.state.registers[index], native.state.registers[index])
        }
        if native.state.fsBase != guest.state.fsBase { note("fs.base", guest.state.fsBase, native.state.fsBase) }
        if native.state.gsBase != guest.state.gsBase { note("gs.base", guest.state.gsBase, native.state.gsBase) }
        if (native.state.rflags ^ guest.state.rflags) & Comparison.flags.rawValue != 0 {
            let offset = Int(truncatingIfNeeded: Int64(bitPattern: native.state.rip &- test.state.rip))
            // An instruction that is cut off goes on in what the code window is filled up with.
            let code = test.code + [UInt8](repeating: OracleWindows.filler, count: 14)
            let undefined = path?.undefined ?? CodeAnalysis(code, mode: test.mode).undefined(at: offset)
            let mask = Comparison.flags.subtracting(undefined).rawValue
            if (native.state.rflags ^ guest.state.rflags) & mask != 0 {
                note("rflags", guest.state.rflags & mask, native.state.rflags & mask)
            }
        }
        var ignored: Set<Int>?
        for index in 0..<104 {
            var mask = XSAVEImage.mask(index)
            guard mask != 0, XSAVEImage.differs(native.state.xsave, guest.state.xsave, index) else { continue }
            if let register = XSAVEImage.register(index) {
                let gathered = ignored ?? Comparison.faultedGather(test, native)
                ignored = gathered
                if gathered.contains(register) { continue }
            }
            // Whether a result that is not delivered would have been exact with exponents without bounds.
            if index == 3, native.vector == 19 { mask &= ~Comparison.undecidedFlags(native) }
            let (a, b) = (XSAVEImage.word(guest.state.xsave, index), XSAVEImage.word(native.state.xsave, index))
            if (a ^ b) & mask != 0 { note(XSAVEImage.name(index), a & mask, b & mask) }
        }
        differences += memory
    }

    /// Whether a case ended with #GP at an instruction that loads MXCSR.
    private static func loadsMXCSR(_ test: OracleCase, _ end: OracleEnd) -> Bool {
        guard end.vector == 13, let instruction = test.instruction(at: end.state.rip) else { return false }
        return [.ldmxcsr, .vldmxcsr, .fxrstor].contains(instruction.mnemonic)
    }

    /// Whether the second did not end where the first did.
    private static func wentOn(_ a: OracleEnd, _ b: OracleEnd) -> Bool {
        a.vector != b.vector || a.state.rip != b.state.rip
            || (0..<16).contains { a.state.registers[$0] != b.state.registers[$0] }
    }

    /// Whether two page faults are the same.
    private static func sameFault(_ a: OracleEnd, _ b: OracleEnd) -> Bool {
        (a.vector, a.errorCode, a.faultAddress, a.state.rip) == (b.vector, b.errorCode, b.faultAddress, b.state.rip)
    }

    /// Whether CMPS, or what accesses a state image or ten bytes, faulted on both sides: which of its operands, or which of the
    /// bytes, is looked at first is no one's to say.
    private static func isOfEitherOperand(_ test: OracleCase, _ a: OracleEnd, _ b: OracleEnd) -> Bool {
        let faults: Set<UInt32> = [12, 13, 14, 17]
        guard a.state.rip == b.state.rip, faults.contains(a.vector), faults.contains(b.vector),
            let instruction = test.instruction(at: a.state.rip)
        else { return false }
        switch instruction.mnemonic {
        // FXSAVE and FXRSTOR may be #GP for their alignment.
        case .cmps, .fxsave, .fxrstor: return true
        // One operand is in one segment.
        default: return isInPieces(instruction) && Set([a.vector, b.vector]) != [12, 13]
        }
    }

    /// Whether the host ended it as the manuals leave it open: with a single-step trap within a gather, or with an unmasked
    /// exception of one of the several steps of DPPS and DPPD.
    private static func isOpen(_ test: OracleCase, _ end: OracleEnd) -> Bool {
        if end.vector == 14, isEmulated(test, at: end.state.rip) { return true }
        guard end.vector == 1 || end.vector == 19, let instruction = test.instruction(at: end.state.rip) else {
            return false
        }
        return end.vector == 1
            ? instruction.opcodeRow.vsib : [.dpps, .dppd, .vdpps, .vdppd].contains(instruction.mnemonic)
    }

    /// Whether Linux answers for the processor, which has UMIP refuse it: the page fault is made up then, and its error code
    /// says nothing of the page.
    private static func isEmulated(_ test: OracleCase, at rip: UInt64) -> Bool {
        guard let instruction = test.instruction(at: rip) else { return false }
        return [.sldt, .str, .sgdt, .sidt, .smsw].contains(instruction.mnemonic)
    }

    /// Flags of MXCSR that an instruction which raised #XM leaves to the processor: PE beside an overflow or underflow.
    private static func undecidedFlags(_ end: OracleEnd) -> UInt64 {
        end.state.xsave[3] & ~(end.state.xsave[3] >> 7) & 0x18 != 0 ? 0x20 : 0
    }

    /// Whether the instruction that faulted accesses a state image or ten bytes: which of them is looked at first is no one's to
    /// say.
    private static func isInPieces(_ instruction: Instruction) -> Bool {
        [.fxsave, .fxrstor, .fnsave, .frstor, .fnstenv, .fldenv].contains(instruction.mnemonic)
            || (0..<Int(instruction.operandCount)).contains {
                if case .memory(10) = instruction.operands[$0] { true } else { false }
            }
    }

    /// What POPA may have loaded before it faulted: it is executed again from the same ESP, whatever they hold.
    private static func poppedBeforeFault(_ test: OracleCase, _ end: OracleEnd) -> Set<Int> {
        guard [12, 13, 14, 17].contains(end.vector), let instruction = test.instruction(at: end.state.rip),
            instruction.mnemonic == .popa
        else { return [] }
        return [0, 1, 2, 3, 5, 6, 7]
    }

    /// Destination and mask of a gather that faulted: elements beyond the one that faulted may have been gathered already.
    /// Intel SDM vol. 2, VPGATHERDD.
    private static func faultedGather(_ test: OracleCase, _ end: OracleEnd) -> Set<Int> {
        guard end.vector == 14 || end.vector == 13, let instruction = test.instruction(at: end.state.rip),
            instruction.opcodeRow.vsib
        else { return [] }
        var registers: Set<Int> = []
        for index in 0..<Int(instruction.operandCount) {
            if case .vector(let number, _) = instruction.operands[index] { registers.insert(Int(number)) }
        }
        return registers
    }
}

/// The words of an XSAVE image in standard form. Intel SDM vol. 1, 13.4.
enum XSAVEImage {
    /// A word as the registers have it: a component that is in its initial state need not have been written.
    static func word(_ image: borrowing InlineArray<104, UInt64>, _ index: Int) -> UInt64 {
        let present = image[64]
        switch index {
        case 0 where present & 1 == 0: return 0x37F
        case 1 where present & 1 == 0: return 0
        case 2 where present & 1 == 0: return 0
        case 4..<20 where present & 1 == 0: return 0
        case 20..<52 where present & 2 == 0: return 0
        case 72..<104 where present & 4 == 0: return 0
        default: return image[index]
        }
    }

    /// Whether it is worth looking closer at a word.
    @inline(__always) static func differs(
        _ a: borrowing InlineArray<104, UInt64>, _ b: borrowing InlineArray<104, UInt64>, _ index: Int
    ) -> Bool {
        let (own, header) = (a[index] ^ b[index], (a[64] ^ b[64]) & 7)
        return own | header != 0
    }

    /// The bits of a word that are registers. The last x87 instruction's opcode and pointers differ by the vendor's and the
    /// kernel's way of saving.
    static func mask(_ index: Int) -> UInt64 {
        switch index {
        case 0: 0xFF_FFFF_FFFF
        case 3: 0xFFFF_FFFF
        case 4..<20: index & 1 == 0 ? .max : 0xFFFF
        case 20..<52, 72..<104: .max
        default: 0
        }
    }

    /// The vector register that a word is of.
    static func register(_ index: Int) -> Int? {
        switch index {
        case 20..<52: (index - 20) / 2
        case 72..<104: (index - 72) / 2
        default: nil
        }
    }

    static func name(_ index: Int) -> String {
        switch index {
        case 0: "x87 control, status, tags"
        case 3: "mxcsr"
        case 4..<20: "st\((index - 4) / 2)\(index & 1 == 0 ? "" : " sign and exponent")"
        case 20..<52: "xmm\((index - 20) / 2)\(index & 1 == 0 ? "" : " high")"
        default: "ymm\((index - 72) / 2) high\(index & 1 == 0 ? "" : "est")"
        }
    }
}
