import X86

/// Instructions that go on in the next page.
extension Emitter {
    /// Looks whether an instruction goes on in the page, and with the bytes, that it was translated with; leaves if not.
    mutating func emitCrossing(_ step: Superblock.Step) {
        saveFlags()
        let (first, second) = Homes.scratch
        let (slow, holds) = (assembler.label(), assembler.label())
        if let following {
            // Where the table has the page as code.
            assembler.mov(second, state(CPUState.codeBaseOffset))
            assembler.lea(second, .at(second, 4096))
            assembler.mov(first, second)
            emitTableEntry(tag: second, place: first)
            assembler.cmp(second, .at(first, TLBEntry.executeOffset))
            assembler.jcc(.nz, slow, .near)
            assembler.mov(second, .at(first, TLBEntry.addendOffset))
            assembler.add(second, state(CPUState.codeBaseOffset))
            assembler.mov(first, following &- 4096)
            assembler.cmp(second, first)
            assembler.jcc(.nz, slow, .near)
            compareTail(step, at: second, unequal: slow)
            assembler.place(holds)
            let index = index
            later { emitter in
                emitter.assembler.place(slow)
                emitter.callCrossing(at: step.offset, index)
                emitter.assembler.jmp(holds)
            }
        } else {
            callCrossing(at: step.offset, index)
        }
        (held, flags) = (nil, .saved)
    }

    /// The bytes in the next page against those at a register and a page's distance.
    private mutating func compareTail(_ step: Superblock.Step, at place: GeneralRegister, unequal: Assembler.Label) {
        let tail = superblock.bytes[index].dropFirst(4096 - step.offset).array
        var offset = 0
        while offset < tail.count {
            let rest = tail.count - offset
            let width: Assembler.Width = rest >= 4 ? .long : rest >= 2 ? .word : .byte
            let value = tail[offset..<offset + Int(width.rawValue)].reversed().reduce(0) { $0 << 8 | Int($1) }
            markAccess(step)
            assembler.cmp(.at(place, 4096 + offset), value, width)
            assembler.jcc(.nz, unequal, .near)
            offset += Int(width.rawValue)
        }
    }

    private mutating func callCrossing(at offset: Int, _ index: Int) {
        assembler.mov(Homes.scratch.1, UInt.max >> 1)
        crossings.append((assembler.here(), index))
        assembler.mov(Homes.scratch.0, offset, .long)
        assembler.call(leaves.crossing)
    }
}
