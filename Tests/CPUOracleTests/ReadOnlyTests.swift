import CPUOracle
import Processor
import Testing

/// Instructions that write their memory operand only sometimes, or what was there before, where it can't be written.
extension CPUOracleTests {
    /// At [RDI] or [EDI], which begins with zeros. Registers other than these are 0; RCX is the count.
    private static let sometimesWriting: [(name: String, modes: [OracleCase.Mode], code: [UInt8])] = [
        ("arpl that changes nothing", [.bits32], [0x63, 0x07]),
        ("arpl that changes something", [.bits32], [0xB0, 3, 0x63, 0x07]),
        ("shl by cl", [.bits64, .bits32], [0xD3, 0x27]), ("shl by 0", [.bits64, .bits32], [0xC1, 0x27, 0]),
        ("shl by 32", [.bits64, .bits32], [0xC1, 0x27, 32]), ("sar by cl", [.bits64, .bits32], [0xD2, 0x3F]),
        ("rol by cl", [.bits64, .bits32], [0xD3, 0x07]), ("rcl by 0", [.bits64, .bits32], [0xC0, 0x17, 0]),
        ("shld by cl", [.bits64, .bits32], [0x0F, 0xA5, 0x07]),
        ("shrd by 0", [.bits64, .bits32], [0x0F, 0xAC, 0x07, 0]),
        ("bt", [.bits64, .bits32], [0x0F, 0xA3, 0x0F]),
        ("btr of a clear bit", [.bits64, .bits32], [0x0F, 0xB3, 0x0F]),
        ("lock btr", [.bits64, .bits32], [0xF0, 0x0F, 0xB3, 0x0F]), ("or 0", [.bits64, .bits32], [0x83, 0x0F, 0]),
        ("add 0", [.bits64, .bits32], [0x83, 0x07, 0]), ("test", [.bits64, .bits32], [0x85, 0x07]),
        ("xchg", [.bits64, .bits32], [0x87, 0x07]), ("xadd", [.bits64, .bits32], [0x0F, 0xC1, 0x07]),
        ("cmpxchg that fails", [.bits64, .bits32], [0xB0, 1, 0x0F, 0xB1, 0x0F]),
        ("lock cmpxchg that fails", [.bits64, .bits32], [0xB0, 1, 0xF0, 0x0F, 0xB1, 0x0F]),
        ("cmpxchg8b that fails", [.bits64, .bits32], [0xB0, 1, 0x0F, 0xC7, 0x0F]),
        ("cmpxchg16b that fails", [.bits64], [0xB0, 1, 0x48, 0x0F, 0xC7, 0x0F]),
        ("rep stosb of nothing", [.bits64, .bits32], [0xF3, 0xAA]),
        ("rep movsb of nothing", [.bits64, .bits32], [0xF3, 0xA4]),
        ("vmaskmovps of nothing", [.bits64, .bits32], [0xC4, 0xE2, 0x79, 0x2E, 0x0F]),
        ("vpmaskmovd of nothing", [.bits64, .bits32], [0xC4, 0xE2, 0x7D, 0x8E, 0x0F]),
        ("xsave of nothing", [.bits64, .bits32], [0x0F, 0xAE, 0x27]),
        ("xsaveopt of nothing", [.bits64, .bits32], [0x0F, 0xAE, 0x37]),
        ("xsavec of nothing", [.bits64, .bits32], [0x0F, 0xC7, 0x27]),
        ("prefetchw", [.bits64, .bits32], [0x0F, 0x0D, 0x0F]), ("clflush", [.bits64, .bits32], [0x0F, 0xAE, 0x3F]),
        ("verw", [.bits64, .bits32], [0x0F, 0x00, 0x2F]),
        ("pop of a popped value", [.bits64, .bits32], [0x6A, 0, 0x8F, 0x07]),
    ]

    @Test(arguments: executors) func writesThatChangeNothingNeedTheRightAllTheSame(_ executor: ExecutorOptions) throws {
        let runner = try runner(.bits64, executor)
        var faults = 0
        for (name, modes, code) in Self.sometimesWriting {
            for mode in modes where OracleCase.Mode.offered.contains(mode) {
                var test = OracleCase()
                test.mode = mode
                test.state.rip = mode.codeStart
                test.state.registers[4] = OracleWindows.stack + 0x800
                test.state.registers[6] = OracleWindows.data
                test.state.registers[7] = OracleWindows.readOnly
                test.code = code
                let differences = try runner.differences(of: test)
                #expect(differences.isEmpty, "\(mode), \(name): \(differences)")
                if try runner.nativeEnd(of: test).vector == 14 { faults += 1 }
            }
        }
        // Most of them want the right to write.
        #expect(faults > Self.sometimesWriting.count)
    }
}
