import GuestMemory
import X86

/// The guest that runs cases: a few hundred bytes of supervisor code that load a case's state, go to user level, and write down
/// how the case ended. It is the same on every hypervisor, and all of its talk with the client is one port write a case.
///
/// Its own pages are in the kernel's half of the address space, where a case can't reach them. Selectors are Linux's.
/// Intel SDM vol. 3, chapters 4 (paging) and 6 (events in 64-bit mode).
struct GuestMonitor {
    /// Guest-physical addresses.
    enum Physical {
        static let gdt: UInt64 = 0, tss: UInt64 = 0x200, ldt: UInt64 = 0x300
        static let pml4: UInt64 = 0x1000, lowPDPT: UInt64 = 0x2000, highPDPT: UInt64 = 0x3000
        static let lowPD: UInt64 = 0x4000, highPD: UInt64 = 0x5000
        static let kernelPT: UInt64 = 0x6000, codePT: UInt64 = 0x7000, dataPT: UInt64 = 0x8000, stackPT: UInt64 = 0x9000
        static let idt: UInt64 = 0xA000, code: UInt64 = 0xB000
        /// The case's state, so that its XSAVE image is aligned, and the frame by which it is entered, with DS and ES behind.
        static let input: UInt64 = 0xC020, frame: UInt64 = 0xC800
        /// An `OracleEnd`, and the top of the stack on which events are delivered.
        static let output: UInt64 = 0xD020, eventStack: UInt64 = 0xF000
        static let codeWindow: UInt64 = 0x1_0000
        static let dataWindow: UInt64 = 0x1_2000, stackWindow: UInt64 = 0x1_5000
        static let size = 0x2_0000
    }

    /// Where the monitor's pages are mapped.
    static let base: UInt64 = 0xFFFF_FFFF_8000_0000
    static let kernelCode: UInt16 = 0x10
    /// The port that is written when a case has ended.
    static let port: UInt8 = 0x10

    /// Where execution begins, in the monitor's address space.
    private(set) var entry: UInt64 = 0

    init(in memory: GuestMemory) throws {
        try writeDescriptors(memory)
        try writePageTables(memory)
        try writeCode(memory)
        try memory.write(
            [UInt8](repeating: OracleWindows.filler, count: OracleWindows.codeSize), at: Physical.codeWindow)
        try memory.write(
            OracleWindows.background(1).prefix(OracleWindows.readOnlySize),
            at: Physical.dataWindow + UInt64(OracleWindows.dataSize))
    }

    private func writeDescriptors(_ memory: GuestMemory) throws {
        // null, -, kernel code, kernel data, user code of 32 bits, user data, user code of 64 bits, -, TSS.
        let tss = GuestMonitor.base + Physical.tss
        let descriptors: [UInt64] = [
            0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF, 0x00CF_F300_0000_FFFF,
            0x00AF_FB00_0000_FFFF, 0,
            0x67 | (tss & 0xFF_FFFF) << 16 | 0x8B << 40 | (tss >> 24 & 0xFF) << 56, tss >> 32,
        ]
        for (index, value) in descriptors.enumerated() {
            try memory.store(value, at: Physical.gdt + UInt64(index) * 8)
        }
        for segment in OracleSegment.allCases {
            try memory.store(segment.descriptor, at: Physical.ldt + UInt64(segment.rawValue) * 8)
        }
        let stack = GuestMonitor.base + Physical.eventStack
        for offset in [4, 0x24] as [UInt64] { try memory.store(stack, at: Physical.tss + offset) }  // RSP0, IST1
        try memory.store(0x68 as UInt16, at: Physical.tss + 0x66)
    }

    private func writePageTables(_ memory: GuestMemory) throws {
        func link(_ table: UInt64, _ address: UInt64, _ level: UInt64, _ next: UInt64, user: Bool) throws {
            let index = address >> (12 + 9 * level) & 511
            try memory.store(next | (user ? 0x27 : 0x23), at: table + index * 8)
        }
        let user = OracleWindows.code
        try link(Physical.pml4, user, 3, Physical.lowPDPT, user: true)
        try link(Physical.lowPDPT, user, 2, Physical.lowPD, user: true)
        try link(Physical.pml4, GuestMonitor.base, 3, Physical.highPDPT, user: false)
        try link(Physical.highPDPT, GuestMonitor.base, 2, Physical.highPD, user: false)
        try link(Physical.highPD, GuestMonitor.base, 1, Physical.kernelPT, user: false)
        for page in 0..<UInt64(Physical.size / 4096) {
            try memory.store(page << 12 | 0x163, at: Physical.kernelPT + page * 8)
        }
        let noExecute: UInt64 = 1 << 63
        let windows: [(address: UInt64, table: UInt64, physical: UInt64, pages: Int, rights: UInt64)] = [
            (OracleWindows.code, Physical.codePT, Physical.codeWindow, 2, 0x65),
            (OracleWindows.data, Physical.dataPT, Physical.dataWindow, 2, 0x67 | noExecute),
            (OracleWindows.readOnly, Physical.dataPT, Physical.dataWindow + 0x2000, 1, 0x65 | noExecute),
            (OracleWindows.stack, Physical.stackPT, Physical.stackWindow, 1, 0x67 | noExecute),
        ]
        for window in windows {
            try link(Physical.lowPD, window.address, 1, window.table, user: true)
            for page in 0..<UInt64(window.pages) {
                let index = (window.address >> 12 & 511) + page
                try memory.store(window.physical + page << 12 | window.rights, at: window.table + index * 8)
            }
        }
    }

    // MARK: Code

    /// A place of the monitor's own, so many bytes behind a guest-physical address of its pages.
    private func at(_ physical: UInt64, _ offset: Int = 0) -> Assembler.Memory {
        .absolute(Int(Int64(bitPattern: GuestMonitor.base + physical)) + offset)
    }

    private mutating func writeCode(_ memory: GuestMemory) throws {
        let start = GuestMonitor.base + Physical.code
        entry = start
        var a = Assembler()
        let again = a.here()
        enterCase(&a)
        let common = a.here()
        leaveCase(&a)
        a.jmp(again)
        let handlers = (0..<256 as Range<UInt64>).filter { $0 < 32 || $0 == 0x80 }.map { vector in
            let handler = a.here()
            a.mov(at(Physical.output, OracleState.Offset.size), Int(vector), .long)
            a.mov(at(Physical.output, OracleState.Offset.size + 4), 0, .long)
            if Exceptions.withErrorCode.contains(vector) {
                // The upper half is CR2's place, which is written later.
                a.pop(at(Physical.output, OracleState.Offset.size + 4))
            }
            a.jmp(common)
            return (vector, handler)
        }
        let code = a.finished()
        for (vector, label) in handlers {
            let handler = start + UInt64(code.offset(of: label))
            // The gates that Linux opens to users: INT3, INTO, INT 80H.
            let level: UInt64 = vector == 3 || vector == 4 || vector == 0x80 ? 3 : 0
            let gate =
                handler & 0xFFFF | UInt64(GuestMonitor.kernelCode) << 16 | 1 << 32 | (0x8E | level << 5) << 40
                | (handler >> 16 & 0xFFFF) << 48
            try memory.store(gate, at: Physical.idt + vector * 16)
            try memory.store(handler >> 32, at: Physical.idt + vector * 16 + 8)
        }
        precondition(code.bytes.count <= 4096, "the monitor has outgrown its page")
        try memory.write(code.bytes, at: Physical.code)
    }

    /// The state: FPU and vectors, the bases, the selectors, the registers, then the frame.
    private func enterCase(_ a: inout Assembler) {
        a.mov(.rax, 7)
        a.xor(.rdx, .rdx, .long)
        a.xrstor(at(Physical.input, OracleState.Offset.xsave))
        a.mov(.rax, at(Physical.input, OracleState.Offset.fsBase))
        a.wrfsbase(.rax)
        a.mov(.rax, at(Physical.input, OracleState.Offset.gsBase))
        a.wrgsbase(.rax)
        a.mov(.ds, at(Physical.frame, 40))
        a.mov(.es, at(Physical.frame, 48))
        for register in GeneralRegister.allCases where register != .rsp {
            a.mov(register, at(Physical.input, Int(register.rawValue) * 8))
        }
        a.mov(.rsp, GuestMonitor.base + Physical.frame)
        a.iret()
    }

    /// An end: the registers as the event's delivery has left them, and its frame.
    private func leaveCase(_ a: inout Assembler) {
        for register in GeneralRegister.allCases where register != .rsp {
            a.mov(at(Physical.output, Int(register.rawValue) * 8), register)
        }
        a.rdfsbase(.rax)
        a.mov(at(Physical.output, OracleState.Offset.fsBase), .rax)
        a.rdgsbase(.rax)
        a.mov(at(Physical.output, OracleState.Offset.gsBase), .rax)
        a.mov(.rax, control: 2)
        a.mov(at(Physical.output, OracleState.Offset.size + 8), .rax)
        // The frame without an error code: its five words end at the stack's top.
        for (offset, field) in [
            (-0x28, OracleState.Offset.rip), (-0x18, OracleState.Offset.rflags),
            (-0x10, Int(GeneralRegister.rsp.rawValue) * 8),
        ] {
            a.mov(.rax, at(Physical.eventStack, offset))
            a.mov(at(Physical.output, field), .rax)
        }
        a.mov(.rax, 7)
        a.xor(.rdx, .rdx, .long)
        a.xsave(at(Physical.output, OracleState.Offset.xsave))
        a.out(GuestMonitor.port, .byte)
    }
}

/// Intel SDM vol. 3, table 6-1.
enum Exceptions {
    static let withErrorCode: Set<UInt64> = [8, 10, 11, 12, 13, 14, 17, 21]
}
