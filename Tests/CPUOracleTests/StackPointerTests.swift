import CPUOracle
import Testing

/// What a 16-bit stack moves of ESP and EBP. Intel SDM vol. 1, 6.2.3: SP alone.
extension CPUOracleTests {
    /// Each behind `mov esp, …; mov ebp, …`, with 16- and 32-bit operands.
    private static let stackInstructions: [(name: String, code: [UInt8])] = [
        ("push ax", [0x50]), ("push sp", [0x54]), ("push 5", [0x6A, 5]), ("push [bx]", [0xFF, 0x37]),
        ("push ds", [0x1E]),
        ("pop ax", [0x58]), ("pop sp", [0x5C]), ("pop [bx]", [0x8F, 0x07]), ("pushf", [0x9C]), ("popf", [0x9D]),
        ("pusha", [0x60]), ("popa", [0x61]), ("leave", [0xC9]), ("enter 0, 0", [0xC8, 0, 0, 0]),
        ("enter 6, 0", [0xC8, 6, 0, 0]), ("enter 2, 1", [0xC8, 2, 0, 1]), ("enter 2, 3", [0xC8, 2, 0, 3]),
        ("call", [0xE8, 0, 0]), ("ret", [0xC3]), ("ret 4", [0xC2, 4, 0]), ("far ret", [0xCB]),
        ("far ret 6", [0xCA, 6, 0]),
        ("iret", [0xCF]),
    ]

    @Test func theUpperHalvesStayOnA16BitStack() throws {
        let runner = try runner(.bits16)
        for (name, instruction) in Self.stackInstructions {
            for isWide in [false, true] {
                for pointer: UInt32 in [0, 2, 4, 6, 0x10, 0xFFEC, 0xFFF8, 0xFFFA, 0xFFFC, 0xFFFE, 0xF800] {
                    for frame: UInt32 in [0, 2, 0xFFFA, 0xFFFC, 0xFFFE, 0xF810] {
                        var test = OracleCase()
                        test.mode = .bits16
                        test.state.rip = OracleCase.Mode.bits16.codeStart
                        test.state.registers[4] = 0xF800
                        func load(_ opcode: UInt8, _ value: UInt32) -> [UInt8] {
                            [0x66, opcode] + (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
                        }
                        test.code = load(0xBC, 0x1234_0000 | pointer) + load(0xBD, 0x5678_0000 | frame)
                        // A 32-bit call names its target with four bytes.
                        let isCall = instruction[0] == 0xE8
                        test.code += (isWide ? [0x66] : []) + instruction + (isWide && isCall ? [0, 0] : [])
                        let differences = try runner.differences(of: test)
                        #expect(
                            differences.isEmpty,
                            "\(isWide ? "32-bit " : "")\(name), SP \(String(pointer, radix: 16)), BP \(String(frame, radix: 16)): \(differences)"
                        )
                    }
                }
            }
        }
    }
}
