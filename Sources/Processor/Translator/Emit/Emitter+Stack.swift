import X86

/// PUSH, POP, LEAVE and what CALL and RET do to the stack: RSP changes only once the access is made.
extension Emitter {
    mutating func emitPush(_ step: Superblock.Step) {
        let place = checkedPlace(step, Homes.stackPointer, -8)
        if case .register(let guest, _) = step.instruction.operands[0] {
            let register = loaded(guest, Homes.scratch.0)
            markAccess(step)
            assembler.mov(place, register)
        } else {
            markAccess(step)
            assembler.mov(place, Int(truncatingIfNeeded: Int64(bitPattern: step.instruction.immediate)))
        }
        moveStackPointer(by: -8)
    }

    mutating func emitPop(_ step: Superblock.Step) {
        guard case .register(let guest, _) = step.instruction.operands[0] else { return }
        let place = checkedPlace(step, Homes.stackPointer, 0)
        let home = Homes.home(guest)
        // POP RSP: what was popped stays.
        let register = home == Homes.stackPointer ? Homes.scratch.0 : home ?? Homes.scratch.0
        keepFlags(writing: [guest, 4])
        markAccess(step)
        assembler.mov(register, place)
        moveStackPointer(by: 8)
        if home == Homes.stackPointer {
            assembler.mov(Homes.stackPointer, register)
        } else if home == nil {
            assembler.mov(self.place(guest), register)
        }
    }

    mutating func emitLeave(_ step: Superblock.Step) {
        let place = checkedPlace(step, .rbp, 0)
        keepFlags(writing: [4, 5])
        markAccess(step)
        assembler.mov(Homes.scratch.0, place)
        assembler.lea(Homes.stackPointer, .at(.rbp, 8))
        assembler.mov(.rbp, Homes.scratch.0)
    }

    /// Pushes the address behind the instruction.
    mutating func pushNext(_ step: Superblock.Step) {
        let place = checkedPlace(step, Homes.stackPointer, -8)
        loadRIP(Homes.scratch.0, step.next)
        markAccess(step)
        assembler.mov(place, Homes.scratch.0)
        moveStackPointer(by: -8)
    }

    private mutating func moveStackPointer(by distance: Int) {
        keepFlags(writing: [4])
        assembler.lea(Homes.stackPointer, .at(Homes.stackPointer, distance))
    }
}
