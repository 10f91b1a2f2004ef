/// Reads the text of the opcode table, one row at a time. The notation is explained at `OpcodeTable`.
struct OpcodeRowParser {
    private let bytes: [UInt8]
    private var position = 0
    private let mnemonics: [String: Mnemonic]
    private let features: [String: Feature]
    private var defaults = OpcodeRow()
    /// Lines that were not understood.
    private(set) var mistakes: [String] = []

    init(_ text: StaticString, mnemonics: [String: Mnemonic], features: [String: Feature]) {
        // SAFETY: the buffer is the literal's own and is copied before the closure returns.
        bytes = text.withUTF8Buffer { unsafe Array($0) }
        self.mnemonics = mnemonics
        self.features = features
    }

    mutating func next() -> OpcodeRow? {
        while position < bytes.count {
            let end = bytes[position...].firstIndex(of: 10) ?? bytes.count
            let line = bytes[position..<end]
            position = end + 1
            guard let first = line.first, first != UInt8(ascii: "#") else { continue }
            let fields = line.split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
            if first == UInt8(ascii: "@") {
                defaults = OpcodeRow()
                var isClass = true
                for token in words(fields[0].dropFirst()) {
                    understand(attribute(isClass ? "#" + token : token, &defaults), line)
                    isClass = false
                }
                continue
            }
            var row = defaults
            guard fields.count >= 2 else { mistakes.append(string(line)); continue }
            understand(encoding(words(fields[0]), &row), line)
            row.mnemonic = mnemonics[words(fields[1]).first ?? ""] ?? .invalid
            understand(row.mnemonic != .invalid, line)
            if fields.count > 2 {
                for token in words(fields[2]) { understand(operands(split(token, UInt8(ascii: ",")), &row), line) }
            }
            if fields.count > 3 {
                for token in words(fields[3]) { understand(attribute(token, &row), line) }
            }
            return row
        }
        return nil
    }

    private mutating func understand(_ understood: Bool, _ line: ArraySlice<UInt8>) {
        if !understood { mistakes.append(string(line)) }
    }

    private func string(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

    private func words(_ field: ArraySlice<UInt8>) -> [String] { split(field, UInt8(ascii: " ")) }

    /// Splits bytes, not characters: a tenth of the time.
    private func split(_ field: ArraySlice<UInt8>, _ separator: UInt8) -> [String] {
        var parts: [String] = []
        var start = field.startIndex
        for index in field.indices where field[index] == separator {
            if index > start { parts.append(string(field[start..<index])) }
            start = index + 1
        }
        if start < field.endIndex { parts.append(string(field[start..<field.endIndex])) }
        return parts
    }

    private func split(_ token: String, _ separator: UInt8) -> [String] { split(Array(token.utf8)[...], separator) }

    // MARK: Encoding

    private func encoding(_ tokens: [String], _ row: inout OpcodeRow) -> Bool {
        var opcodes: [UInt8] = []
        for token in tokens {
            switch token {
            case "NP": row.prefix = .none
            case "NFx": row.prefix = .noRepeat
            case "/r": row.hasModRM = true
            case "mem": row.mod = .memory
            case "reg": row.mod = .register
            case "W0": row.w = false
            case "W1": row.w = true
            case "noB": row.withoutREXB = true
            default:
                if token.utf8.count > 8 {
                    guard vex(split(token, UInt8(ascii: ".")), &row) else { return false }
                } else if token.utf8.first == UInt8(ascii: "/"), let digit = UInt8(token.dropFirst()), digit < 8 {
                    row.hasModRM = true
                    row.digit = digit
                } else if token.utf8.first == UInt8(ascii: ":"), let byte = UInt8(token.dropFirst(), radix: 16) {
                    row.hasModRM = true
                    row.fixedModRM = byte
                } else {
                    if token.utf8.count == 4 { row.opcodeCount = token.utf8.last == UInt8(ascii: "r") ? 8 : 16 }
                    guard let byte = UInt8(token.prefix(2), radix: 16) else { return false }
                    opcodes.append(byte)
                }
            }
        }
        if opcodes.count > 1 {
            switch opcodes[0] {
            case 0x66: row.prefix = .p66
            case 0xF3: row.prefix = .pF3
            case 0xF2: row.prefix = .pF2
            default: break
            }
            if row.prefix == .p66 || row.prefix == .pF3 || row.prefix == .pF2, !row.isVEX { opcodes.removeFirst() }
        }
        guard let last = opcodes.last else { return false }
        row.opcode = last
        if !row.isVEX {
            switch opcodes.dropLast() {
            case []: row.map = .oneByte
            case [0x0F]: row.map = .map0F
            case [0x0F, 0x38]: row.map = .map0F38
            case [0x0F, 0x3A]: row.map = .map0F3A
            default: return false
            }
        }
        return true
    }

    private func vex(_ parts: [String], _ row: inout OpcodeRow) -> Bool {
        guard parts.count == 5 else { return false }
        row.isVEX = true
        switch parts[1] {
        case "128": row.vectorLength = .l128
        case "256": row.vectorLength = .l256
        case "Lx": row.vectorLength = .either
        case "LIG": row.vectorLength = .ignored
        default: return false
        }
        switch parts[2] {
        case "NP": row.prefix = .none
        case "66": row.prefix = .p66
        case "F3": row.prefix = .pF3
        case "F2": row.prefix = .pF2
        default: return false
        }
        switch parts[3] {
        case "0F": row.map = .map0F
        case "0F38": row.map = .map0F38
        case "0F3A": row.map = .map0F3A
        default: return false
        }
        switch parts[4] {
        case "W0": row.w = false
        case "W1": row.w = true
        case "WIG": row.w = nil
        default: return false
        }
        return true
    }

    // MARK: Operands

    private func operands(_ tokens: [String], _ row: inout OpcodeRow) -> Bool {
        for token in tokens {
            guard row.operandCount < 4, let form = operand(token, isFirst: row.operandCount == 0) else { return false }
            row.operands[Int(row.operandCount)] = form
            row.operandCount += 1
        }
        return true
    }

    private func operand(_ token: String, isFirst: Bool) -> OperandForm? {
        var form = OperandForm()
        var isMarked = true
        switch token.utf8.first {
        case UInt8(ascii: "!"): form.access = .readWrite
        case UInt8(ascii: "="): form.access = .write
        case UInt8(ascii: ":"): form.access = .read
        default:
            form.access = isFirst ? .write : .read
            isMarked = false
        }
        let name = isMarked ? String(decoding: token.utf8.dropFirst(), as: UTF8.self) : token
        func fixed(_ kind: OperandForm.Kind, _ number: UInt8, _ size: OperandForm.SizeCode) -> OperandForm {
            form.kind = kind
            form.number = number
            form.size = size
            form.memorySize = size
            return form
        }
        switch name {
        case "AL": return fixed(.fixed, 0, .b)
        case "CL": return fixed(.fixed, 1, .b)
        case "AX": return fixed(.fixed, 0, .w)
        case "DX": return fixed(.fixed, 2, .w)
        case "vAX": return fixed(.fixed, 0, .v)
        case "zAX": return fixed(.fixed, 0, .z)
        case "1": return fixed(.one, 0, .b)
        case "ES": return fixed(.fixedSegment, 0, .w)
        case "CS": return fixed(.fixedSegment, 1, .w)
        case "SS": return fixed(.fixedSegment, 2, .w)
        case "DS": return fixed(.fixedSegment, 3, .w)
        case "FS": return fixed(.fixedSegment, 4, .w)
        case "GS": return fixed(.fixedSegment, 5, .w)
        case "XMM0": return fixed(.xmm0, 0, .dq)
        case "ST0": return fixed(.st, 0, .t)
        case "ST1": return fixed(.st, 1, .t)
        case "STi": return fixed(.sti, 0, .t)
        case "Is": return fixed(.signedI, 0, .b)
        default: break
        }
        guard let letter = name.utf8.first, let kind = kind(letter) else { return nil }
        form.kind = kind
        let sizes = split(Array(name.utf8.dropFirst())[...], UInt8(ascii: "/"))
        guard let size = size(sizes.first ?? ""), let memory = sizes.count > 1 ? self.size(sizes[1]) : size else {
            return nil
        }
        form.size = size
        form.memorySize = memory
        if kind == .I, size == .z { form.kind = .signedI }
        switch kind {
        case .P, .Q, .N: form.size = .q
        case .V, .W, .U, .H, .L: if size != .x && size != .qq { form.size = .dq }
        default: break
        }
        return form
    }

    private func kind(_ letter: UInt8) -> OperandForm.Kind? {
        switch letter {
        case UInt8(ascii: "E"): .E
        case UInt8(ascii: "M"): .M
        case UInt8(ascii: "R"): .R
        case UInt8(ascii: "G"): .G
        case UInt8(ascii: "Z"): .Z
        case UInt8(ascii: "B"): .B
        case UInt8(ascii: "S"): .S
        case UInt8(ascii: "s"): .T
        case UInt8(ascii: "C"): .C
        case UInt8(ascii: "D"): .D
        case UInt8(ascii: "I"): .I
        case UInt8(ascii: "J"): .J
        case UInt8(ascii: "A"): .A
        case UInt8(ascii: "O"): .O
        case UInt8(ascii: "X"): .X
        case UInt8(ascii: "Y"): .Y
        case UInt8(ascii: "P"): .P
        case UInt8(ascii: "Q"): .Q
        case UInt8(ascii: "N"): .N
        case UInt8(ascii: "V"): .V
        case UInt8(ascii: "W"): .W
        case UInt8(ascii: "U"): .U
        case UInt8(ascii: "H"): .H
        case UInt8(ascii: "L"): .L
        default: nil
        }
    }

    private func size(_ name: String) -> OperandForm.SizeCode? {
        switch name {
        case "", "fx", "xs": OperandForm.SizeCode.none
        case "b": .b
        case "w": .w
        case "d", "ss": .d
        case "q", "sd": .q
        case "t": .t
        case "dq": .dq
        case "qq": .qq
        case "v": .v
        case "z": .z
        case "y": .y
        case "n": .n
        case "p": .p
        case "s": .s
        case "a": .a
        case "x": .x
        case "h": .h
        case "f": .f
        case "e": .e
        case "env": .env
        case "st": .st
        default: nil
        }
    }

    // MARK: Attributes

    private func attribute(_ token: String, _ row: inout OpcodeRow) -> Bool {
        switch token {
        case "#integer": row.opcodeClass = .integer
        case "#system": row.opcodeClass = .system
        case "#x87": row.opcodeClass = .x87
        case "#mmx": row.opcodeClass = .mmx
        case "#sse": row.opcodeClass = .sse
        case "#vex": row.opcodeClass = .vex
        case "may": row.flagsMayBeKept = true
        case "lock": row.lockable = true
        case "d64": row.operandSize = .default64
        case "f64": row.operandSize = .forced64
        case "i64": row.invalidIn64Bit = true
        case "o64": row.only64Bit = true
        case "prot": row.onlyProtected = true
        case "cpl0": row.privilege = .supervisor
        case "cpl0ud": row.privilege = .hidden
        case "iopl": row.privilege = .inputOutput
        case "cr4": row.privilege = .control
        case "br": row.flow = .branch
        case "cond": row.flow = .conditional
        case "end": row.flow = .boundary
        case "seg": row.flow = .segment
        case "mem": row.memoryUse = .implicit
        case "nomem": row.memoryUse = .none
        case "unal": row.unalignedAllowed = true
        case "vsib": row.vsib = true
        case "v=branch66": row.vendorDifference = .branch66
        case "v=farW": row.vendorDifference = .farW
        case "v=sysenterLong": row.vendorDifference = .sysenterLong
        case "v=prefetchRegister": row.vendorDifference = .prefetchRegister
        case "v=wideInsert": row.vendorDifference = .wideInsert
        case "v=unalignedSHA": row.vendorDifference = .unalignedSHA
        case "v=syscallCompat": row.vendorDifference = .syscallCompat
        default:
            if let feature = features[token] {
                row.feature = feature
            } else if token.hasPrefix("w=") {
                row.flagsWritten = flags(token)
            } else if token.hasPrefix("r=") {
                row.flagsRead = flags(token)
            } else if token.hasPrefix("u=") {
                row.flagsUndefined = flags(token)
            } else if token.hasPrefix("x"), let number = UInt8(token.dropFirst()) {
                row.exceptionClass = number
            } else {
                let two = split(token, UInt8(ascii: "+"))
                guard two.count == 2, let narrow = features[two[0]] else { return false }
                row.feature = narrow
                row.wideFeature = two[1] == "2" ? .avx2 : features[two[1]]
            }
        }
        return true
    }

    private func flags(_ token: String) -> RFLAGS {
        var flags: RFLAGS = []
        for letter in token.utf8.dropFirst(2) {
            switch letter {
            case UInt8(ascii: "o"): flags.insert(.OF)
            case UInt8(ascii: "s"): flags.insert(.SF)
            case UInt8(ascii: "z"): flags.insert(.ZF)
            case UInt8(ascii: "a"): flags.insert(.AF)
            case UInt8(ascii: "p"): flags.insert(.PF)
            case UInt8(ascii: "c"): flags.insert(.CF)
            case UInt8(ascii: "d"): flags.insert(.DF)
            case UInt8(ascii: "i"): flags.insert(.IF)
            case UInt8(ascii: "t"): flags.insert(.TF)
            case UInt8(ascii: "n"): flags.insert(.NT)
            default: flags.formUnion([.VM, .RF])
            }
        }
        return flags
    }
}
