// What `mmap` of a handle maps, where that is not one file: a vCPU's area has pages of its own and one that all vCPUs share,
// and a machine of 2006 shows each of its regions.

internal import Glibc

/// A part of a mapping: bytes of a memory file, which is there as long as the piece is.
public struct MappingPiece: Sendable {
    /// Who closes the descriptor.
    private let owner: any AnyObject & Sendable
    /// Open while the piece is.
    public let descriptor: Int32
    /// In bytes, whole pages, as the offset in the file is.
    public let length: Int
    public let offset: Int

    /// - Parameter owner: keeps the descriptor open for as long as it lives.
    public init(of descriptor: Int32, owner: any AnyObject & Sendable, length: Int, offset: Int) {
        self.owner = owner
        self.descriptor = descriptor
        self.length = length
        self.offset = offset
    }

    /// Maps the piece by `mmap`, whose arguments are the others.
    fileprivate func map(
        at place: UnsafeMutableRawPointer, _ protection: Int32, _ flags: Int32, by mmap: MappingCall
    ) -> UnsafeMutableRawPointer? {
        unsafe withExtendedLifetime(owner) { unsafe mmap(place, length, protection, flags, descriptor, offset) }
    }
}

/// `mmap(2)` or one that stands for it.
public typealias MappingCall = (UnsafeMutableRawPointer?, Int, Int32, Int32, Int32, Int) -> UnsafeMutableRawPointer?

extension [MappingPiece] {
    /// Maps the pieces in a row, shared, readable and writable, anywhere.
    public func map() throws(Errno) -> UnsafeMutableRawPointer {
        unsafe try map(at: nil, protection: PROT_READ | PROT_WRITE, flags: MAP_SHARED) {
            unsafe Glibc.mmap($0, $1, $2, $3, $4, $5)
        }
    }

    /// Maps the pieces in a row, as one `mmap(2)` of all of them would.
    /// - Parameters:
    ///   - address: as in `mmap`, like `protection` and `flags`.
    ///   - mmap: the system call.
    /// - Throws: `mmap`'s errno; nothing stays mapped that was not.
    public func map(
        at address: UnsafeMutableRawPointer?, protection: Int32, flags: Int32, by mmap: MappingCall
    ) throws(Errno) -> UnsafeMutableRawPointer {
        var length = 0
        for piece in self {
            let (sum, overflows) = length.addingReportingOverflow(piece.length)
            guard !overflows else { throw .outOfMemory }
            length = sum
        }
        let noReplace: Int32 = 0x10_0000  // MAP_FIXED_NOREPLACE, which glibc's header hides.
        let placement = flags & (MAP_FIXED | noReplace)
        let reserved = unsafe mmap(address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | placement, -1, 0)
        guard let reserved = unsafe reserved, unsafe reserved != MAP_FAILED else { throw Errno(rawValue: errno) }
        var place = unsafe reserved
        for piece in self {
            // All that the client asks for, but for the place.
            let kind = flags & ~noReplace | MAP_FIXED
            // SAFETY: the place is inside what was just reserved.
            guard unsafe piece.map(at: place, protection, kind, by: mmap) != MAP_FAILED else {
                let error = errno
                unsafe munmap(reserved, length)
                throw Errno(rawValue: error)
            }
            unsafe place += piece.length
        }
        return unsafe reserved
    }
}
