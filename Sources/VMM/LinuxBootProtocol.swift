// Loading a bzImage by the 32-bit and the 64-bit Linux boot protocol
// (Linux, Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol").

/// What is handed to a kernel besides itself.
public struct BootMaterial: Sendable {
    public var commandLine: String
    public var initrd: ImageFile?
    /// Guest-physical address of the RSDP.
    public var rsdp: UInt64

    public init(commandLine: String, initrd: ImageFile? = nil, rsdp: UInt64 = 0) {
        self.commandLine = commandLine
        self.initrd = initrd
        self.rsdp = rsdp
    }
}

extension LinuxImage {
    /// Puts kernel, initrd, command line and boot parameters into memory.
    /// - Parameter wanted: `.linux64` or `.linux32`.
    /// - Returns: how the first vCPU begins.
    func load(
        into memory: MachineMemory, _ material: BootMaterial, by wanted: BootProtocol
    ) throws(BootError) -> EntryState {
        if wanted == .linux64 && !has64BitEntry {
            throw .protocolNotOffered(file: file, protocol: .linux64, why: "the kernel has no 64-bit entry")
        }
        let address = try loadAddress
        let (end, overflow) = address.addingReportingOverflow(initSize)
        guard !overflow, end <= memory.lowEnd else {
            throw .lacksRoom(file: file, size: initSize, end: overflow ? .max : end, in: memory)
        }
        try memory.write(payload, at: address)

        var parameters = BootParameters(header: header)
        parameters.store(UInt8(0xff), at: Field.typeOfLoader)
        parameters.store(UInt32(truncatingIfNeeded: address), at: Field.code32Start)
        // LOADED_HIGH is the kernel's own; CAN_USE_HEAP would promise a heap for real-mode code that is never run.
        if let initrd = material.initrd {
            let place = try Initrd.load(initrd, into: memory, above: end, below: initrdLimit &+ 1)
            parameters.store(UInt32(truncatingIfNeeded: place), at: Field.ramdiskImage)
            parameters.store(UInt32(truncatingIfNeeded: initrd.size), at: Field.ramdiskSize)
        }
        try CommandLine.store(material.commandLine, into: memory, limit: commandLineLimit)
        parameters.store(UInt32(LowMemory.commandLine), at: Field.commandLine)
        parameters.rsdp = material.rsdp
        parameters.setMap(memory.map)
        try memory.write(parameters.bytes, at: LowMemory.bootParameters)

        guard wanted == .linux64 else {
            return .linux32(eip: UInt32(truncatingIfNeeded: address), bootParameters: LowMemory.bootParameters)
        }
        return .linux64(rip: address + 0x200, bootParameters: LowMemory.bootParameters)
    }

    /// The preferred address: a relocatable kernel would move itself there from anywhere lower.
    private var loadAddress: UInt64 {
        get throws(BootError) {
            guard isRelocatable else {
                guard preferredAddress >= LowMemory.highMemory else {
                    throw .malformed(
                        file: file,
                        what:
                            "it wants to be at 0x\(String(preferredAddress, radix: 16)), below 1 MiB, where boot data lies"
                    )
                }
                return preferredAddress
            }
            guard let address = aligned(max(preferredAddress, LowMemory.highMemory), to: alignment) else {
                throw .malformed(file: file, what: "its preferred address is beyond any memory")
            }
            return address
        }
    }
}

/// `struct boot_params`, the zero page (Linux, Documentation/arch/x86/zero-page.rst).
struct BootParameters {
    private(set) var bytes = [UInt8](repeating: 0, count: 4096)

    private enum Field {
        static let rsdp: UInt64 = 0x070
        static let mapCount: UInt64 = 0x1e8
        static let map: UInt64 = 0x2d0
        static let mapCapacity = 128
    }

    /// - Parameter header: a setup header, from its offset 0x1F1.
    init(header: some Sequence<UInt8>) {
        for (index, byte) in header.prefix(0x290 - 0x1f1).enumerated() {
            bytes[Int(LinuxImage.Field.start) + index] = byte
        }
    }

    mutating func store<T: FixedWidthInteger>(_ value: T, at offset: UInt64) {
        for (index, byte) in littleEndianBytes(value).enumerated() { bytes[Int(offset) + index] = byte }
    }

    var rsdp: UInt64 {
        get { ByteReader(bytes).load(Field.rsdp) ?? 0 }
        set { store(newValue, at: Field.rsdp) }
    }

    mutating func setMap(_ ranges: [MemoryRange]) {
        let ranges = ranges.prefix(Field.mapCapacity)
        store(UInt8(ranges.count), at: Field.mapCount)
        for (index, range) in ranges.enumerated() {
            let entry = Field.map + UInt64(index * 20)
            store(range.base, at: entry)
            store(range.size, at: entry + 8)
            store(range.kind.rawValue, at: entry + 16)
        }
    }
}

/// Where the command line goes.
enum CommandLine {
    /// - Parameter limit: how many bytes the kernel takes, without the zero; 0 means 255, as before boot protocol 2.06.
    static func store(_ text: String, into memory: MachineMemory, limit: Int) throws(BootError) {
        let bytes = Array(text.utf8)
        let limit = min(limit == 0 ? 255 : limit, LowMemory.commandLineCapacity - 1)
        guard bytes.count <= limit else { throw .commandLineTooLong(length: bytes.count, limit: limit) }
        try memory.write(bytes + [0], at: LowMemory.commandLine)
    }
}

/// Where the initrd goes: as high as it may, so that it is out of the kernel's way.
enum Initrd {
    /// - Parameter ceiling: what the kernel says of where it can be at most.
    /// - Returns: its guest-physical address.
    static func load(
        _ file: ImageFile, into memory: MachineMemory, above floor: UInt64, below ceiling: UInt64
    ) throws(BootError) -> UInt64 {
        let floor = aligned(floor, to: 4096) ?? .max
        let limit = min(memory.lowEnd, ceiling)
        guard file.size <= limit, file.size <= UInt64(UInt32.max), (limit - file.size) & ~0xfff >= floor else {
            let end = floor.addingReportingOverflow(file.size)
            throw .lacksRoom(
                file: file.path, size: file.size, end: end.overflow ? .max : end.partialValue, in: memory,
                below: ceiling)
        }
        let address = (limit - file.size) & ~0xfff
        // In pieces, so that a large initrd is never in memory twice.
        var done: UInt64 = 0
        while done < file.size {
            let count = Int(min(1 << 20, file.size - done))
            let piece = try file.read(count: count, at: done)
            guard piece.count == count else {
                throw .truncated(file: file.path, what: "it became shorter while it was read")
            }
            try memory.write(piece, at: address + done)
            done += UInt64(count)
        }
        return address
    }
}
