// What instruction a vCPU is at. Today's exits give a port access's data; the first interface gave the guest's address, which
// stands in the code and in the registers. Intel SDM vol. 2, IN, INS, OUT, OUTS; vol. 1, 3.3.7 (addresses).

internal import KVMABI
internal import X86

/// A port instruction, as its bytes say.
struct PortInstruction: Equatable {
    var isInput: Bool
    /// Of one element, in bytes.
    var size: UInt8
    var isString: Bool
    var isRepeated: Bool
    /// Of addresses, in bytes.
    var addressSize: UInt8
    /// That a string is in.
    var segment: SegmentName
    /// Nil: in DX.
    var fixedPort: UInt16?
    /// In bytes.
    var length: UInt8

    init?(_ instruction: Instruction) {
        var fixedPort: UInt16?
        func size(_ operand: Operand) -> UInt8? {
            switch operand {
            case .register(_, let size), .stringSource(let size), .stringDestination(let size): size
            default: nil
            }
        }
        let isInput = instruction.mnemonic == .in || instruction.mnemonic == .ins
        guard isInput || instruction.mnemonic == .out || instruction.mnemonic == .outs else { return nil }
        let (data, port) = (instruction.operands[isInput ? 0 : 1], instruction.operands[isInput ? 1 : 0])
        guard let width = size(data) else { return nil }
        if case .immediate = port { fixedPort = UInt16(truncatingIfNeeded: instruction.immediate & 0xFF) }
        self.isInput = isInput
        // INS and OUTS have no form of 8 bytes, nor have IN and OUT.
        self.size = min(width, 4)
        isString = instruction.mnemonic == .ins || instruction.mnemonic == .outs
        isRepeated = isString && !instruction.prefixes.isDisjoint(with: [.rep, .repne])
        addressSize = instruction.addressSize
        segment = isInput ? .es : instruction.memory.segment
        self.fixedPort = fixedPort
        length = instruction.length
    }

    func port(_ registers: kvm_regs) -> UInt16 { fixedPort ?? UInt16(truncatingIfNeeded: registers.rdx) }

    private var addressMask: UInt64 {
        switch addressSize {
        case 2: 0xFFFF
        case 4: 0xFFFF_FFFF
        default: .max
        }
    }

    /// How many elements are left to move.
    func count(_ registers: kvm_regs) -> UInt64 { isRepeated ? registers.rcx & addressMask : 1 }

    /// The linear address of the next element.
    func address(_ registers: kvm_regs, _ special: kvm_sregs) -> UInt64 {
        let offset = (isInput ? registers.rdi : registers.rsi) & addressMask
        if CodeSize(special) == .bits64 {
            return segment == .fs || segment == .gs ? offset &+ special.base(of: segment) : offset
        }
        return (special.base(of: segment) &+ offset) & 0xFFFF_FFFF
    }
}

extension CodeSize {
    /// Of the code that a vCPU is in.
    init(_ special: kvm_sregs) {
        if special.efer & EFER.LMA.rawValue != 0, special.cs.l != 0 {
            self = .bits64
        } else {
            self = special.cs.db != 0 ? .bits32 : .bits16
        }
    }
}

extension kvm_sregs {
    fileprivate func base(of segment: SegmentName) -> UInt64 {
        switch segment {
        case .es: es.base
        case .cs: cs.base
        case .ss: ss.base
        case .ds: ds.base
        case .fs: fs.base
        case .gs: gs.base
        case .ldtr: ldt.base
        case .tr: tr.base
        }
    }
}

extension FirstVCPU {
    /// The bytes of guest memory at a linear address, as far as they can be reached.
    func read(linear: UInt64, _ count: Int, _ memory: FirstMemory) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let next = linear &+ UInt64(bytes.count)
            guard let place = try? translation(of: next), place.valid != 0 else { break }
            let found = memory.read(place.physical_address, min(count - bytes.count, 4096 - Int(next & 4095)))
            guard !found.isEmpty else { break }
            bytes += found
        }
        return bytes
    }

    /// Decodes what lies at an offset in CS.
    func instruction(
        at rip: UInt64, within limit: Int = 15, _ registers: kvm_regs, _ special: kvm_sregs, _ memory: FirstMemory
    ) -> Instruction? {
        let size = CodeSize(special)
        let linear = size == .bits64 ? rip : (special.cs.base &+ rip) & 0xFFFF_FFFF
        let isVirtual8086 = registers.rflags & RFLAGS.VM.rawValue != 0
        let isReal = special.cr0 & CR0.PE.rawValue == 0 || isVirtual8086
        return try? Decoder.decode(read(linear: linear, limit, memory), codeSize: size, realOrV86: isReal)
    }
}
