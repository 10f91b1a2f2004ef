// The bzImage format and its setup header (Linux, Documentation/arch/x86/boot.rst).

/// A parsed bzImage: real-mode setup code, then the protected-mode kernel.
public struct LinuxImage: Sendable {
    /// Offsets of the fields in the file, which are their offsets in `boot_params` too.
    enum Field {
        static let start: UInt64 = 0x1f1
        static let setupSectors: UInt64 = 0x1f1
        static let bootFlag: UInt64 = 0x1fe
        static let jump: UInt64 = 0x200
        static let magic: UInt64 = 0x202
        static let version: UInt64 = 0x206
        static let typeOfLoader: UInt64 = 0x210
        static let loadFlags: UInt64 = 0x211
        static let code32Start: UInt64 = 0x214
        static let ramdiskImage: UInt64 = 0x218
        static let ramdiskSize: UInt64 = 0x21c
        static let heapEnd: UInt64 = 0x224
        static let commandLine: UInt64 = 0x228
        static let initrdLimit: UInt64 = 0x22c
        static let alignment: UInt64 = 0x230
        static let relocatable: UInt64 = 0x234
        static let extendedLoadFlags: UInt64 = 0x236
        static let commandLineSize: UInt64 = 0x238
        static let preferredAddress: UInt64 = 0x258
        static let initSize: UInt64 = 0x260
    }

    /// How much of a file has to be there to be told apart: through `init_size`.
    static let headerEnd = 0x268
    private static let magic: UInt32 = 0x5372_6448  // "HdrS"

    static func isPresent(in reader: ByteReader) -> Bool { reader.load(Field.magic) == magic }

    let file: String
    /// The protocol's version, 0x0206 and later.
    public let version: UInt16
    /// The setup header as it is in the file, from offset 0x1F1.
    let header: ArraySlice<UInt8>
    /// The protected-mode kernel.
    let payload: ArraySlice<UInt8>
    public let initrdLimit: UInt64
    public let alignment: UInt64
    public let isRelocatable: Bool
    /// XLF_KERNEL_64: there is a 64-bit entry at 0x200 of the protected-mode kernel.
    public let has64BitEntry: Bool
    /// Bytes of command line, without the zero.
    public let commandLineLimit: Int
    public let preferredAddress: UInt64
    /// Memory that the kernel needs from where it runs on, before it looks at the memory map.
    public let initSize: UInt64

    init(_ reader: ByteReader, file: String) throws(BootError) {
        func field<T: FixedWidthInteger & UnsignedInteger>(
            _ offset: UInt64, as type: T.Type = T.self
        ) throws(BootError) -> T {
            guard let value = reader.load(offset, as: type) else {
                throw .truncated(file: file, what: "it ends before the Linux setup header does")
            }
            return value
        }
        self.file = file
        guard try field(Field.bootFlag, as: UInt16.self) == 0xaa55 else {
            throw .malformed(file: file, what: "the boot sector's signature 0xAA55 is missing")
        }
        version = try field(Field.version)
        guard version >= 0x0206 else {
            throw .notAKernel(file: file, found: "a Linux kernel older than 2.6.22, boot protocol before 2.06")
        }
        guard try field(Field.loadFlags, as: UInt8.self) & 1 != 0 else {
            throw .needsBIOS(file: file, what: "a zImage, which is loaded below 1 MiB and has no 32-bit entry")
        }
        guard try field(Field.code32Start, as: UInt32.self) != 0 else {
            throw .needsBIOS(file: file, what: "a kernel without a 32-bit entry, as iPXE's .lkrn is")
        }
        let sectors = try field(Field.setupSectors, as: UInt8.self)
        let setupSize = (UInt64(sectors == 0 ? 4 : sectors) + 1) * 512
        let size = UInt64(reader.count)
        guard setupSize < size, let payload = reader.slice(setupSize, size - setupSize) else {
            throw .truncated(file: file, what: "it ends inside the setup code, before the kernel")
        }
        self.payload = payload
        // The jump's displacement says how long the header is (boot.rst, "jump").
        let end = Field.magic + UInt64(try field(Field.jump + 1, as: UInt8.self))
        guard let header = reader.slice(Field.start, min(max(end, 0x238), 0x290) - Field.start) else {
            throw .truncated(file: file, what: "it ends before the Linux setup header does")
        }
        self.header = header

        initrdLimit = UInt64(try field(Field.initrdLimit, as: UInt32.self))
        commandLineLimit = Int(try field(Field.commandLineSize, as: UInt32.self))
        let extendedFlags = try field(Field.extendedLoadFlags, as: UInt16.self)
        has64BitEntry = version >= 0x020c && extendedFlags & 1 != 0
        isRelocatable = (try field(Field.relocatable, as: UInt8.self)) != 0
        alignment = max(1, UInt64(try field(Field.alignment, as: UInt32.self)))
        guard alignment & (alignment - 1) == 0 else {
            throw .malformed(file: file, what: "kernel_alignment is not a power of two")
        }
        if version >= 0x020a {
            preferredAddress = try field(Field.preferredAddress)
            initSize = max(UInt64(try field(Field.initSize, as: UInt32.self)), UInt64(payload.count))
        } else {
            // Before 2.10 the kernel ran at 1 MiB and did not say how much it needs: three times its compressed size.
            preferredAddress = LowMemory.highMemory
            initSize = UInt64(payload.count) * 3
        }
        try checkPayload(reader, size)
    }

    /// `syssize` says how long the protected-mode kernel is, in 16-byte units.
    private func checkPayload(_ reader: ByteReader, _ size: UInt64) throws(BootError) {
        let declared = UInt64(reader.load(0x1f4, as: UInt32.self) ?? 0) * 16
        // Rounding of the last paragraph, and of the checksum after it, is allowed for.
        guard UInt64(payload.count) + 16 >= declared else {
            throw .truncated(
                file: file, what: "the kernel in it should have \(declared) bytes and has \(payload.count)")
        }
    }
}
