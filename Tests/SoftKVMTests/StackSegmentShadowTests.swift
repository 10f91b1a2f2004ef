// What MOV SS and POP SS hold back over the next instruction, whatever that is: debug traps, interrupts, NMIs.
// Intel SDM vol. 3, 6.8.3 and 17.3.1, and 26.7.3, which says of each event what becomes of pending debug exceptions.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct StackSegmentShadowTests {
    /// A selector of 32-bit code whose base moves the stack away from what is watched.
    private static let movedStack: UInt16 = 0x50

    enum Load: String, CaseIterable, Sendable { case mov = "mov ss, [watched]", pop = "pop ss" }

    /// What follows the load: its source, and what comes of it. A #DB is told by the place that it was raised at, so a second
    /// one, in its own handler, shows by that place.
    struct Follower: Sendable, CustomTestStringConvertible {
        let code: String
        /// Vector and label of each exception that is reported, in order.
        let reports: [(vector: UInt32, place: String)]
        var dr6: UInt64 = 0xFFFF_0FF1
        var prepare = ""
        var testDescription: String { code }
    }

    private static let followers: [Follower] = [
        Follower(code: "nop", reports: [(1, "behind")]),
        Follower(code: "out 0x80, al", reports: [(1, "behind")]),
        Follower(code: "hlt", reports: [(1, "behind")]),
        Follower(code: "jmp behind", reports: [(1, "behind")]),
        // Behind the transfer, at the handler's first instruction.
        Follower(code: "int3", reports: [(1, "stubs + 3 * 16")]),
        Follower(code: "int 0x30", reports: [(1, "stubs + 0x30 * 16")]),
        Follower(code: "int 1", reports: [(1, "stubs + 1 * 16")]),
        Follower(code: "into", reports: [(1, "stubs + 4 * 16")], prepare: "mov al, 0x7F\nadd al, 1"),
        // One #DB for both.
        Follower(code: "db 0xF1", reports: [(1, "behind")]),
        // Faults: what was held back is lost, but to another debug exception.
        Follower(code: "ud2", reports: [(6, "follower")], dr6: 0xFFFF_0FF0),
        Follower(code: "div cl", reports: [(0, "follower")], dr6: 0xFFFF_0FF0, prepare: "xor ecx, ecx"),
        Follower(code: "mov ds, cx", reports: [(13, "follower")], dr6: 0xFFFF_0FF0, prepare: "mov ecx, 0x3F8"),
        Follower(
            code: "mov ebx, dr6", reports: [(1, "follower")], dr6: 0xFFFF_2FF1, prepare: "bts dword [control], 13"),
        // It has been met already when DR7 no longer watches.
        Follower(code: "mov dr7, ecx", reports: [(1, "behind")], prepare: "mov ecx, 0x400"),
    ]

    private static func source(_ load: Load, _ follower: Follower) -> String {
        """
        handlers
        attempt over
        mov eax, watched
        mov dr0, eax
        \(follower.prepare)
        mov esp, watched
        mov eax, [control]
        mov dr7, eax
        \(load.rawValue)
        follower: \(follower.code)
        behind: mov eax, 0xDEAD
        out 0xE9, eax
        over: mov eax, [places]
        mov eax, 0x5678
        out 0xEA, eax
        align 16
        ; Read and written, four bytes; the stack moves away from it.
        watched: dd \(movedStack)
        control: dd 0xF0402
        places: dd \((follower.reports.map(\.place) + ["0"]).joined(separator: ", "))
        """
    }

    @Test(arguments: Load.allCases, followers)
    func debugTrapsOver(_ load: Load, _ follower: Follower) throws {
        let code = try Assembler.assemble("org 0x1000\nbits 32\n" + Self.source(load, follower))
        let machine = try TestMachine(.software, .protected, code.bytes)
        // Flat but for its base, 2000H.
        try machine.memory.store(0x00CF_9300_2000_FFFF as UInt64, at: Place.descriptorTable + UInt64(Self.movedStack))
        var cpu = try machine.makeCPU()
        var values: [UInt32] = []
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .portOut(let out) where out.port == 0xE9: values.append(out.value)
            case .portOut(let out) where out.port == 0xEA: break run
            case .portOut, .halt: break
            case let exit: throw Unexpected(exit)
            }
        }
        let places = try #require(code.labels["places"])
        var wanted: [UInt32] = []
        for (index, report) in follower.reports.enumerated() {
            let place = try machine.memory.load(UInt32.self, at: places + UInt64(4 * index))
            wanted += [report.vector, report.vector == 13 ? 0x3F8 : 0, place]
        }
        #expect(values == wanted)
        #expect(try cpu.debugRegisters().dr6 == follower.dr6)
    }

    /// SYSCALL: #DB is raised at its target, with the caller's stack.
    @Test func debugTrapsOverSYSCALL() throws {
        let source = """
            handlers
            attempt over
            mov ecx, 0xC0000080
            rdmsr
            or eax, 1
            wrmsr
            mov ecx, 0xC0000081
            xor eax, eax
            mov edx, 0x00180008
            wrmsr
            mov ecx, 0xC0000082
            mov eax, entry
            xor edx, edx
            wrmsr
            mov eax, watched
            mov dr0, rax
            mov eax, 0xF0402
            mov dr7, rax
            mov ss, [watched]
            syscall
            entry: mov eax, 0xDEAD
            out 0xE9, eax
            over: mov eax, entry
            out 0xEA, eax
            align 16
            watched: dd 0x10
            """
        var cpu = try TestMachine(.software, source: source).makeCPU()
        var values: [UInt32] = []
        while true {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            if out.port == 0xEA {
                #expect(values == [1, 0, out.value])
                break
            }
            values.append(out.value)
        }
    }

    // MARK: Interrupts

    enum Event: String, CaseIterable, Sendable { case interrupt, nmi }

    /// The selector comes from the client, who makes an interrupt or an NMI pending before it answers: a load whose shadow is
    /// missed has it delivered before ESP is loaded.
    @Test(arguments: Load.allCases, Event.allCases)
    func interruptsOver(_ load: Load, _ event: Event) throws {
        let source = """
            handlers
            mov edi, 0x6d000 + 8 * VECTOR
            mov eax, handler
            mov [edi], ax
            mov esp, 0xD0000000
            sti
            nop
            LOAD
            mov esp, 0x5F000
            behind: mov eax, 0xDEAD
            out 0xE9, eax
            handler: mov eax, [esp]
            out 0xE9, eax
            mov eax, behind
            out 0xEA, eax
            """
        let text = source.replacing("VECTOR", with: event == .nmi ? "2" : "0x30")
            .replacing("LOAD", with: load == .pop ? "pop ss" : "mov ss, [0xD0000000]")
        let machine = try TestMachine(.software, .protected, source: text)
        var cpu = try machine.makeCPU()
        try cpu.run()
        do {
            guard case .mmioRead(let read) = cpu.exit else { throw Unexpected(cpu.exit) }
            read.answer(0x10)
        }
        if event == .nmi { try cpu.injectNMI() } else { try cpu.interrupt(0x30) }
        try cpu.run()
        let place = try written(cpu, to: 0xE9)
        try cpu.run()
        #expect(try written(cpu, to: 0xEA) == place)
    }

    private func written(_ cpu: borrowing VirtualCPU, to port: UInt16) throws -> UInt32 {
        guard case .portOut(let out) = cpu.exit, out.port == port else { throw Unexpected(cpu.exit) }
        return out.value
    }
}
