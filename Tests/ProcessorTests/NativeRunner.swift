import Glibc

@testable import Processor

/// Executes one instruction on the host's own CPU between a load and a store of all general registers and the flags.
///
/// SAFETY: `page` is one executable page that lives as long as the process. The instruction may use any register, the stack
/// pointer among them, but must neither fault nor leave its place.
@safe final class NativeRunner {
    private let page: UnsafeMutableRawPointer
    private let image: UnsafeMutablePointer<RegisterImage>

    init?() {
        guard let page = unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            unsafe page != MAP_FAILED
        else { return nil }
        unsafe self.page = page
        unsafe image = .allocate(capacity: 1)
        unsafe image.initialize(to: RegisterImage())
    }

    deinit {
        unsafe munmap(page, 4096)
        unsafe image.deallocate()
    }

    func run(_ instruction: [UInt8], _ registers: inout RegisterImage) {
        let address = unsafe UInt64(UInt(bitPattern: image))
        var code: [UInt8] = [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]  // push rbx, rbp, r12…r15
        code += [0x48, 0xB8] + bytes(address)  // mov rax, image
        code += [0xFF, 0xB0, 128, 0, 0, 0, 0x9D]  // push [rax + 128]; popfq
        code += [0x48, 0x89, 0xA0, 136, 0, 0, 0]  // mov [rax + 136], rsp
        for number in (1...15).map({ UInt8($0) }) + [0] {
            // mov r, [rax + 8n]
            code += [number > 7 ? 0x4C : 0x48, 0x8B, 0x80 | (number & 7) << 3, number * 8, 0, 0, 0]
        }
        code += instruction
        code += [0x48, 0xA3] + bytes(address)  // mov [image], rax
        code += [0x48, 0xB8] + bytes(address)  // mov rax, image
        for number: UInt8 in 1...15 {
            // mov [rax + 8n], r
            code += [number > 7 ? 0x4C : 0x48, 0x89, 0x80 | (number & 7) << 3, number * 8, 0, 0, 0]
        }
        code += [0x48, 0x8B, 0xA0, 136, 0, 0, 0]  // mov rsp, [rax + 136]
        code += [0x9C, 0x8F, 0x80, 128, 0, 0, 0, 0xFC]  // pushfq; pop [rax + 128]; cld
        code += [0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3]
        unsafe UnsafeMutableRawBufferPointer(start: page, count: code.count).copyBytes(from: code)
        unsafe image.pointee = registers
        typealias Function = @convention(c) () -> Void
        unsafe unsafeBitCast(page, to: Function.self)()
        registers = unsafe image.pointee
    }

    private func bytes(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }
}
