import X86

/// The pieces of emitted code that all others share: the way in, the ways out, the look-up of code by address, and what is done
/// where a check fails. Offsets are from the cache's start.
struct CommonCode {
    /// A function of the state and of the address to go to; returns a `Departure`.
    var enter = 0
    /// To the interpreter at the instruction whose offset in the page is in the first scratch register.
    var cold = 0
    /// The same, between two instructions.
    var boundary = 0
    /// On to the code at the RIP in the first scratch register, or out where none is known.
    var lookUp = 0
    /// The same, with the number of a link in the second, which is filled.
    var linkMiss = 0
    /// The same for the link that the target's address leads to.
    var targetMiss = 0
    /// Fills a slot for an access at the linear address in the first scratch register, with a `SlotRequest` in the second. Called;
    /// returns with ZF set where it has.
    var readMiss = 0
    var writeMiss = 0
    /// The same where the table of translations was looked into in line: no slot is filled, and what is to be added to the linear
    /// address is in the second scratch register then.
    var readTableMiss = 0
    var writeTableMiss = 0

    /// Calls a handler of the interpreter: the op in the second scratch register; in the first the instruction's offset in the page,
    /// with bit 16 set where it has to do with the status flags. Called; returns where the next instruction may follow.
    var interpret = 0
    /// The same for `CPU.checkCrossing`.
    var crossing = 0
    /// The same for `CPU.transfer`. Gone to; goes on where the instruction leads.
    var transfer = 0

    /// Routines that load the vector registers and the x87 state: ZF set; or clear, where that can't be.
    var loadVectors = 0
    var loadX87 = 0

    /// Why emitted code was left.
    enum Departure: UInt {
        case boundary, cold
        /// A handler has said why (`CPUState.stop`).
        case stopped
    }

    let bytes: [UInt8]

    private static func gs(_ offset: Int) -> Assembler.Memory { Assembler.Memory(nil, offset).in(.gs) }

    init(_ options: ExecutorOptions) {
        var a = Assembler()
        let x87 = X87Code(&a)
        let vectors = VectorCode(&a, x87)
        let enterLabel = CommonCode.writeEnter(&a)
        let out = a.label()
        let coldLabel = CommonCode.writeLeave(&a, .cold, addsBase: true, out)
        let boundaryLabel = CommonCode.writeLeave(&a, .boundary, addsBase: true, out)
        let missLabel = CommonCode.writeLeave(&a, .boundary, addsBase: false, out)
        CommonCode.writeOut(&a, out, vectors)
        let lookUpLabel = CommonCode.writeLookUp(&a, miss: missLabel, fills: nil, vectors)
        let linkMissLabel = CommonCode.writeLookUp(&a, miss: missLabel, fills: EmittedData.links, vectors)
        let targetMissLabel = CommonCode.writeLookUp(&a, miss: missLabel, fills: EmittedData.targets, vectors)
        let readLabel = CommonCode.writeMiss(&a, isWrite: false, options, vectors)
        let writeLabel = CommonCode.writeMiss(&a, isWrite: true, options, vectors)
        let readTableLabel = a.here()
        CommonCode.writeRefill(&a, CPU.findForRead, vectors)
        let writeTableLabel = a.here()
        CommonCode.writeRefill(&a, CPU.findForWrite, vectors)
        let interpretLabel = CommonCode.writeCall(&a, out, CPU.interpret, vectors)
        let transferLabel = CommonCode.writeTransfer(&a, out, vectors)
        let crossingLabel = CommonCode.writeCall(&a, out, CPU.checkCrossing, vectors)
        let code = a.finished()
        bytes = code.bytes
        enter = code.offset(of: enterLabel)
        cold = code.offset(of: coldLabel)
        boundary = code.offset(of: boundaryLabel)
        lookUp = code.offset(of: lookUpLabel)
        linkMiss = code.offset(of: linkMissLabel)
        targetMiss = code.offset(of: targetMissLabel)
        interpret = code.offset(of: interpretLabel)
        crossing = code.offset(of: crossingLabel)
        transfer = code.offset(of: transferLabel)
        readMiss = code.offset(of: readLabel)
        writeMiss = code.offset(of: writeLabel)
        readTableMiss = code.offset(of: readTableLabel)
        writeTableMiss = code.offset(of: writeTableLabel)
        loadVectors = code.offset(of: vectors.load)
        loadX87 = code.offset(of: x87.load)
    }

    // MARK: In and out

    private static let saved: [GeneralRegister] = [.rbp, .rbx, .r12, .r13, .r14, .r15]

    private static func storeHomes(_ a: inout Assembler) {
        for (guest, host) in Homes.all { a.mov(gs(Int(CPUState.offset(ofRegister: guest))), host) }
    }

    private static func loadHomes(_ a: inout Assembler) {
        for (guest, host) in Homes.all { a.mov(host, gs(Int(CPUState.offset(ofRegister: guest)))) }
    }

    private static func writeEnter(_ a: inout Assembler) -> Assembler.Label {
        let label = a.here()
        for register in saved { a.push(register) }
        a.sub(.rsp, 8)
        a.rdgsbase(.rax)
        a.mov(.at(.rdi, CPUState.hostGSBaseOffset), .rax)
        a.wrgsbase(.rdi)
        a.mov(Homes.scratch.1, .rsi)
        loadHomes(&a)
        a.jmp(Homes.scratch.1)
        return label
    }

    private static func writeLeave(
        _ a: inout Assembler, _ departure: Departure, addsBase: Bool, _ out: Assembler.Label
    ) -> Assembler.Label {
        let label = a.here()
        if addsBase {
            a.add(Homes.scratch.0, gs(CPUState.codeBaseOffset))
            a.mov(gs(CPUState.ripOffset), Homes.scratch.0)
        }
        storeHomes(&a)
        a.mov(.rax, Int(departure.rawValue), .long)
        a.jmp(out)
        return label
    }

    /// Where the ways out meet, with the departure in RAX.
    private static func writeOut(_ a: inout Assembler, _ out: Assembler.Label, _ vectors: VectorCode) {
        a.place(out)
        a.call(vectors.storeToLeave)
        a.mov(.rdi, gs(CPUState.hostGSBaseOffset))
        a.wrgsbase(.rdi)
        a.add(.rsp, 8)
        for register in saved.reversed() { a.pop(register) }
        a.ret()
    }

    /// Calls a function of the state and of two registers, with the guest's registers in the state and a stack that is aligned; its
    /// result is in RAX. What was in registers is the caller's to load again.
    private static func callSwift(
        _ a: inout Assembler, _ function: HostCode.Function, _ second: GeneralRegister, _ third: GeneralRegister,
        _ vectors: VectorCode
    ) {
        storeHomes(&a)
        a.rdgsbase(.rdi)
        a.mov(.rsi, second)
        a.mov(.rdx, third)
        a.call(vectors.storeForCall)
        a.mov(.rax, unsafe unsafeBitCast(function, to: UInt.self))
        a.call(.rax)
    }

    // MARK: Code by address

    /// See `CPU.recallBlock`.
    private static func writeLookUp(
        _ a: inout Assembler, miss: Assembler.Label, fills: Int?, _ vectors: VectorCode
    ) -> Assembler.Label {
        let (first, second) = Homes.scratch
        let label = a.here()
        a.mov(gs(CPUState.ripOffset), first)
        if fills != nil { a.mov(gs(CPUState.spillOffset(0)), second) }
        a.mov(second, first)
        a.shr(second, 12)
        a.xor(second, first)
        a.and(second, BlockCache.lookupCount - 1, .long)
        a.lea(second, .at(second, index: second, scale: 2))
        a.shl(second, 3)
        a.add(second, gs(CPUState.lookupsOffset))
        a.cmp(.at(second), first)
        a.jcc(.nz, miss, .near)
        a.mov(first, gs(CPUState.enteredKeyOffset))
        a.cmp(.at(second, 8), first)
        a.jcc(.nz, miss, .near)
        a.mov(second, .at(second, 16))
        a.cmp(gs(CPUState.exitRequestOffset), 0, .long)
        a.jcc(.nz, miss, .near)
        a.cmp(.at(second, Block.translationOffset), 0, .long)
        a.jcc(.z, miss, .near)
        let isStale = a.label()
        a.mov(first, .at(second, Block.pageGenerationOffset))
        a.mov(first, .at(first))
        a.cmp(first, gs(CPUState.codeGenerationOffset))
        a.jcc(.nz, isStale, .near)
        if let links = fills {
            a.mov(gs(CPUState.spillOffset(1)), .rax)
            a.mov(.rax, gs(CPUState.spillOffset(0)), .long)
            a.shl(.rax, MemoryLayout<EmittedData.Link>.stride.trailingZeroBitCount)
            a.rdgsbase(first)
            a.add(.rax, first)
            a.mov(first, .at(second, Block.hostCodeOffset))
            a.mov(.at(.rax, links + EmittedData.targetOffset), first)
            a.mov(first, gs(CPUState.linkStampOffset))
            a.mov(.at(.rax, links + EmittedData.stampOffset), first)
            a.mov(first, gs(CPUState.ripOffset))
            a.mov(.at(.rax, links), first)
            a.and(first, -4096)
            a.mov(.at(.rax, links + EmittedData.pageOffset), first)
            a.mov(.rax, gs(CPUState.spillOffset(1)))
        }
        a.mov(first, gs(CPUState.ripOffset))
        a.and(first, -4096)
        a.mov(gs(CPUState.codeBaseOffset), first)
        a.jmp(.at(second, Block.hostCodeOffset))
        a.place(isStale)
        callSwift(&a, CPU.revalidate, second, first, vectors)
        a.call(vectors.loadAfterCall)
        a.mov(second, .rax)
        loadHomes(&a)
        a.test(second, second)
        a.jcc(.z, miss, .near)
        a.mov(first, gs(CPUState.ripOffset))
        if fills != nil { a.mov(second, gs(CPUState.spillOffset(0))) }
        a.jmp(label, .near)
        return label
    }

    // MARK: One instruction by the interpreter

    private static func writeCall(
        _ a: inout Assembler, _ out: Assembler.Label, _ function: HostCode.Function, _ vectors: VectorCode
    ) -> Assembler.Label {
        let (first, second) = Homes.scratch
        let stopped = a.label()
        let label = a.here()
        a.sub(.rsp, 8)
        callSwift(&a, function, second, first, vectors)
        a.add(.rsp, 8)
        a.test(.rax, .rax)
        a.jcc(.nz, stopped)
        a.call(vectors.loadAfterCall)
        loadHomes(&a)
        a.ret()
        a.place(stopped)
        // The registers are in the state, and the caller isn't gone back to.
        a.add(.rsp, 8)
        a.mov(.rax, Int(Departure.stopped.rawValue), .long)
        a.jmp(out)
        return label
    }

    private static func writeTransfer(
        _ a: inout Assembler, _ out: Assembler.Label, _ vectors: VectorCode
    ) -> Assembler.Label {
        let (first, second) = Homes.scratch
        let stopped = a.label()
        let label = a.here()
        callSwift(&a, CPU.transfer, second, first, vectors)
        a.test(.rax, .rax)
        a.jcc(.z, stopped)
        a.call(vectors.loadAfterCall)
        a.mov(second, .rax)
        loadHomes(&a)
        a.jmp(second)
        a.place(stopped)
        a.mov(.rax, Int(Departure.stopped.rawValue), .long)
        a.jmp(out)
        return label
    }

    // MARK: Memory

    /// Looks into the table of translations; behind it `CPU.refill`.
    private static func writeMiss(
        _ a: inout Assembler, isWrite: Bool, _ options: ExecutorOptions, _ vectors: VectorCode
    ) -> Assembler.Label {
        let (first, second) = Homes.scratch
        let (fails, isKnown) = (a.label(), a.label())
        let label = a.here()
        a.mov(gs(CPUState.spillOffset(0)), .rax)
        a.mov(gs(CPUState.spillOffset(1)), .rcx)
        a.mov(.rax, first)
        a.shr(.rax, 12 - TLBEntry.sizeShift)
        a.and(.rax, Int(TLBEntry.indexMask) << TLBEntry.sizeShift, .long)
        a.add(.rax, gs(CPUState.tlbOffset))
        a.mov(.rcx, first)
        a.and(.rcx, -4096)
        a.or(.rcx, gs(isWrite ? CPUState.tlbWriteGenerationOffset : CPUState.tlbGenerationOffset))
        a.cmp(.rcx, .at(.rax, isWrite ? TLBEntry.writeOffset : TLBEntry.readOffset))
        a.jcc(.nz, fails, .near)
        // The group's last byte is in the page, too.
        a.mov(.rcx, second, .long)
        a.shr(.rcx, SlotRequest.spanShift, .long)
        a.lea(.rcx, .at(.rcx, index: first, -1))
        a.xor(.rcx, first)
        a.shr(.rcx, 12)
        a.jcc(.nz, fails, .near)
        // RAX is the slot's number, RCX its distance from the first; the table's entry gives its place to the difference of
        // addresses.
        a.mov(.rax, .at(.rax, TLBEntry.addendOffset))
        a.mov(gs(CPUState.spillOffset(2)), .rax)
        a.mov(.rax, second, .long)
        a.and(.rax, 1 << SlotRequest.spanShift - 1, .long)
        a.mov(.rcx, .rax, .long)
        a.shl(.rcx, MemoryLayout<EmittedData.Slot>.stride.trailingZeroBitCount, .long)
        func slot(_ offset: Int = 0) -> Assembler.Memory {
            Assembler.Memory(.rcx, EmittedData.slot(0) + offset).in(.gs)
        }
        let changes = Assembler.Memory(.rax, EmittedData.changes).in(.gs)
        let isNew = a.label(), isUpper = a.label(), isNeighbour = a.label()
        a.cmp(slot(EmittedData.lengthOffset), 0)
        a.jcc(.z, isNew)
        // What goes on in the next page, or the one before, does so seldom. Others are counted, and `CPU.refill` sees to them.
        a.mov(gs(CPUState.spillOffset(4)), first)
        a.sub(first, slot())
        a.add(first, 4096)
        a.cmp(first, 3 * 4096)
        a.mov(first, gs(CPUState.spillOffset(4)))
        a.jcc(.b, isNeighbour)
        a.cmp(changes, Int(max(options.slotChanges, 1)) - 1, .byte)
        a.jcc(.nb, fails, .near)
        a.inc(changes, .byte)
        a.place(isNeighbour)
        a.mov(.rax, slot())
        a.xor(.rax, first)
        a.jcc(.ns, isKnown)
        a.place(isNew)
        a.test(first, first)
        a.jcc(.s, isUpper)
        for upper in [false, true] {
            if upper { a.place(isUpper) }
            // One more on the list.
            let list = SlotList(isWrite: isWrite, isUpper: upper)
            let count = gs(CPUState.filledSlotsOffset(list))
            a.mov(.rax, count, .long)
            a.cmp(.rax, EmittedData.slotCount, .long)
            a.jcc(.nb, fails, .near)
            a.inc(count, .long)
            a.mov(
                Assembler.Memory(
                    nil, index: .rax, scale: 4, EmittedData.filled + list.rawValue * EmittedData.filledSize
                ).in(.gs), second, .long)
            if !upper { a.jmp(isKnown) }
        }
        a.place(isKnown)
        a.and(first, -4096)
        a.mov(slot(), first)
        a.mov(.rax, gs(CPUState.spillOffset(2)))
        a.mov(slot(EmittedData.deltaOffset), .rax)
        a.add(.rax, first)
        a.mov(slot(EmittedData.hostOffset), .rax)
        a.shr(second, SlotRequest.spanShift, .long)
        a.mov(.rax, 4097, .long)
        a.sub(.rax, second)
        a.mov(slot(EmittedData.lengthOffset), .rax)
        a.mov(.rax, gs(CPUState.spillOffset(0)))
        a.mov(.rcx, gs(CPUState.spillOffset(1)))
        a.cmp(.rcx, .rcx)
        a.ret()
        a.place(fails)
        a.mov(.rax, gs(CPUState.spillOffset(0)))
        a.mov(.rcx, gs(CPUState.spillOffset(1)))
        writeRefill(&a, isWrite ? CPU.refillWrite : CPU.refillRead, vectors)
        return label
    }

    /// Calls one of `CPU.refill` and its kin, which say whether they have done it.
    private static func writeRefill(_ a: inout Assembler, _ function: HostCode.Function, _ vectors: VectorCode) {
        let (first, second) = Homes.scratch
        a.sub(.rsp, 8)
        callSwift(&a, function, first, second, vectors)
        a.call(vectors.loadAfterCall)
        a.add(.rsp, 8)
        a.mov(first, .rax)
        loadHomes(&a)
        a.mov(second, gs(CPUState.foundDeltaOffset))
        a.cmp(first, 1, .long)
        a.ret()
    }
}
