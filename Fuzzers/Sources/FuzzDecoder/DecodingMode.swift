import FuzzInput
import X86

/// What decoding depends on beside the bytes, and what must be true of its outcome.
struct DecodingMode {
    let codeSize: CodeSize
    let realOrV86: Bool
    let vendor: Vendor

    static let all: [DecodingMode] = [CodeSize.bits16, .bits32, .bits64].flatMap { size in
        [false, true].flatMap { real in
            [Vendor.intel, .amd].map { DecodingMode(codeSize: size, realOrV86: real, vendor: $0) }
        }
    }
    .filter { !($0.codeSize == .bits64 && $0.realOrV86) }

    func decode(_ bytes: [UInt8]) -> Result<Instruction, DecodeError> {
        do throws(DecodeError) {
            return .success(
                try Decoder.decode(bytes, codeSize: codeSize, realOrV86: realOrV86, vendor: vendor))
        } catch {
            return .failure(error)
        }
    }

    private func decodeBuffer(_ bytes: [UInt8]) -> Result<Instruction, DecodeError> {
        do {
            // SAFETY: the buffer is the array's, for the call.
            return .success(
                try unsafe bytes.withUnsafeBytes {
                    try unsafe Decoder.decode($0, codeSize: codeSize, realOrV86: realOrV86, vendor: vendor)
                })
        } catch {
            return .failure(error as? DecodeError ?? .invalid)
        }
    }

    // MARK: Bytes that are an instruction

    func check(_ instruction: Instruction, of bytes: [UInt8]) {
        let length = Int(instruction.length)
        require((1...15).contains(length) && length <= bytes.count, "\(length) of \(bytes.count) bytes")
        require(!Disassembler.text(instruction, rip: 0x1000).isEmpty, "no text")

        // What follows an instruction is nothing to it, and each part of it is too short.
        let alone = Array(bytes[..<length])
        guard case .success(let same) = decode(alone) else { report("\(self): not decoded without what follows") }
        requireEqual(instruction, same, "without what follows")
        guard case .success(let other) = decodeBuffer(bytes) else { report("\(self): not decoded from a buffer") }
        requireEqual(instruction, other, "from a buffer")
        for count in 0..<length {
            guard case .failure(let error) = decode(Array(bytes[..<count])) else {
                report("\(self): \(count) bytes do")
            }
            // UD0's and UD1's operands need not be there with AMD's processors.
            let needsOperands = vendor == .intel || ![.ud0, .ud1].contains(instruction.mnemonic)
            guard error == .truncated || error == .invalid && !needsOperands else {
                report("\(self): \(count) of \(length) bytes are not truncated")
            }
        }
        checkReencoding(instruction, alone)
    }

    private func requireEqual(_ one: Instruction, _ other: Instruction, _ what: String) {
        let text = Disassembler.text(one), second = Disassembler.text(other)
        require(one.row == other.row && one.length == other.length && text == second, "\(what): \(text), \(second)")
    }

    /// decode → re-encode → decode is the same operation on the same registers; and again, the same bytes.
    private func checkReencoding(_ original: Instruction, _ bytes: [UInt8]) {
        guard let code = Encoder.reencode(original, bytes: bytes, memoryBase: .r13, general: { $0 }) else { return }
        let mode = DecodingMode(codeSize: .bits64, realOrV86: false, vendor: vendor)
        let name = Disassembler.text(original)
        guard case .success(let again) = mode.decode(code) else {
            report("\(name): re-encoded as \(code), no instruction")
        }
        let second = Disassembler.text(again)
        require(Int(again.length) == code.count, "\(name): re-encoded as \(second) with bytes to spare")
        require(again.mnemonic == original.mnemonic, "\(name): re-encoded as \(second)")
        require(again.operandCount == original.operandCount, "\(name): re-encoded as \(second)")
        require(again.vectorLength == original.vectorLength, "\(name): re-encoded as \(second)")
        // The upper half of an immediate that names a register is compared as that.
        let hasRegister = (0..<4).contains { original.opcodeRow.operands[$0].kind == .L }
        let difference = (again.immediate ^ original.immediate) & (hasRegister ? 0xF : .max)
        require(difference == 0, "\(name): re-encoded as \(second)")
        for index in 0..<Int(original.operandCount) {
            require(again.operands[index] == original.operands[index], "\(name): re-encoded as \(second)")
            if case .memory = again.operands[index] {
                require(
                    again.memory.base == 13 && again.memory.displacement == 0
                        && again.memory.index == MemoryOperand.noRegister,
                    "\(name): re-encoded as \(second)")
            }
        }
        let third = Encoder.reencode(again, bytes: code, memoryBase: .r13, general: { $0 })
        require(third == code, "\(name): re-encoded as \(code), then as \(third ?? [])")
    }

    // MARK: Bytes that are none

    /// They have no operands with AMD's processors, and are decoded with those of Intel's where these are there.
    private func endsInUD0OrUD1(_ bytes: [UInt8]) -> Bool {
        bytes.indices.dropLast().contains { bytes[$0] == 0x0F && [0xB9, 0xFF].contains(bytes[$0 + 1]) }
    }

    func check(_ error: DecodeError, of bytes: [UInt8]) {
        guard case .failure(error) = decodeBuffer(bytes) else { report("\(self): \(error), but not from a buffer") }
        switch error {
        case .truncated: require(bytes.count < 15, "\(self): \(bytes.count) bytes truncated")
        case .tooLong: require(bytes.count >= 15, "\(self): \(bytes.count) bytes too long")
        case .invalid:
            if vendor == .amd, endsInUD0OrUD1(bytes) { return }
            // Whatever comes after bytes that can't be an instruction, they can't be one.
            for filling: UInt8 in [0x00, 0xC0, 0xFF] {
                let longer = bytes.prefix(15) + [UInt8](repeating: filling, count: 15)
                guard case .failure(.invalid) = decode(Array(longer)) else {
                    report("\(self): invalid, but not with \(filling) after it")
                }
            }
        }
    }
}
