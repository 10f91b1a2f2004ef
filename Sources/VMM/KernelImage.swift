// Telling what kind of kernel a file is.

/// A kernel file, parsed as far as is needed to load it.
public enum KernelImage: Sendable {
    case bzImage(LinuxImage)
    case elf(ELFImage)

    /// Parses a file's bytes.
    /// - Parameter file: its name, for messages.
    public init(_ bytes: [UInt8], file: String) throws(BootError) {
        try KernelImage.recognise(bytes, file: file)
        let reader = ByteReader(bytes)
        if reader.load(0, as: UInt32.self) == ELFImage.magic {
            self = .elf(try ELFImage(reader, file: file))
        } else {
            self = .bzImage(try LinuxImage(reader, file: file))
        }
    }

    /// Refuses a file that does not begin as a kernel does, from its first bytes.
    static func recognise(_ beginning: [UInt8], file: String) throws(BootError) {
        let reader = ByteReader(beginning)
        guard reader.count > 0 else { throw .empty(file: file) }
        guard reader.load(0, as: UInt32.self) == ELFImage.magic || LinuxImage.isPresent(in: reader) else {
            throw refusal(of: reader, file: file)
        }
    }

    /// Starts of files that people take for kernels, by offset and little-endian value.
    private static let known: [(offset: UInt64, value: UInt32, mask: UInt32, what: String)] = [
        (0, 0x0000_8b1f, 0xffff, "gzip-compressed data"),
        (0, 0xfd2f_b528, .max, "zstd-compressed data"),
        (0, 0x587a_37fd, .max, "xz-compressed data"),
        (0, 0x0000_5a42, 0xffff, "bzip2-compressed data"),
        (0, 0x184c_2102, .max, "lz4-compressed data"),
        (0, 0x184d_2204, .max, "lz4-compressed data"),
        (0, 0x3730_3730, .max, "a cpio archive, as an initrd is"),
        (0, 0x7263_3c21, .max, "an archive"),
        (0, 0x6372_213c, .max, "an archive such as a Debian package"),
        (0, 0x464c_457f, .max, "an ELF file"),
        (0, 0x0000_2123, 0xffff, "a script"),
    ]

    private static func refusal(of reader: ByteReader, file: String) -> BootError {
        if reader.load(0x38, as: UInt32.self) == 0x644d_5241 {
            return .otherArchitecture(file: file, architecture: "AArch64")
        }
        if reader.load(0x38, as: UInt32.self) == 0x0543_5352 {
            return .otherArchitecture(file: file, architecture: "RISC-V")
        }
        if reader.load(0x24, as: UInt32.self) == 0x016f_2818 {
            return .otherArchitecture(file: file, architecture: "ARM")
        }
        // A bzImage that was cut off inside its header still begins like a boot sector or an EFI program.
        if reader.load(0, as: UInt16.self) == 0x5a4d && reader.count < LinuxImage.headerEnd {
            return .truncated(file: file, what: "it ends before the Linux setup header does")
        }
        for kind in known {
            guard
                let start: UInt32 = reader.load(kind.offset)
                    ?? reader.load(kind.offset).map({ (v: UInt16) in UInt32(v) })
            else { continue }
            if start & kind.mask == kind.value {
                return .notAKernel(file: file, found: "it is \(kind.what)")
            }
        }
        if reader.count < LinuxImage.headerEnd {
            return .notAKernel(file: file, found: "\(reader.count) bytes are too few for one")
        }
        return .notAKernel(file: file, found: "it has neither a Linux setup header nor an ELF header")
    }
}
