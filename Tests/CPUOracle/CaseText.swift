import X86

/// Cases as text: what findings are kept as. A line is a name and a value; what is not said is as in `OracleCase()`.
public enum CaseText {
    public static func write(_ test: OracleCase) -> String {
        let initial = OracleState()
        var lines = ["mode \(test.mode.codeSize * 8)", "code \(hex(test.code))"]
        if let listing = listing(test) { lines += listing.map { "# \($0)" } }
        func line(_ name: String, _ value: UInt64) { lines.append("\(name) \(String(value, radix: 16))") }
        for range in test.ignored {
            lines.append("ignored \(String(range.lowerBound, radix: 16)) \(String(range.upperBound, radix: 16))")
        }
        line("background", UInt64(test.background))
        line("offset", UInt64(test.codeOffset))
        line("rip", test.state.rip)
        line("rflags", test.state.rflags)
        line("fs", test.state.fsBase)
        line("gs", test.state.gsBase)
        for (index, name) in GeneralRegister.allCases.enumerated() where test.state.registers[index] != 0 {
            line("\(name)", test.state.registers[index])
        }
        for index in 0..<104 where test.state.xsave[index] != initial.xsave[index] {
            line("xsave\(index)", test.state.xsave[index])
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Nil where the text isn't a case.
    public static func read(_ text: String) -> OracleCase? {
        var test = OracleCase()
        let names = GeneralRegister.allCases.map { "\($0)" }
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            guard words.count >= 2 else { return nil }
            let name = String(words[0])
            if name == "code" {
                test.code = words.dropFirst().compactMap { UInt8($0, radix: 16) }
                guard test.code.count == words.count - 1 else { return nil }
                continue
            }
            guard let value = UInt64(words[1], radix: 16) else { return nil }
            switch name {
            case "mode":
                guard let mode = OracleCase.Mode.allCases.first(where: { words[1] == "\($0.codeSize * 8)" }) else {
                    return nil
                }
                test.mode = mode
            case "ignored":
                guard words.count == 3, let end = UInt32(words[2], radix: 16), value < end else { return nil }
                test.ignored.append(UInt32(value)..<end)
            case "background": test.background = UInt32(truncatingIfNeeded: value)
            case "offset": test.codeOffset = UInt32(truncatingIfNeeded: value)
            case "rip": test.state.rip = value
            case "rflags": test.state.rflags = value
            case "fs": test.state.fsBase = value
            case "gs": test.state.gsBase = value
            default:
                if let index = names.firstIndex(of: name) {
                    test.state.registers[index] = value
                } else if name.hasPrefix("xsave"), let index = Int(name.dropFirst(5)), (0..<104).contains(index) {
                    test.state.xsave[index] = value
                } else {
                    return nil
                }
            }
        }
        return test
    }

    static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }

    private static func listing(_ test: OracleCase) -> [String]? {
        CodeAnalysis(test.code, mode: test.mode).steps.map { step in
            let address = test.state.rip &+ UInt64(step.offset)
            return "\(String(address, radix: 16)): \(Disassembler.text(step.instruction, rip: address))"
        }
    }
}
