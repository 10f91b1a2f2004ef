// ELF kernels: headers, segments and the note that names the PVH entry (System V ABI, "Object Files"; Xen,
// docs/misc/pvh.pandoc).

/// A parsed ELF kernel.
public struct ELFImage: Sendable {
    static let magic: UInt32 = 0x464c_457f

    /// A piece of the file that is loaded.
    struct Segment: Sendable {
        let address: UInt64
        let size: UInt64
        let contents: ArraySlice<UInt8>

        var end: UInt64 { address &+ size }
    }

    let file: String
    /// ELFCLASS64.
    public let is64Bit: Bool
    /// e_entry; in a Linux kernel this is physical.
    public let entry: UInt64
    /// Where the PVH note says to begin.
    public let pvhEntry: UInt32?
    let segments: [Segment]

    /// Machines that kernels are built for, by e_machine.
    private static let machines: [UInt16: String] = [
        2: "SPARC", 8: "MIPS", 20: "PowerPC", 21: "PowerPC 64", 22: "s390", 40: "ARM", 43: "SPARC 64",
        50: "Itanium", 183: "AArch64", 243: "RISC-V", 258: "LoongArch",
    ]

    private enum SegmentType {
        static let load: UInt32 = 1
        static let note: UInt32 = 4
    }

    init(_ reader: ByteReader, file: String) throws(BootError) {
        self.file = file
        let cutOff = BootError.truncated(file: file, what: "it ends before its ELF headers do")
        guard let kind: UInt8 = reader.load(4), let order: UInt8 = reader.load(5) else { throw cutOff }
        guard kind == 1 || kind == 2 else { throw .malformed(file: file, what: "unknown ELF class \(kind)") }
        guard order == 1 else { throw .otherArchitecture(file: file, architecture: "a big-endian processor") }
        is64Bit = kind == 2
        guard let machine: UInt16 = reader.load(18), let type: UInt16 = reader.load(16) else { throw cutOff }
        guard machine == (is64Bit ? 62 : 3) else {
            let name = Self.machines[machine] ?? "a processor with ELF number \(machine)"
            throw .otherArchitecture(file: file, architecture: name)
        }
        guard type == 2 || type == 3 else {
            throw .notAKernel(file: file, found: "it is an ELF file of type \(type), not an executable")
        }

        let layout = Layout(is64Bit: is64Bit)
        guard let entry = layout.address(reader, layout.entry),
            let table = layout.address(reader, layout.tableOffset),
            let entrySize: UInt16 = reader.load(layout.entrySize),
            let count: UInt16 = reader.load(layout.entryCount)
        else { throw cutOff }
        guard entrySize >= layout.headerSize else {
            throw .malformed(file: file, what: "program headers of \(entrySize) bytes")
        }
        self.entry = entry

        var segments: [Segment] = []
        var pvhEntry: UInt32?
        // Headers may name the same bytes again and again.
        var notesLeft = UInt64(reader.count)
        for index in 0..<UInt64(count) {
            let (start, overflow) = table.addingReportingOverflow(index * UInt64(entrySize))
            guard !overflow, let header = reader.slice(start, layout.headerSize),
                let programHeader = layout.programHeader(ByteReader(header))
            else { throw cutOff }
            if programHeader.type == SegmentType.load {
                if let segment = try Self.segment(programHeader, reader, file) { segments.append(segment) }
            } else if programHeader.type == SegmentType.note, pvhEntry == nil {
                if let notes = reader.slice(programHeader.offset, programHeader.fileSize) {
                    guard programHeader.fileSize <= notesLeft else {
                        throw .malformed(file: file, what: "its notes are longer than the file")
                    }
                    notesLeft -= programHeader.fileSize
                    pvhEntry = Self.pvhEntry(in: ByteReader(notes))
                }
            }
        }
        guard !segments.isEmpty else {
            throw .notAKernel(file: file, found: "an ELF file with nothing to load")
        }
        if let clash = Self.overlap(segments) {
            throw .malformed(file: file, what: "two of its segments lie at 0x\(String(clash, radix: 16))")
        }
        self.segments = segments
        self.pvhEntry = pvhEntry
    }

    private static func segment(
        _ header: ProgramHeader, _ reader: ByteReader, _ file: String
    ) throws(BootError) -> Segment? {
        guard header.memorySize > 0 else { return nil }
        guard header.fileSize <= header.memorySize,
            !header.address.addingReportingOverflow(header.memorySize).overflow
        else { throw .malformed(file: file, what: "a segment's size contradicts itself") }
        guard let contents = reader.slice(header.offset, header.fileSize) else {
            throw .truncated(file: file, what: "a segment of \(header.fileSize) bytes is cut off")
        }
        return Segment(address: header.address, size: header.memorySize, contents: contents)
    }

    /// An address that two segments claim. Without one, no more is loaded than there is memory.
    private static func overlap(_ segments: [Segment]) -> UInt64? {
        let sorted = segments.sorted { $0.address < $1.address }
        return zip(sorted, sorted.dropFirst()).first { $0.end > $1.address }?.1.address
    }

    /// XEN_ELFNOTE_PHYS32_ENTRY (18) of owner "Xen".
    private static func pvhEntry(in notes: ByteReader) -> UInt32? {
        var offset: UInt64 = 0
        while let nameSize: UInt32 = notes.load(offset), let size: UInt32 = notes.load(offset + 4),
            let type: UInt32 = notes.load(offset + 8)
        {
            let name = offset + 12
            let contents = name + (UInt64(nameSize) + 3) & ~3
            if type == 18, nameSize == 4, notes.load(name, as: UInt32.self) == 0x006e_6558, size >= 4 {
                return notes.load(contents)
            }
            offset = contents + (UInt64(size) + 3) & ~3
        }
        return nil
    }

    /// A program header's fields that matter here.
    private struct ProgramHeader {
        let type: UInt32
        let offset: UInt64
        let address: UInt64
        let fileSize: UInt64
        let memorySize: UInt64
    }

    /// Where the two classes keep their fields.
    private struct Layout {
        let is64Bit: Bool
        var entry: UInt64 { 24 }
        var tableOffset: UInt64 { is64Bit ? 32 : 28 }
        var entrySize: UInt64 { is64Bit ? 54 : 42 }
        var entryCount: UInt64 { is64Bit ? 56 : 44 }
        var headerSize: UInt64 { is64Bit ? 56 : 32 }

        func address(_ reader: ByteReader, _ offset: UInt64) -> UInt64? {
            if is64Bit { return reader.load(offset) }
            return reader.load(offset, as: UInt32.self).map(UInt64.init)
        }

        func programHeader(_ header: ByteReader) -> ProgramHeader? {
            let fields: [UInt64] = is64Bit ? [8, 24, 32, 40] : [4, 12, 16, 20]
            let values = fields.compactMap { address(header, $0) }
            guard let type: UInt32 = header.load(0), values.count == 4 else { return nil }
            return ProgramHeader(
                type: type, offset: values[0], address: values[1], fileSize: values[2], memorySize: values[3])
        }
    }
}
