import FuzzInput

extension BootCase {
    /// Hand-made images of each kind, booted in each way.
    static var seeds: [[UInt8]] {
        let code = [UInt8](repeating: 0xF4, count: 64)
        let images = [
            GuestBuilder.bzImage(code), GuestBuilder.bzImage(code, code64: code),
            GuestBuilder.bzImage(code, code64: code, preferredAddress: 0x20_0000, initrdLimit: 0x2F_FFFF),
            GuestBuilder.bzImage(code, version: 0x0208), GuestBuilder.bzImage(code, commandLineSize: 8),
            GuestBuilder.elf(code), GuestBuilder.elf(code, pvhEntry: 0x10_0000, memorySize: 0x4000),
            GuestBuilder.elf(code, machine: 3, is64Bit: false, pvhEntry: 0x10_0000),
        ]
        return images.flatMap { image in
            [0x00, 0x08, 0x29, 0x4A, 0x6B, 0x8C, 0xB8].flatMap { (options: UInt8) in
                [0, 1, 2].map { (length: UInt8) in [options, length] + image }
            }
        }
    }
}
