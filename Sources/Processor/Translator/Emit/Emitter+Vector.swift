import X86

/// Vector instructions: the guest's registers are in the host's, under their own names, and its MXCSR is the host's, from the
/// first superblock that uses them until emitted code is left (`VectorCode`).
extension Emitter {
    /// In front of all else, where the flags are saved: sees to it that the registers are loaded. With an exception unmasked they
    /// aren't, and the interpreter decides what happens.
    mutating func emitVectorEntry() {
        guard superblock.uses.contains(.vectors) else { return }
        emitEntry(CPUState.vectorPlaceOffset, leaves.loadVectors)
    }

    /// Calls `loader` unless `place` says that the host has the registers.
    mutating func emitEntry(_ place: Int, _ loader: Assembler.Label) {
        let (load, loaded) = (assembler.label(), assembler.label())
        assembler.cmp(state(place), Int(RegisterPlace.host.rawValue), .byte)
        assembler.jcc(.nz, load, .near)
        assembler.place(loaded)
        later { emitter in
            emitter.assembler.place(load)
            emitter.assembler.call(loader)
            emitter.assembler.jcc(.z, loaded, .near)
            emitter.assembler.jmp(emitter.coldExit(emitter.superblock.entry))
        }
    }

    /// LDMXCSR of a value that masks every exception and has no reserved bit.
    mutating func emitLoadMXCSR(_ step: Superblock.Step) {
        let (first, second) = Homes.scratch
        clobberFlags()
        let (place, _) = checkedOperand(step, needsFlags: false, needsScratch: false)
        markAccess(step)
        assembler.mov(first, place, .long)
        held = nil
        VectorCode.checkMXCSR(&assembler, first, second)
        assembler.jcc(.nz, coldExit(step.offset), .near)
        assembler.mov(state(CPUState.spillOffset(0)), first, .long)
        assembler.ldmxcsr(state(CPUState.spillOffset(0)))
    }
}
