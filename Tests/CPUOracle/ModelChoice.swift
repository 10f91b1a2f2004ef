public import X86

/// What is each model's own: the outcomes that have been seen, and the one that is ours.
///
/// The host may end a case by any of them; a further one is a finding. What led up to it is compared all the same.
public struct ModelChoice: Sendable {
    /// What the code does.
    public let situation: String
    public let mnemonics: [Mnemonic]
    /// Why processors differ.
    public let reason: String
    /// Ours first.
    public let outcomes: [Outcome]
    /// As `CaseText` has it.
    public let example: String

    public struct Outcome: Sendable {
        public let behaviour: String
        public let seenOn: String
        /// How the example ends by it.
        public let end: Ending
    }

    /// Where and by what a case ends.
    public struct Ending: Sendable, Equatable {
        public var vector: UInt32
        /// From where the case begins.
        public var offset: UInt64
        /// CR2 of a page fault.
        public var faultAddress: UInt64?

        init(vector: UInt32, offset: UInt64, faultAddress: UInt64? = nil) {
            (self.vector, self.offset, self.faultAddress) = (vector, offset, faultAddress)
        }

        public init(_ end: OracleEnd, of test: OracleCase) {
            self.init(
                vector: end.vector, offset: end.state.rip &- test.state.rip,
                faultAddress: end.vector == 14 ? end.faultAddress : nil)
        }
    }

    /// Whether the host has ended a case at this instruction by an outcome that isn't ours.
    let explains: @Sendable (_ mode: OracleCase.Mode, Instruction, _ native: OracleEnd, _ guest: OracleEnd) -> Bool

    public static let all = [elementsBeyondTheLastAddress, interruptOne]

    /// By which the host, and not the guest, has ended a case.
    static func explaining(_ test: OracleCase, native: OracleEnd, guest: OracleEnd) -> ModelChoice? {
        guard Ending(native, of: test) != Ending(guest, of: test),
            let instruction = test.instruction(at: native.state.rip)
        else { return nil }
        return all.first {
            $0.mnemonics.contains(instruction.mnemonic) && $0.explains(test.mode, instruction, native, guest)
        }
    }

    private static let elementsBeyondTheLastAddress = ModelChoice(
        situation: "a selected element beyond the last address that 16 or 32 bits can name",
        mnemonics: [.vmaskmovps, .vmaskmovpd, .vpmaskmovd, .vpmaskmovq],
        reason: "what runs over the end of a segment of 4 GiB may fault or wrap: Intel SDM vol. 3, 5.3.1",
        outcomes: [
            Outcome(
                behaviour: "each element's address wraps", seenOn: "AMD family 25",
                end: Ending(vector: 14, offset: 0, faultAddress: 0xE)),
            Outcome(
                behaviour: "its address goes on behind it, in the segment or outside",
                seenOn: "AMD family 26", end: Ending(vector: 13, offset: 0)),
        ],
        example: "mode 32\ncode c4 e2 4d 8c 47 00\nrip 10000000\nrdi fffffff6\nxsave85 80000000\n",
        explains: { mode, instruction, native, _ in
            guard let beyond = MaskedElements(instruction, native.state).firstBeyondTheLastAddress else { return false }
            // Nothing is there where the segment goes on, too, as it does in 64-bit code, and in 32-bit code behind 64 KiB.
            if native.vector == 14 { return beyond.contains(native.faultAddress) }
            return mode != .bits64 && native.vector == (instruction.memory.segment == .ss ? 12 : 13)
                && native.errorCode == 0
        })

    private static let interruptOne = ModelChoice(
        situation: "INT1 where a hypervisor below takes #DB",
        mnemonics: [.int1],
        reason: "what it hands on need not be the trap that it is: Intel SDM vol. 2, INT1",
        outcomes: [
            Outcome(
                behaviour: "RIP is behind it", seenOn: "processors by themselves", end: Ending(vector: 1, offset: 1)),
            Outcome(
                behaviour: "RIP is at it", seenOn: "AMD family 26 under a hypervisor", end: Ending(vector: 1, offset: 0)
            ),
        ],
        example: "mode 32\ncode f1\nrip 10000000\n",
        explains: { _, instruction, native, guest in
            native.vector == 1 && guest.vector == 1
                && guest.state.rip == native.state.rip &+ UInt64(instruction.length)
        })
}

/// The elements that a VMASKMOV or VPMASKMOV selects, as it stands before it.
private struct MaskedElements {
    private let mask: [UInt64]
    private let size: UInt64
    private let count: UInt64
    private let segmentBase: UInt64
    /// The operand's, cut to the address size.
    private let offset: UInt64
    private let addressBits: UInt64

    init(_ instruction: Instruction, _ state: OracleState) {
        let number = 2 * Int(instruction.vexRegister & 15)
        mask = [20 + number, 21 + number, 72 + number, 73 + number].map { XSAVEImage.word(state.xsave, $0) }
        size = [.vmaskmovpd, .vpmaskmovq].contains(instruction.mnemonic) ? 8 : 4
        count = UInt64(instruction.vectorLength) / size
        let memory = instruction.memory
        func register(_ number: UInt8) -> UInt64 { number < 16 ? state.registers[Int(number)] : 0 }
        var sum = register(memory.base) &+ (register(memory.index) << UInt64(memory.scale))
        sum &+= UInt64(bitPattern: memory.displacement)
        if memory.base == MemoryOperand.ripRegister { sum &+= state.rip &+ UInt64(instruction.length) }
        addressBits = UInt64(instruction.addressSize) * 8
        offset = addressBits == 64 ? sum : sum & ((1 << addressBits) - 1)
        segmentBase = memory.segment == .fs ? state.fsBase : memory.segment == .gs ? state.gsBase : 0
    }

    /// The first selected element whose address does not wrap though 16 or 32 bits can't name it: its bytes, in 64-bit code.
    var firstBeyondTheLastAddress: ClosedRange<UInt64>? {
        guard addressBits < 64 else { return nil }
        for index in 0..<count where isSelected(index) && (offset + index * size) >> addressBits != 0 {
            let linear = segmentBase &+ offset &+ index * size
            return linear...max(linear, linear &+ (size - 1))
        }
        return nil
    }

    private func isSelected(_ index: UInt64) -> Bool {
        let bit = (index + 1) * size * 8 - 1
        return mask[Int(bit / 64)] >> (bit % 64) & 1 != 0
    }
}
