// Port accesses: what the exit says, and that nothing of the instruction happens before the client has asked for it.

import KVM2006
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct PortTests {
    private typealias Port = FirstRun.Port

    @Test(arguments: Host.present)
    func consoleInRealMode(_ host: Host) throws {
        let client = try FirstClient(
            host,
            [
                0xB0, 0x48,  // mov al, 'H'
                0xE6, 0x10,  // out 0x10, al
                0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
                0xB8, 0x69, 0x21,  // mov ax, 0x2169
                0xEF,  // out dx, ax
                0x66, 0xB8, 0x78, 0x56, 0x34, 0x12,  // mov eax, 0x12345678
                0x66, 0xEF,  // out dx, eax
                0xEE,  // out dx, al
                0xEE,  // out dx, al
                0xF4,  // hlt
            ])
        let wanted: [(port: Port, rip: UInt64, length: UInt32)] = [
            (Port(isOut: true, size: 1, port: 0x10, addressOrValue: 0x48), 0x1002, 2),
            (Port(isOut: true, size: 2, port: 0x3F8, addressOrValue: 0x2169), 0x100A, 1),
            (Port(isOut: true, size: 4, port: 0x3F8, addressOrValue: 0x1234_5678), 0x1011, 2),
            (Port(isOut: true, size: 1, port: 0x3F8, addressOrValue: 0x78), 0x1013, 1),
            (Port(isOut: true, size: 1, port: 0x3F8, addressOrValue: 0x78), 0x1014, 1),
        ]
        var run = FirstRun()
        for (port, rip, length) in wanted {
            try client.run(&run, to: 2)
            #expect(run.port == port)
            #expect(run.instructionLength == length)
            #expect(try client.register(.rip) == rip)
            try client.access(&run) { _ in 0 }
        }
        try client.run(&run, to: 5)
        #expect(run.instructionLength == 1 && run.emulated == 0)
        #expect(try client.register(.rip) == 0x1016)
    }

    @Test(arguments: Host.present)
    func instructionIsMetAgainUntilItIsSkipped(_ host: Host) throws {
        let client = try FirstClient(host, [0xB0, 0x5A, 0xE6, 0x80, 0xE4, 0x81, 0xF4])
        var run = FirstRun()
        for port in [UInt16(0x80), 0x81] {
            for _ in 0..<3 {
                try client.run(&run, to: 2)
                #expect(run.port.port == port)
            }
            run.emulated = 1
        }
        try client.run(&run, to: 5)
        #expect(try client.register(.rax) & 0xFF == 0x5A)
    }

    @Test(arguments: Host.present)
    func input(_ host: Host) throws {
        let client = try FirstClient(
            host,
            [
                0xE4, 0x60,  // in al, 0x60
                0xA2, 0x00, 0x20,  // mov [0x2000], al
                0xBA, 0x34, 0x12,  // mov dx, 0x1234
                0xED,  // in ax, dx
                0xA3, 0x02, 0x20,  // mov [0x2002], ax
                0x66, 0xE5, 0x61,  // in eax, 0x61
                0x66, 0xA3, 0x04, 0x20,  // mov [0x2004], eax
                0xF4,
            ])
        try client.set([.rax: 0x1122_3344_5566_7788])
        var run = FirstRun()
        let wanted: [(port: UInt16, size: UInt8, length: UInt32, rax: UInt64)] = [
            (0x60, 1, 2, 0x1122_3344_5566_7788), (0x1234, 2, 1, 0x1122_3344_5566_77AB),
            (0x61, 4, 3, 0x1122_3344_5566_BEEF),
        ]
        for (index, exit) in wanted.enumerated() {
            try client.run(&run, to: 2)
            #expect(run.port == Port(size: exit.size, port: exit.port))
            #expect(run.instructionLength == exit.length)
            #expect(try client.register(.rax) == exit.rax)
            try client.access(&run) { _ in [0xAB, 0xBEEF, 0xCAFE_F00D][index] }
        }
        try client.run(&run, to: 5)
        #expect(client.bytes(at: 0x2000, 8) == [0xAB, 0, 0xEF, 0xBE, 0x0D, 0xF0, 0xFE, 0xCA])
    }

    struct StringCase: Sendable, CustomTestStringConvertible {
        var name: String
        var code: [UInt8]
        var size: UInt8
        var isOut: Bool
        var isDown = false
        var isRepeated = true
        var count: UInt64
        /// Offset that RSI or RDI begins with; the segment's base is 0x20000.
        var offset: UInt64 = 0x100
        var testDescription: String { name }
    }

    static let strings: [StringCase] = [
        StringCase(name: "outsb", code: [0x6E], size: 1, isOut: true, isRepeated: false, count: 1),
        StringCase(name: "rep outsb", code: [0xF3, 0x6E], size: 1, isOut: true, count: 5),
        StringCase(name: "rep outsb of one", code: [0xF3, 0x6E], size: 1, isOut: true, count: 1),
        StringCase(name: "rep outsw down", code: [0xF3, 0x6F], size: 2, isOut: true, isDown: true, count: 4),
        StringCase(name: "rep outsd", code: [0xF3, 0x66, 0x6F], size: 4, isOut: true, count: 3),
        StringCase(name: "rep outsb in es", code: [0xF3, 0x26, 0x6E], size: 1, isOut: true, count: 3),
        StringCase(name: "a32 rep outsb", code: [0xF3, 0x67, 0x6E], size: 1, isOut: true, count: 3),
        StringCase(name: "insb", code: [0x6C], size: 1, isOut: false, isRepeated: false, count: 1),
        StringCase(name: "rep insb", code: [0xF3, 0x6C], size: 1, isOut: false, count: 5),
        StringCase(name: "rep insw down", code: [0xF3, 0x6D], size: 2, isOut: false, isDown: true, count: 4),
        StringCase(name: "rep insd", code: [0xF3, 0x66, 0x6D], size: 4, isOut: false, count: 3),
        StringCase(
            name: "rep insb across a page", code: [0xF3, 0x6C], size: 1, isOut: false, count: 8, offset: 0xFFC),
    ]

    @Test(arguments: strings, Host.present)
    func string(_ test: StringCase, _ host: Host) throws {
        let client = try FirstClient(host, test.code + [0xF4])
        // DS and ES begin at 0x20000.
        var special = try client.specialRegisters()
        for segment in [1, 2] {
            special.replaceSubrange(8 + 24 * segment..<16 + 24 * segment, with: FirstClient.bytes(UInt64(0x20000)))
            special.replaceSubrange(20 + 24 * segment..<22 + 24 * segment, with: [0x00, 0x20])
        }
        try client.setSpecialRegisters(special)
        let size = UInt64(test.size)
        let step = test.isDown ? 0 &- size : size
        let places = (0..<test.count).map { 0x20000 + test.offset &+ step &* $0 }
        // A value for each element, none of whose bytes is another's.
        let values = (0..<test.count).map { index in
            (0..<size).reduce(UInt32(0)) { $0 | UInt32(0x40 + index * size + $1) << UInt32(8 * $1) }
        }
        for (place, value) in zip(places, values) {
            for byte in 0..<size {
                client[place + byte] = test.isOut ? UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)) : 0xEE
            }
        }
        let before: [FirstClient.Register: UInt64] = [
            .rdx: 0x3F6, .rcx: test.isRepeated ? test.count : 0x77, .rsi: test.offset, .rdi: test.offset,
            .rflags: test.isDown ? 0x402 : 2,
        ]
        try client.set(before)
        let registers = try client.registers()

        var run = FirstRun()
        try client.run(&run, to: 2)
        #expect(
            run.port
                == Port(
                    isOut: test.isOut, size: test.size, isString: true, isDown: test.isDown,
                    isRepeated: test.isRepeated,
                    port: 0x3F6, count: test.count, addressOrValue: 0x20000 + test.offset))
        #expect(Int(run.instructionLength) == test.code.count)
        #expect(try client.registers() == registers)
        if !test.isOut { for place in places { #expect(client[place] == 0xEE) } }

        var moved: [UInt32] = []
        try client.access(&run) { value in
            moved.append(value ?? values[moved.count])
            return moved[moved.count - 1]
        }
        #expect(moved == values)
        try client.run(&run, to: 5)
        for (place, value) in zip(places, values) {
            for byte in 0..<size {
                #expect(client[place + byte] == UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)))
            }
        }
        let index: FirstClient.Register = test.isOut ? .rsi : .rdi
        #expect(try client.register(index) == test.offset &+ step &* test.count)
        #expect(try client.register(.rcx) == (test.isRepeated ? 0 : 0x77))
        #expect(try client.register(.rip) == FirstClient.code + UInt64(test.code.count) + 1)
    }

    @Test(arguments: Host.present)
    func repeatedZeroTimesIsNoExit(_ host: Host) throws {
        let client = try FirstClient(host, [0x31, 0xC9, 0xF3, 0x6C, 0xF3, 0x6E, 0xF4])
        var run = FirstRun()
        try client.run(&run, to: 5)
        #expect(try client.register(.rip) == 0x1007)
    }

    /// The client has no way to raise an exception: what the guest may not do faults before it is asked.
    @Test func faultsComeFirst() throws {
        // a32 outsb at DS:10000h: #GP through the vector table at 0, whose handler halts at 0x1800.
        let client = try FirstClient(.software, [0x67, 0x6E, 0xF4])
        client.write([0x00, 0x18, 0, 0], at: 13 * 4)
        client.write([0xF4], at: 0x1800)
        try client.set([.rsi: 0x10000, .rdx: 0x80])
        var run = FirstRun()
        try client.run(&run, to: 5)
        #expect(try client.register(.rip) == 0x1801)
    }

    @Test(arguments: Host.present)
    func consoleInProtectedMode(_ host: Host) throws {
        let client = try FirstClient(
            host,
            [
                0xBE, 0x00, 0x20, 0x10, 0x00,  // mov esi, 0x102000
                0xB9, 0x06, 0x00, 0x00, 0x00,  // mov ecx, 6
                0x66, 0xBA, 0xE9, 0x00,  // mov dx, 0xe9
                0xFC,  // cld
                0xF3, 0x6E,  // rep outsb
                0xB0, 0x0A,  // mov al, 10
                0xEE,  // out dx, al
                0xF4,
            ])
        try client.enterProtectedMode()
        client.write(Array("2006 !".utf8), at: 0x10_2000)
        var output: [UInt8] = []
        var run = FirstRun()
        for address in [UInt64(0x10_2000), 0x0A] {
            try client.run(&run, to: 2)
            #expect(run.port.addressOrValue == address)
            try client.access(&run) { value in
                output.append(UInt8(truncatingIfNeeded: value ?? 0))
                return 0
            }
        }
        try client.run(&run, to: 5)
        #expect(String(decoding: output, as: UTF8.self) == "2006 !\n")
    }
}
