// What can be wrong with the files and sizes that a machine is started with.

internal import Glibc

/// Why a kernel could not be loaded. Each case's text names the file and says what to do.
public enum BootError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file can't be opened or read.
    case unreadable(file: String, errno: Int32)
    /// It is a directory, a device or a pipe.
    case notAFile(file: String)
    /// It has no bytes.
    case empty(file: String)
    /// It ends before what its headers promise.
    case truncated(file: String, what: String)
    /// It is nothing that can be booted; `found` says what it looks like instead.
    case notAKernel(file: String, found: String)
    /// It begins in real mode and calls a BIOS.
    case needsBIOS(file: String, what: String)
    /// It is a kernel for another processor.
    case otherArchitecture(file: String, architecture: String)
    /// Its headers contradict themselves.
    case malformed(file: String, what: String)
    /// The boot protocol that was asked for is not one that the file has.
    case protocolNotOffered(file: String, protocol: BootProtocol, why: String)
    /// The machine has too little memory.
    case tooLarge(file: String, needs: UInt64, memory: UInt64)
    /// It would have to lie where the kernel can't reach it, whatever memory the machine has.
    case beyondReach(file: String, size: UInt64, below: UInt64)
    /// The command line is longer than the kernel takes.
    case commandLineTooLong(length: Int, limit: Int)
    /// The boot data itself does not fit where it has to be.
    case outsideMemory(address: UInt64, count: Int)

    public var description: String {
        switch self {
        case .unreadable(let file, let errno):
            "\(file): \(BootError.text(errno)): give the path of a file that you may read"
        case .notAFile(let file): "\(file): not a regular file: give the path of a kernel or initrd file"
        case .empty(let file): "\(file): the file is empty: fetch or build it again"
        case .truncated(let file, let what): "\(file): truncated: \(what): fetch or build the file again"
        case .notAKernel(let file, let found):
            "\(file): not a kernel (\(found)): give a bzImage such as /boot/vmlinuz or an uncompressed ELF vmlinux"
        case .needsBIOS(let file, let what):
            "\(file): \(what): it begins in real mode and calls a BIOS, which this machine has not: give a bzImage with a "
                + "32-bit entry or an ELF file, or boot it with a BIOS by martlet kvm -- qemu-system-x86_64 -accel kvm -kernel"
        case .otherArchitecture(let file, let architecture):
            "\(file): a kernel for \(architecture): this machine is x86, give an x86 kernel"
        case .malformed(let file, let what): "\(file): damaged: \(what): fetch or build the file again"
        case .protocolNotOffered(let file, let wanted, let why):
            "\(file): can't be started by the protocol \(wanted.rawValue): \(why): give --protocol auto"
        case .tooLarge(let file, let needs, let memory):
            "\(file): does not fit: it needs a machine of \(BootError.mebibytes(needs)) MiB, this one has "
                + "\(memory >> 20) MiB: give more with --memory"
        case .beyondReach(let file, let size, let limit):
            "\(file): does not fit: its \(BootError.mebibytes(size)) MiB have to lie below \(limit >> 20) MiB with the "
                + "kernel: give a smaller file"
        case .commandLineTooLong(let length, let limit):
            "the kernel's command line has \(length) bytes and this kernel takes \(limit): shorten --cmdline"
        case .outsideMemory(let address, let count):
            "\(count) bytes at 0x\(String(address, radix: 16)) are outside the machine's memory: give more with --memory"
        }
    }

    private static func mebibytes(_ bytes: UInt64) -> UInt64 { bytes >> 20 &+ (bytes & 0xfffff == 0 ? 0 : 1) }

    private static func text(_ errno: Int32) -> String {
        switch errno {
        case ENOENT: "no such file"
        case EACCES: "no permission to read it"
        case ENOTDIR: "part of the path is not a directory"
        case EISDIR: "it is a directory"
        case ELOOP: "too many symbolic links"
        case ENAMETOOLONG: "the name is too long"
        case EMFILE, ENFILE: "too many files are open"
        case EIO: "the disk failed to read it"
        default: "it can't be read (errno \(errno))"
        }
    }
}

/// A way of handing a machine to a kernel.
public enum BootProtocol: String, Sendable, CaseIterable {
    /// A bzImage by the 64-bit Linux boot protocol.
    case linux64
    /// A bzImage by the 32-bit Linux boot protocol.
    case linux32
    /// An ELF kernel by its PVH entry.
    case pvh
    /// An ELF kernel at its ELF entry, with Linux's boot parameters.
    case elf
}
