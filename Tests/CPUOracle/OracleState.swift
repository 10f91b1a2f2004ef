/// What user-level code can see and change of a processor, beside memory: registers, flags, FPU and vector state.
///
/// Laid out in memory shared by the processes and with the guest's monitor; offsets are `OracleState.Offset`'s.
public struct OracleState: Sendable, BitwiseCopyable {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8…R15.
    public var registers = InlineArray<16, UInt64>(repeating: 0)
    public var rip: UInt64 = 0
    public var rflags: UInt64 = 0x202
    public var fsBase: UInt64 = 0
    public var gsBase: UInt64 = 0
    /// The XSAVE image in standard form: x87, SSE, header, YMM_Hi128. Intel SDM vol. 1, 13.4.
    public var xsave = InlineArray<104, UInt64>(repeating: 0)

    public enum Offset {
        public static let rip = 128
        public static let rflags = 136
        public static let fsBase = 144
        public static let gsBase = 152
        public static let xsave = 160
        public static let size = 992
    }

    public init() {
        xsave[0] = 0x37F
        xsave[3] = 0x1F80
        xsave[64] = 7
    }
}

extension OracleState {
    /// Those of x87, SSE and AVX, by their bits in XCR0, that are in their initial configuration. Intel SDM vol. 1, 13.6.
    var initialComponents: UInt8 {
        func isInitial(_ words: Range<Int>, _ initial: UInt64 = 0) -> Bool {
            words.allSatisfy { XSAVEImage.word(xsave, $0) & XSAVEImage.mask($0) == initial }
        }
        let x87 = isInitial(0..<1, 0x37F) && isInitial(4..<20)
        return (x87 ? 1 : 0) | (isInitial(20..<52) ? 2 : 0) | (isInitial(72..<104) ? 4 : 0)
    }
}

/// Code and the state in which it begins.
public struct OracleCase: Sendable, Equatable {
    /// Intel SDM vol. 3, 5.2.1: the code segment's kind.
    public enum Mode: UInt32, Sendable, CaseIterable {
        /// The selectors are those that Linux gives its processes.
        case bits64 = 0x33
        case bits32 = 0x23
        /// `OracleSegment.code`'s.
        case bits16 = 0x0F

        /// In bytes, as the decoder has it.
        public var codeSize: UInt8 {
            switch self {
            case .bits64: 8
            case .bits32: 4
            case .bits16: 2
            }
        }

        /// Those that the host's system lets a process execute.
        public static let offered = allCases.filter { $0 != .bits16 || NativeServer.offersLDT }
    }

    public static let maximalCodeSize = 1024

    public var mode = Mode.bits64
    public var state = OracleState()
    /// Which of the patterns the memory holds at first.
    public var background: UInt32 = 0
    /// Where the code lies in its window; it begins there.
    public var codeOffset: UInt32 = 0
    public var code: [UInt8] = []
    /// Offsets in the data window whose bytes are no one's to say.
    public var ignored: [Range<UInt32>] = []

    public init() {}

    /// The same with an end at `offset` in the code window.
    func cutOff(at offset: Int) -> OracleCase? {
        var test = self
        let index = offset - Int(codeOffset)
        guard code.indices.contains(index), code[index] != OracleWindows.filler else { return nil }
        test.code[index] = OracleWindows.filler
        return test
    }

    public static func == (a: OracleCase, b: OracleCase) -> Bool { CaseText.write(a) == CaseText.write(b) }
}

/// How code ended, beside its state and memory.
public struct OracleEnd: Sendable, BitwiseCopyable {
    public var state = OracleState()
    /// The exception's vector, or one of the constants below.
    public var vector: UInt32 = 0
    public var errorCode: UInt32 = 0
    /// CR2 of a page fault.
    public var faultAddress: UInt64 = 0

    /// It did not end by itself.
    public static let runaway: UInt32 = 0x100
    /// It made a system call, which was not carried out.
    public static let systemCall: UInt32 = 0x101
    /// The executor gave up; `errorCode` says why.
    public static let failure: UInt32 = 0x102
    /// The native process died of it.
    public static let killed: UInt32 = 0x103

    public init() {}

    /// Where and by what it ended.
    var text: String {
        func hex(_ value: UInt64) -> String { String(value, radix: 16) }
        return
            "vector \(vector), error code \(hex(UInt64(errorCode))), cr2 \(hex(faultAddress)), rip \(hex(state.rip)), "
            + "rsp \(hex(state.registers[4]))"
    }
}
