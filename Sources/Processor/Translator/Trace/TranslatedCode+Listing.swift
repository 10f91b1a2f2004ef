import X86

/// Guest code and what was made of it, side by side.
extension TranslatedCode {
    private static let columns = 52

    /// Lines of guest instruction and host instructions, after one that says what and where.
    var listing: String {
        let privilege = mode.view == .user ? "user" : "supervisor"
        var text = "\(TranslatedCode.hex(rip)): \(privilege), \(marks.count) instructions, "
        text += "\(bytes.count) bytes at \(TranslatedCode.hex(UInt64(address)))\n"
        let page = rip & ~0xFFF
        var offset = 0
        for (index, mark) in marks.enumerated() {
            append(&text, "", offset..<mark.offset)
            let end = index + 1 < marks.count ? marks[index + 1].offset : tail
            let place = page &+ UInt64(mark.step.offset)
            let guest =
                "\(TranslatedCode.hex(place))  "
                + Disassembler.text(mark.step.instruction, rip: place)
            append(&text, guest, mark.offset..<end)
            offset = end
        }
        append(&text, "(out of line)", offset..<bytes.count)
        return text + "\n"
    }

    /// The left column's text beside the first of the lines of the right one.
    private func append(_ text: inout String, _ left: String, _ range: Range<Int>) {
        guard !range.isEmpty || !left.isEmpty else { return }
        let lines = hostLines(range)
        for index in 0..<max(lines.count, 1) {
            let name = index == 0 ? left : ""
            let gap = String(repeating: " ", count: max(1, TranslatedCode.columns - name.count))
            text += "  \(name)\(gap)| \(index < lines.count ? lines[index] : "")\n"
        }
    }

    private func hostLines(_ range: Range<Int>) -> [String] {
        var lines: [String] = []
        var offset = range.lowerBound
        while offset < range.upperBound {
            let rest = bytes[offset..<range.upperBound]
            let decoded = unsafe Array(rest.prefix(15)).withUnsafeBytes {
                unsafe try? Decoder.decode($0, codeSize: .bits64, realOrV86: false, vendor: .intel)
            }
            guard let decoded else {
                lines.append("byte \(TranslatedCode.hex(UInt64(bytes[offset])))")
                offset += 1
                continue
            }
            lines.append(Disassembler.text(decoded, rip: UInt64(address) &+ UInt64(offset)))
            offset += Int(decoded.length)
        }
        return lines
    }

    static func hex(_ value: UInt64) -> String { String(value, radix: 16) }
}
