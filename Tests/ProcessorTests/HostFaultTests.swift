import Glibc
import GuestMemory
import TestLimits
import Testing
import X86

@testable import Processor

/// Memory of the client's that goes while an instruction or an event is under way, and comes back. What was abandoned leaves
/// nothing behind: the guest, seen then, is as it was before, and goes on as if the memory had been there all the time.
@Suite(.within(minutes: 20)) struct HostFaultTests {
    /// The page that goes, and what RDI points to.
    private static let gone: UInt64 = 0x9_0000
    private static let place: UInt64 = 0x9_0100

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Executed while the page is there; then HLT.
        var before: [UInt8] = []
        /// What meets the page, and what shows its effect; then HLT.
        let code: [UInt8]
        var cpl: UInt8 = 0
        var mxcsr: UInt32 = 0x1F80
        var prepare: @Sendable (SystemMachine) throws -> Void = { _ in }
    }

    static let cases: [Case] = [
        Case(testDescription: "mov eax, [rdi]", code: [0x8B, 0x07]),
        Case(testDescription: "add [rdi], eax, translated", before: [0x89, 0x07], code: [0x01, 0x07]),
        Case(testDescription: "lock add [rdi], eax, translated", before: [0x89, 0x07], code: [0xF0, 0x01, 0x07]),
        Case(
            testDescription: "lock add across pages", before: [0x89, 0x07], code: [0xF0, 0x01, 0x07],
            prepare: { $0.state.registers[7] = gone - 2 }),
        Case(
            testDescription: "lock add across pages, out of the gone one", code: [0xF0, 0x01, 0x07],
            prepare: { $0.state.registers[7] = gone + 4094 }),
        Case(
            testDescription: "cmpxchg16b [rdi]", code: [0x48, 0x0F, 0xC7, 0x0F, 0x48, 0x0F, 0xC7, 0x0F]),
        Case(testDescription: "pop qword [rdi]", code: [0x8F, 0x07]),
        Case(testDescription: "push qword [rdi]", code: [0xFF, 0x37]),
        Case(
            testDescription: "pop qword [rsp + 8]", code: [0x8F, 0x44, 0x24, 0x08],
            prepare: { $0.state.registers[4] = gone - 16 }),
        Case(testDescription: "leave", code: [0xC9], prepare: { $0.state.registers[5] = place }),
        Case(
            testDescription: "enter 16, 2", code: [0xC8, 16, 0, 2],
            prepare: {
                $0.state.registers[4] = gone + 4096 + 8
                $0.state.registers[5] = gone + 4096 + 64
            }),
        Case(
            testDescription: "rep movsb", code: [0xF3, 0xA4],
            prepare: {
                $0.state.registers[6] = gone - 64
                $0.state.registers[7] = gone - 32
                $0.state.registers[1] = 80
            }),
        Case(testDescription: "stos downwards", code: [0xFD, 0xAB, 0xFC]),
        Case(
            testDescription: "addps xmm0, [rdi], nothing masked", code: [0x0F, 0x58, 0x07], mxcsr: 0,
            prepare: {
                for offset: UInt64 in 0..<4 { try $0.memory.store(0x3F80_0000 as UInt32, at: place + offset * 4) }
            }),
        Case(
            testDescription: "addps xmm0, [rdi], toward zero", code: [0x0F, 0x58, 0x07], mxcsr: 0x7F80,
            prepare: { try $0.memory.store(0x3DCC_CCCD as UInt32, at: place) }),
        Case(
            testDescription: "sqrtps, then addps: flags that have gathered", before: [0x0F, 0x58, 0x07],
            code: [0x0F, 0x51, 0xC9, 0x0F, 0x58, 0x07]),
        Case(testDescription: "paddb mm0, [rdi]", code: [0x0F, 0xFC, 0x07]),
        Case(testDescription: "movntq [rdi], mm0", code: [0x0F, 0xE7, 0x07]),
        Case(testDescription: "fld1, fldpi, fstp qword [rdi]", code: [0xD9, 0xE8, 0xD9, 0xEB, 0xDD, 0x1F]),
        Case(
            testDescription: "fld1, fldpi, fstp qword [rdi], translated", before: [0x48, 0x89, 0x07],
            code: [0xD9, 0xE8, 0xD9, 0xEB, 0xDD, 0x1F]),
        Case(
            testDescription: "fld1, fbstp [rdi], translated", before: [0x48, 0x89, 0x07],
            code: [0xD9, 0xE8, 0xDF, 0x37]),
        Case(testDescription: "fsave [rdi]", code: [0xD9, 0xE8, 0xDD, 0x37]),
        Case(testDescription: "fxsave, fxrstor [rdi]", code: [0xD9, 0xE8, 0x0F, 0xAE, 0x07, 0x0F, 0xAE, 0x0F]),
        Case(
            testDescription: "vpmaskmovd xmm1, xmm2, [rdi]", code: [0xC4, 0xE2, 0x69, 0x8C, 0x0F],
            prepare: {
                for index in 24..<26 { $0.state.xsave[index] = .max }
            }),
        Case(
            testDescription: "call [rdi]", code: [0xFF, 0x17],
            prepare: { try $0.memory.store(SystemMachine.code + 0x102, at: place) }),
        Case(
            testDescription: "ret", code: [0xC3],
            prepare: {
                $0.state.registers[4] = place
                try $0.memory.store(SystemMachine.code + 0x101, at: place)
            }),
        Case(
            testDescription: "int 30h onto the page", code: [0xCD, 0x30], prepare: { $0.state.registers[4] = place }),
        Case(
            testDescription: "sti, mov eax, [rdi] with an interrupt waiting", code: [0xFB, 0x8B, 0x07],
            prepare: {
                $0.host.interrupts = [0x41]
                $0.processor.request(.interrupt)
            }),
        Case(
            testDescription: "mov ds, ecx by a table on the page", code: [0x8E, 0xD9, 0x8B, 0x03],
            prepare: { try moveTable($0) }),
        Case(
            testDescription: "mov ds, ecx as a user, by a table on the page", code: [0x8E, 0xD9, 0x8B, 0x03], cpl: 3,
            prepare: {
                try moveTable($0)
                $0.state.registers[1] = UInt64(SystemMachine.userData)
            }),
        Case(
            testDescription: "ud2 with the handler's stack on the page", code: [0x0F, 0x0B],
            prepare: { $0.state.registers[4] = place }),
    ]

    private static func moveTable(_ machine: SystemMachine) throws {
        try machine.memory.write(try machine.memory.read(count: 256, at: SystemMachine.gdt), at: place)
        machine.state.gdtr.base = place
        machine.state.registers[1] = UInt64(SystemMachine.data)
        machine.state.registers[3] = SystemMachine.gdt
    }

    private static func machine(_ test: Case) throws -> SystemMachine {
        // What comes before, HLT, what is tested, and many HLTs to end in.
        let code = test.before + [0xF4]
        let padded = code + [UInt8](repeating: 0x90, count: 0x100 - code.count) + test.code
        let machine = try SystemMachine.long(
            padded + [UInt8](repeating: 0xF4, count: 16), cpl: test.before.isEmpty ? test.cpl : 0)
        machine.state.cr4 |= 0x600 | 1 << 18
        machine.state.xcr0 = 7
        machine.state.registers[0] = 0x1122_3344_5566_7788
        machine.state.registers[7] = place
        machine.state.xsave[3] = UInt64(test.mxcsr) | 0xFFFF_0000_0000
        // 3.0 in each element.
        for index in 20..<52 { machine.state.xsave[index] = 0x4040_0000_4040_0000 }
        try test.prepare(machine)
        machine.processor.stateChanged()
        if !test.before.isEmpty { try #require(machine.processor.run() == .halted) }
        machine.state.rip = SystemMachine.code + 0x100
        return machine
    }

    private static func show(_ isThere: Bool, _ machine: SystemMachine) {
        unsafe mprotect(machine.memory.hostAddress + Int(gone), 4096, isThere ? PROT_READ | PROT_WRITE : PROT_NONE)
    }

    /// What a guest or its client can see.
    private struct View: Equatable {
        var words: [UInt64]
        var memory: [UInt8]

        init(_ machine: SystemMachine) throws {
            let state = machine.state
            words = (0..<16).map { state.registers[$0] } + (0..<128).map { state.xsave[$0] }
            words += [machine.processor.rflags, UInt64(state.cpl), UInt64(state.interruptShadow), state.cr2]
            words += (0..<8).flatMap { [state.segments[$0].base, UInt64(state.segments[$0].selector)] }
            words += [state.pendingException.isPending ? 1 : 0]
            // The stacks and the tables, and around the page that goes.
            memory = try machine.memory.read(count: 0x8000, at: 0)
            memory += try machine.memory.read(count: 4096, at: gone - 4096)
        }
    }

    @inline(never) private static func sum(_ a: Float80, _ b: Float80) -> Float80 { a + b }
    @inline(never) private static func quotient(_ a: Double, _ b: Double) -> Double { a / b }

    @Test(arguments: cases) func memoryThatComesBack(_ test: Case) throws {
        let reference = try Self.machine(test)
        _ = reference.processor.run()
        let machine = try Self.machine(test)
        Self.show(false, machine)
        var before = try View(machine)
        // Instructions before the one that meets the page are complete: the second attempt tells whether it changes anything.
        guard case .hostFault = machine.processor.run() else {
            Issue.record("nothing met the page: \(machine.processor.exit)")
            return
        }
        before = try View(machine)
        let rip = machine.state.rip
        if !machine.state.pendingException.isPending, machine.host.interrupts.isEmpty {
            guard case .hostFault = machine.processor.run() else {
                Issue.record("nothing met the page again")
                return
            }
            #expect(try View(machine) == before && machine.state.rip == rip)
        }
        #expect(machine.host.stops == 0, "the others stand still")
        #expect(Self.sum(1, 2) == 3, "the host's x87 stack is full")
        #expect(Self.quotient(1, 10) == 0.1, "the guest's rounding is in force")
        Self.show(true, machine)
        _ = machine.processor.run()
        #expect(machine.processor.exit == reference.processor.exit)
        #expect(machine.state.rip == reference.state.rip)
        #expect(try View(machine) == View(reference))
        #expect(
            try machine.memory.read(count: 4096, at: Self.gone) == reference.memory.read(count: 4096, at: Self.gone))
    }

    /// The next instruction's operand is checked for alignment as ever. Without the mend it is not, and HLT is #GP.
    @Test func anExemptionFromAlignmentEndsWithTheInstruction() throws {
        // vpmaskmovd xmm1, xmm2, [rdi]; mov eax, [rsi]; hlt
        let machine = try SystemMachine.long([0xC4, 0xE2, 0x69, 0x8C, 0x0F, 0x8B, 0x06, 0xF4], cpl: 3)
        machine.state.cr0 |= 1 << 18
        machine.state.cr4 |= 0x600 | 1 << 18
        machine.state.xcr0 = 7
        machine.state.xsave[24] = .max
        machine.state.registers[7] = Self.place
        machine.state.registers[6] = 0x9001
        machine.processor.rflags |= RFLAGS.AC.rawValue
        machine.processor.stateChanged()
        Self.show(false, machine)
        guard case .hostFault = machine.processor.run() else { return #expect(Bool(false), "nothing met the page") }
        #expect(machine.state.rip == SystemMachine.code)
        machine.state.rip += 5
        #expect(try machine.runToVector() == 17)
    }

    // MARK: Events

    enum Waiting: CaseIterable { case interrupt, nonMaskable, exception }

    /// An event that can't be delivered for now is delivered later. Each has been taken from where it waited by then.
    @Test(arguments: Waiting.allCases, [false, true]) func noEventIsLost(_ waiting: Waiting, fromUser: Bool) throws {
        let machine = try SystemMachine.long([0xF4], cpl: fromUser ? 3 : 0)
        if fromUser {
            try machine.memory.store(Self.place + 0x400, at: SystemMachine.tss + 4)
        } else {
            machine.state.registers[4] = Self.place
        }
        machine.processor.rflags |= RFLAGS.IF.rawValue
        let vector: UInt8
        switch waiting {
        case .interrupt:
            vector = 0x41
            machine.host.interrupts = [vector]
            machine.processor.request(.interrupt)
        case .nonMaskable:
            vector = 2
            machine.processor.request(.nmi)
        case .exception:
            vector = 13
            machine.state.pendingException.isPending = true
            machine.state.pendingException.vector = vector
            machine.state.pendingException.hasErrorCode = true
            machine.state.pendingException.errorCode = 0x58
        }
        Self.show(false, machine)
        for _ in 0..<2 {
            guard case .hostFault = machine.processor.run() else { return #expect(Bool(false), "nothing met the page") }
            #expect(machine.state.rip == SystemMachine.code && machine.state.cpl == (fromUser ? 3 : 0))
            #expect(!machine.state.nmiBlocked)
        }
        Self.show(true, machine)
        #expect(try machine.runToVector() == vector)
        if waiting == .exception { #expect(try machine.stack(2, size: 8) == [0x58, SystemMachine.code]) }
    }

    /// The rest of a task switch can't be made again: the old task is saved, the new one half loaded.
    @Test func aTaskSwitchThatMeetsNoMemoryStopsTheGuest() throws {
        // jmp 48:0, a task whose LDT lies on the page.
        let machine = try SystemMachine.protected([0xEA, 0, 0, 0, 0, 0x48, 0])
        try machine.setDescriptor(0x48, SegmentDescriptor(base: 0xA000, limit: 0x67, attributes: 0x89).rawValue)
        try machine.setDescriptor(
            0x50, SegmentDescriptor(base: Self.gone, limit: 0xFF, attributes: 0x82).rawValue)
        try machine.memory.store(0x2_1000 as UInt32, at: 0xA020)
        for offset: UInt64 in [0x48, 0x50, 0x54] { try machine.memory.store(SystemMachine.data, at: 0xA000 + offset) }
        try machine.memory.store(UInt16(4), at: 0xA04C)  // CS, of the LDT
        try machine.memory.store(UInt16(0x50), at: 0xA060)
        Self.show(false, machine)
        guard case .hostFault = machine.processor.run() else { return #expect(Bool(false), "nothing met the page") }
        Self.show(true, machine)
        #expect(machine.processor.run() == .internalError(suberror: 3))
    }

    // MARK: Outside of a run

    /// The owner's own looks at guest memory find nothing there, and the process lives.
    @Test func tablesThatAreGoneLeadNowhere() throws {
        let machine = try SystemMachine.long([0xF4])
        #expect(machine.processor.translate(0x1234)?.address == 0x1234)
        let tables = unsafe machine.memory.hostAddress + Int(SystemMachine.tables)
        unsafe mprotect(tables, 3 * 4096, PROT_NONE)
        #expect(machine.processor.translate(0x1234) == nil)
        // PAE paging reads its four entries when the owner has written CR3.
        machine.state.efer = 0
        machine.state.segments[1] = SegmentRegister(limit: .max, selector: 8, attributes: 0xC09B)
        machine.state.pdptes[0] = 1
        machine.processor.stateChanged()
        #expect(machine.state.pdptes[0] == 0)
        unsafe mprotect(tables, 3 * 4096, PROT_READ | PROT_WRITE)
    }

    /// What the caller's thread has set for its floating point is neither the guest's nor lost.
    @Test func theCallersRoundingIsItsOwn() throws {
        // fld1; fld qword [rdi]; fdivp; fstp qword [rdi + 8]
        let machine = try SystemMachine.long([0xD9, 0xE8, 0xDD, 0x07, 0xDE, 0xF9, 0xDD, 0x5F, 0x08, 0xF4])
        machine.state.registers[7] = Self.place
        try machine.memory.store((10.0).bitPattern, at: Self.place)
        let usual = fegetround()
        fesetround(0xC00)  // FE_TOWARDZERO
        let exit = machine.processor.run()
        let after = fegetround()
        fesetround(usual)
        #expect(exit == .halted && after == 0xC00)
        #expect(try Double(bitPattern: machine.memory.load(UInt64.self, at: Self.place + 8)) == 0.1)
    }
}
