import X86

/// CLI, STI, PUSHF, POPF, CLAC, STAC: IF and its virtual twin. Intel SDM vol. 2; vol. 3, 6.8.1 and 20.3 to 20.4
/// (virtual-8086 and protected-mode virtual interrupts).
extension Interpreter {
    static let systemFlags: [(Mnemonic, Lowering.Lowerer)] = [
        (.cli, { $0.use { CPU($0).clearInterrupts(OpCursor($1)) } }),
        (.sti, { $0.use { CPU($0).setInterrupts(OpCursor($1)) } }),
        (.pushf, { $0.use { CPU($0).pushFlags(OpCursor($1)) } }),
        (.popf, { $0.use { CPU($0).popFlags(OpCursor($1)) } }),
        (.clac, { $0.use { CPU($0).setAccessControl(OpCursor($1), false) } }),
        (.stac, { $0.use { CPU($0).setAccessControl(OpCursor($1), true) } }),
    ]
}

extension CPU {
    /// Whether CLI and STI act on IF (true) or VIF (false); #GP(0) where they may do neither.
    private func actsOnIF() throws(Stop) -> Bool {
        if !isProtected || iopl >= state.cpl { return true }
        let enabled = isV86 ? CR4.VME : CR4.PVI
        guard state.cpl == 3, state.cr4 & enabled.rawValue != 0 else { throw .generalProtection }
        return false
    }

    func clearInterrupts(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            state.systemFlags &= try actsOnIF() ? ~RFLAGS.IF.rawValue : ~RFLAGS.VIF.rawValue
        }
    }

    func setInterrupts(_ cursor: OpCursor) -> UInt {
        lastInstruction(cursor) { () throws(Stop) in
            if try actsOnIF() {
                if !hasFlag(.IF) {
                    state.systemFlags |= RFLAGS.IF.rawValue
                    state.interruptShadow = 1
                    processor.releaseHeldRequests()
                }
            } else {
                guard !hasFlag(.VIP) else { throw .generalProtection }
                state.systemFlags |= RFLAGS.VIF.rawValue
            }
        }
    }

    func pushFlags(_ cursor: OpCursor) -> UInt {
        instruction(cursor) { () throws(Stop) in
            var image = rflags & ~(RFLAGS.VM.rawValue | RFLAGS.RF.rawValue)
            if isV86, iopl < 3 {
                guard state.cr4 & CR4.VME.rawValue != 0, cursor.op.operandSize == 2 else { throw .generalProtection }
                image |= RFLAGS.IOPL.rawValue
                image = hasFlag(.VIF) ? image | RFLAGS.IF.rawValue : image & ~RFLAGS.IF.rawValue
            }
            var stack = StackFrame(self)
            try stack.push(image, size: Int(cursor.op.operandSize))
            stack.commit()
        }
    }

    func popFlags(_ cursor: OpCursor) -> UInt {
        let before = state.systemFlags
        let outcome = instruction(cursor) { () throws(Stop) in
            let size = Int(cursor.op.operandSize)
            var stack = StackFrame(self)
            var value = try stack.pop(size: size)
            var mask = changeableFlags(size: size, resume: false)
            if isV86, iopl < 3 {
                guard state.cr4 & CR4.VME.rawValue != 0, size == 2 else { throw .generalProtection }
                let setsIF = value & RFLAGS.IF.rawValue != 0
                guard value & RFLAGS.TF.rawValue == 0, !(setsIF && hasFlag(.VIP)) else { throw .generalProtection }
                value = value & ~RFLAGS.VIF.rawValue | (setsIF ? RFLAGS.VIF.rawValue : 0)
                mask |= RFLAGS.VIF.rawValue
            }
            stack.commit()
            rflags = rflags & ~(mask | RFLAGS.RF.rawValue) | value & mask
        }
        guard outcome != 0 else { return outcome }
        let changed = before ^ state.systemFlags
        if changed & RFLAGS.AC.rawValue != 0 { updateView() }
        if changed & RFLAGS.IF.rawValue != 0, hasFlag(.IF) { processor.releaseHeldRequests() }
        return exitRequest != 0 || hasFlag(.TF) || changed & RFLAGS.AC.rawValue != 0 ? leave(cursor) : outcome
    }

    func setAccessControl(_ cursor: OpCursor, _ on: Bool) -> UInt {
        instruction(cursor) { () throws(Stop) in
            guard state.cpl == 0 else { throw .invalidOpcode }
            state.systemFlags = on ? state.systemFlags | RFLAGS.AC.rawValue : state.systemFlags & ~RFLAGS.AC.rawValue
            updateView()
        }
    }
}
