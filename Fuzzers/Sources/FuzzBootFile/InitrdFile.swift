import FuzzInput
import Glibc
import VMM

/// Initrds of several sizes, in memory.
enum InitrdFile {
    static let all: [ImageFile?] = [nil] + [1, 4096, 5000, 1 << 20, 3 << 20].map { make($0) }

    private static func make(_ size: Int) -> ImageFile? {
        // SAFETY: the name is a string of C for the call.
        let descriptor = unsafe memfd_create("initrd", 0)
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        // SAFETY: the buffer is the array's.
        require(unsafe write(descriptor, bytes, size) == size, "no initrd")
        return try? ImageFile("/proc/self/fd/\(descriptor)")
    }
}
