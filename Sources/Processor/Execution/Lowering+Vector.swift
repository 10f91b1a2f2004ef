import X86

/// MMX, SSE and AVX rows to ops: the table decides, no mnemonic has code of its own here but moves.
extension Lowering {
    static let vector: Lowerer = { $0.lowerVector() }

    private mutating func lowerVector() -> Bool {
        let row = instruction.opcodeRow
        let host = HostInstruction(instruction)
        if row.requiresAlignment, row.vendorDifference != .unalignedSHA || !mode.contains(.amd) {
            op.extra = host.memorySize > 0 ? UInt32(host.memorySize - 1) : 0
        } else {
            op.extra = 0
        }
        op.detail = host.memorySize
        guard lowerMove(host) || lowerToHost(host) else { return false }
        return check(host.usesMMX ? (row.exceptionClass == 22 ? .mmxAndSSE : .mmx) : row.isVEX ? .avx : .sse)
    }

    /// Where the mode asks for it, the handler gets a check of the control registers in front.
    mutating func check(_ check: FloatingPointCheck) -> Bool {
        guard mode.contains(.checksFPU) else { return true }
        guard let handler = check.before(op.handler) else { return false }
        op.handler = handler
        return true
    }

    private mutating func lowerToHost(_ host: HostInstruction) -> Bool {
        let row = host.row
        guard let address = host.address() else { return false }
        op.link = address
        op.immediate = host.slots
        op.source = VectorExceptions.Result(host).rawValue
        op.destination = host.usesMMX ? 0 : CPUState.zeroOffset
        // CVTPI2PD of memory leaves MMX and x87 alone, with AMD's processors CVTPI2PS, too.
        let concernsMMX = host.usesMMX || row.exceptionClass == 22 && row.prefix != .p66 && !mode.contains(.amd)
        if concernsMMX {
            op.handler =
                host.hasMemory ? (host.writesMemory ? VectorOps.mmxWriting : VectorOps.mmxReading) : VectorOps.mmx
        } else if host.hasMemory {
            op.handler = host.writesMemory ? VectorOps.writing : VectorOps.reading
        } else {
            op.handler = HostCode.handler(address)
        }
        return true
    }

    // MARK: Moves

    private static let wholeMoves: Set<Mnemonic> = [
        .movups, .movaps, .movupd, .movapd, .movdqa, .movdqu, .lddqu, .movntdqa, .movntps, .movntpd, .movntdq, .movss,
        .movsd, .movq,
        .movd, .vmovups, .vmovaps, .vmovupd, .vmovapd, .vmovdqa, .vmovdqu, .vlddqu, .vmovntdqa, .vmovntps, .vmovntpd,
        .vmovntdq,
        .vmovss, .vmovsd, .vmovq, .vmovd,
    ]
    private static let lowHalves: Set<Mnemonic> = [.movlps, .movlpd, .vmovlps, .vmovlpd]
    private static let highHalves: Set<Mnemonic> = [.movhps, .movhpd, .vmovhps, .vmovhpd]

    private mutating func lowerMove(_ host: HostInstruction) -> Bool {
        guard !host.usesMMX, host.roles.count + (host.hasMemory ? 1 : 0) == 2, let first = host.roles.first else {
            return false
        }
        let mnemonic = host.row.mnemonic, vex = host.row.isVEX
        if Lowering.wholeMoves.contains(mnemonic) {
            if host.hasMemory {
                return host.writesMemory
                    ? store(first.number, VectorMoves.store(host.memorySize))
                    : load(first.number, VectorMoves.load(host.memorySize, vex: vex))
            }
            return lowerRegisterMove(host)
        }
        guard host.hasMemory, Lowering.lowHalves.contains(mnemonic) || Lowering.highHalves.contains(mnemonic) else {
            return false
        }
        let offset: UInt16 = Lowering.highHalves.contains(mnemonic) ? 8 : 0
        if host.writesMemory {
            guard store(first.number, VectorMoves.store8) else { return false }
            op.source += offset
        } else {
            guard load(first.number, VectorMoves.loadHalf) else { return false }
            op.destination += offset
        }
        return true
    }

    private mutating func load(_ register: UInt8, _ handler: Op.Handler?) -> Bool {
        guard let handler else { return false }
        op.destination = CPUState.offset(ofVector: register)
        op.handler = handler
        return true
    }

    private mutating func store(_ register: UInt8, _ handler: Op.Handler?) -> Bool {
        guard let handler else { return false }
        op.source = CPUState.offset(ofVector: register)
        op.handler = handler
        return true
    }

    /// Between two registers; scalar moves that keep the rest of the destination go to the host.
    private mutating func lowerRegisterMove(_ host: HostInstruction) -> Bool {
        let destination = host.roles[0], source = host.roles[1]
        let vex = host.row.isVEX
        switch (destination.kind, source.kind) {
        case (.vector, .general):
            op.destination = CPUState.offset(ofVector: destination.number)
            op.source = CPUState.offset(ofRegister: source.number)
            let quad = instruction.rexW
            op.handler =
                vex
                ? (quad ? VectorMoves.vexFromGeneral8 : VectorMoves.vexFromGeneral4)
                : (quad ? VectorMoves.fromGeneral8 : VectorMoves.fromGeneral4)
            return true
        case (.general, .vector):
            op.destination = CPUState.offset(ofRegister: destination.number)
            op.source = CPUState.offset(ofVector: source.number)
            op.handler = instruction.rexW ? VectorMoves.toGeneral8 : VectorMoves.toGeneral4
            return true
        case (.vector, .vector):
            switch host.row.mnemonic {
            case .movups, .movaps, .movupd, .movapd, .movdqa, .movdqu:
                op.destination = CPUState.offset(ofVector: destination.number)
                op.source = CPUState.offset(ofVector: source.number)
                op.handler = VectorMoves.copy
                return true
            default: return false
            }
        default: return false
        }
    }
}
