/// Little-endian bytes.
func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
}

/// ELF files and bzImages that are made by hand.
enum GuestBuilder {
    /// An ELF file with one segment at `address`, and a PVH note if there is an entry for it.
    static func elf(
        _ code: [UInt8], at address: UInt64 = 0x10_0000, machine: UInt16 = 62, is64Bit: Bool = true,
        pvhEntry: UInt32? = nil, memorySize: UInt64? = nil
    ) -> [UInt8] {
        let headerSize = is64Bit ? 64 : 52
        let entrySize = is64Bit ? 56 : 32
        let note = pvhEntry.map { entry -> [UInt8] in
            bytes(4 as UInt32) + bytes(4 as UInt32) + bytes(18 as UInt32) + Array("Xen\0".utf8) + bytes(entry)
        }
        let count = note == nil ? 1 : 2
        let codeOffset = headerSize + count * entrySize
        func word(_ value: UInt64) -> [UInt8] { is64Bit ? bytes(value) : bytes(UInt32(truncatingIfNeeded: value)) }
        func header(_ type: UInt32, _ offset: Int, _ address: UInt64, _ size: Int, _ memory: UInt64) -> [UInt8] {
            is64Bit
                ? bytes(type) + bytes(7 as UInt32) + bytes(UInt64(offset)) + bytes(address) + bytes(address)
                    + bytes(UInt64(size)) + bytes(memory) + bytes(4096 as UInt64)
                : bytes(type) + word(UInt64(offset)) + word(address) + word(address) + word(UInt64(size))
                    + word(memory) + word(7) + word(4096)
        }
        var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, is64Bit ? 2 : 1, 1, 1] + [UInt8](repeating: 0, count: 9)
        file += bytes(2 as UInt16) + bytes(machine) + bytes(1 as UInt32)
        file += word(address) + word(UInt64(headerSize)) + word(0) + bytes(0 as UInt32)
        file += bytes(UInt16(headerSize)) + bytes(UInt16(entrySize)) + bytes(UInt16(count))
        file += bytes(0 as UInt16) + bytes(0 as UInt16) + bytes(0 as UInt16)
        file += header(1, codeOffset, address, code.count, memorySize ?? UInt64(code.count))
        if let note { file += header(4, codeOffset + code.count, 0, note.count, UInt64(note.count)) }
        return file + code + (note ?? [])
    }

    /// A program header: something of the contents, to be loaded or a note.
    struct Part {
        var isNote: Bool
        var address: UInt64
        /// In the contents.
        var offset: Int
        var size: Int
        var memorySize: UInt64
    }

    /// A 64-bit ELF file of many parts, entered at 1 MiB.
    static func elf(parts: [Part], contents: [UInt8]) -> [UInt8] {
        let start = 64 + parts.count * 56
        var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1] + [UInt8](repeating: 0, count: 9)
        file += bytes(2 as UInt16) + bytes(62 as UInt16) + bytes(1 as UInt32) + bytes(0x10_0000 as UInt64)
        file += bytes(64 as UInt64) + bytes(0 as UInt64) + bytes(0 as UInt32)
        for field in [64, 56, UInt16(parts.count), 0, 0, 0] { file += bytes(field) }
        for part in parts {
            file += bytes(part.isNote ? 4 : 1 as UInt32) + bytes(7 as UInt32)
            for field in [
                UInt64(start + part.offset), part.address, part.address, UInt64(part.size), part.memorySize, 16,
            ] { file += bytes(field) }
        }
        return file + contents
    }

    /// A bzImage whose 32-bit entry is at the start of `code` and whose 64-bit entry is 0x200 further.
    static func bzImage(
        _ code32: [UInt8], code64: [UInt8]? = nil, preferredAddress: UInt64 = 0x10_0000, initSize: UInt32 = 0x1_0000,
        version: UInt16 = 0x020f, commandLineSize: UInt32 = 2047, initrdLimit: UInt32 = 0x7fff_ffff,
        loadFlags: UInt8 = 1, code32Start: UInt32 = 0x10_0000
    ) -> [UInt8] {
        var payload = code32 + [UInt8](repeating: 0x90, count: max(0, 0x200 - code32.count))
        payload += code64 ?? []
        while payload.count % 16 != 0 { payload.append(0) }
        var file = [UInt8](repeating: 0, count: 1024)
        func put(_ value: [UInt8], at offset: Int) { file.replaceSubrange(offset..<offset + value.count, with: value) }
        put([1], at: 0x1f1)
        put(bytes(UInt32(payload.count / 16)), at: 0x1f4)
        put([0x55, 0xaa, 0xeb, 0x66], at: 0x1fe)
        put(Array("HdrS".utf8), at: 0x202)
        put(bytes(version), at: 0x206)
        put([loadFlags], at: 0x211)
        put(bytes(code32Start), at: 0x214)
        put(bytes(initrdLimit), at: 0x22c)
        put(bytes(0x1000 as UInt32), at: 0x230)
        put([1], at: 0x234)
        put(bytes(UInt16(code64 == nil ? 0 : 1)), at: 0x236)
        put(bytes(commandLineSize), at: 0x238)
        put(bytes(preferredAddress), at: 0x258)
        put(bytes(initSize), at: 0x260)
        return file + payload
    }

    // MARK: Code that runs the same in 32-bit and in 64-bit mode

    /// mov dx, port; mov al, value; out dx, al
    static func out(_ port: UInt16, _ value: UInt8) -> [UInt8] { [0x66, 0xba] + bytes(port) + [0xb0, value, 0xee] }
    /// mov dx, port; mov ax, value; out dx, ax
    static func out(_ port: UInt16, word value: UInt16) -> [UInt8] {
        [0x66, 0xba] + bytes(port) + [0x66, 0xb8] + bytes(value) + [0x66, 0xef]
    }
    /// Sends characters, of eight bits.
    static func say(_ text: String) -> [UInt8] { out(0x3fb, 0x03) + text.utf8.flatMap { out(0x3f8, $0) } }
    /// SLP_TYP 5 and SLP_EN into PM1a_CNT.
    static let powerOff = out(0x604, word: 0x3401)
    /// hlt; jmp back
    static let halt: [UInt8] = [0xf4, 0xeb, 0xfd]
    /// lidt [esp] with a limit of 0; int3: nothing can be delivered, so the processor shuts down.
    static let tripleFault: [UInt8] = [0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b]
}
