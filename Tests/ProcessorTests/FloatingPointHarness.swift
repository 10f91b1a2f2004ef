import Glibc
import GuestMemory
import X86

@testable import Processor

/// Runs one instruction on the host itself and in the interpreter, from the same state.
///
/// Memory operands are at the same addresses in both: the TLB shows two pages of the host at their own addresses, so that
/// no page tables are needed.
@safe final class FloatingPointHarness {
    /// What an instruction may read and write.
    struct State: Equatable {
        var general = [UInt64](repeating: 0, count: 16)
        var flags: UInt64 = 2
        /// The XSAVE area in standard form, in words.
        var xsave = [UInt64](repeating: 0, count: 104)
        var memory = [UInt8](repeating: 0, count: 1024)
    }

    static let flagsMask: UInt64 = 0x8D5
    /// What the native run can hold: everything but RSP.
    private static let contextSize = 2048

    // SAFETY: mapped for the life of the harness.
    private let context: UnsafeMutableRawPointer
    private let code: UnsafeMutableRawPointer
    let page: UnsafeMutableRawPointer
    let processor: VirtualProcessor
    private let host = NoHost()
    private let space = AddressSpace()

    init() {
        func map(_ size: Int, _ protection: Int32) -> UnsafeMutableRawPointer {
            unsafe mmap(nil, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        }
        unsafe context = map(4096, PROT_READ | PROT_WRITE)
        unsafe code = map(4096, PROT_READ | PROT_WRITE | PROT_EXEC)
        unsafe page = map(8192, PROT_READ | PROT_WRITE)
        processor = VirtualProcessor(memory: space, host: host)
        processor.cpu.state.codeMode = CodeMode(rawValue: 8)
        processor.cpu.state.xcr0 = 7
        for offset in [0, 4096] as [UInt64] { allow(address + offset) }
    }

    deinit {
        unsafe munmap(context, 4096)
        unsafe munmap(code, 4096)
        unsafe munmap(page, 8192)
    }

    /// Of the memory operands' page.
    var address: UInt64 { UInt64(UInt(bitPattern: unsafe page)) }

    /// Shows a page of the host to the interpreter at its own address.
    func allow(_ linear: UInt64, write: Bool = true) {
        let entry = unsafe processor.cpu.state.tlb + Int((linear >> 12) & TLBEntry.indexMask)
        let tag = linear & ~0xFFF | processor.cpu.state.tlbGeneration
        unsafe entry.pointee = TLBEntry(read: tag, write: write ? tag : 0, execute: 0, addend: 0)
    }

    /// Takes a page away from the interpreter.
    func forbid(_ linear: UInt64) {
        unsafe processor.cpu.state.tlb[Int((linear >> 12) & TLBEntry.indexMask)] = TLBEntry()
    }

    /// Where `native` puts the instruction.
    var nativeAddress: UInt64 { UInt64(UInt(bitPattern: unsafe code)) + 96 }

    // MARK: The host

    /// Runs `instruction` on the host. RSP is the host's; the instruction must not use it.
    func native(_ instruction: [UInt8], _ state: State) -> State {
        var bytes: [UInt8] = []
        func quad(_ value: UInt64) {
            for shift in 0..<8 as Range<UInt64> { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
        }
        let base = UInt64(UInt(bitPattern: unsafe context))
        bytes += [0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x48, 0x83, 0xEC, 0x08]
        // mov eax, 7; xor edx, edx; xrstor64 [rdi + 256]
        bytes += [0xB8, 7, 0, 0, 0, 0x31, 0xD2, 0x48, 0x0F, 0xAE, 0xAF, 0, 1, 0, 0]
        bytes += [0xFF, 0xB7, 128, 0, 0, 0, 0x9D]  // push [rdi + 128]; popfq
        for register in [0, 1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 7] as [UInt8] {
            bytes += [register >= 8 ? 0x4C : 0x48, 0x8B, 0x47 | (register & 7) << 3, register * 8]
        }
        let place = UInt64(UInt(bitPattern: unsafe code)) + UInt64(bytes.count)
        bytes += instruction
        bytes += [0x48, 0xA3]  // mov [context], rax
        quad(base)
        bytes += [0x48, 0xB8]
        quad(base)
        for register in [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as [UInt8] {
            bytes += [register >= 8 ? 0x4C : 0x48, 0x89, 0x40 | (register & 7) << 3, register * 8]
        }
        // pushfq; pop [rax + 128]
        bytes += [0x9C, 0x8F, 0x80, 128, 0, 0, 0]
        // xsave64 [rdi + 256]
        bytes += [0x48, 0x89, 0xC7, 0xB8, 7, 0, 0, 0, 0x31, 0xD2, 0x48, 0x0F, 0xAE, 0xA7, 0, 1, 0, 0]
        bytes += [0xDB, 0xE3, 0xC5, 0xF8, 0x77]  // fninit; vzeroupper
        bytes += [0xC7, 0x44, 0x24, 0xF8, 0x80, 0x1F, 0, 0, 0x0F, 0xAE, 0x54, 0x24, 0xF8]  // ldmxcsr 1F80h
        bytes += [0x48, 0x83, 0xC4, 0x08, 0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3]
        unsafe bytes.withUnsafeBytes {
            unsafe UnsafeMutableRawBufferPointer(start: code, count: 4096).copyMemory(from: $0)
        }

        for index in 0..<16 {
            unsafe context.storeBytes(of: state.general[index], toByteOffset: index * 8, as: UInt64.self)
        }
        unsafe context.storeBytes(
            of: state.flags & FloatingPointHarness.flagsMask | 2, toByteOffset: 128, as: UInt64.self)
        for index in 0..<104 {
            unsafe context.storeBytes(of: state.xsave[index], toByteOffset: 256 + index * 8, as: UInt64.self)
        }
        unsafe context.storeBytes(of: 7, toByteOffset: 256 + 512, as: UInt64.self)
        setMemory(state.memory)
        // SAFETY: the code keeps to the C calling convention.
        unsafe unsafeBitCast(code, to: (@convention(c) (UInt) -> Void).self)(UInt(base))
        var after = state
        for index in 0..<16 where index != 4 {
            after.general[index] = unsafe context.load(fromByteOffset: index * 8, as: UInt64.self)
        }
        after.flags = unsafe context.load(fromByteOffset: 128, as: UInt64.self) & FloatingPointHarness.flagsMask
        for index in 0..<104 {
            after.xsave[index] = unsafe context.load(fromByteOffset: 256 + index * 8, as: UInt64.self)
        }
        after.memory = memory
        lastNativeAddress = place
        return after
    }

    private(set) var lastNativeAddress: UInt64 = 0

    private func setMemory(_ bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes {
            unsafe UnsafeMutableRawBufferPointer(start: page + 3072, count: 1024).copyMemory(from: $0)
        }
    }

    /// The last kilobyte of the first page.
    private var memory: [UInt8] { unsafe Array(UnsafeRawBufferPointer(start: page + 3072, count: 1024)) }

    // MARK: The interpreter

    /// Runs it in the interpreter; nil for the stop where there is none. `rip`: of the instruction.
    func interpreted(_ instruction: [UInt8], _ state: State, rip: UInt64 = 0, mode: CodeMode = CodeMode(rawValue: 8))
        -> (State, Stop?)
    {
        let cpu = processor.cpu
        cpu.state.codeMode = mode
        for index in 0..<16 { cpu.state.registers[index] = state.general[index] }
        cpu.rflags = state.flags & FloatingPointHarness.flagsMask | 2
        for index in 0..<104 { cpu.state.xsave[index] = state.xsave[index] }
        setMemory(state.memory)
        cpu.state.blockRIP = rip
        var stop: Stop?
        do throws(DecodeError) {
            let decoded = try Decoder.decode(instruction, codeSize: CodeSize(rawValue: mode.codeSize))
            var ops = [Lowering.lower(decoded, mode: mode, offset: 0).op]
            ops.append(Op(handler: Interpreter.endOfStep))
            let next = unsafe ops.withUnsafeMutableBufferPointer { ops in
                let op = UInt(bitPattern: ops.baseAddress)
                cpu.state.currentOp = op
                let next = unsafe ops[0].handler(cpu.address, op)
                return next == 0 ? 0 : next - op
            }
            if next == 0 {
                stop = cpu.state.stop
            } else if next != UInt(MemoryLayout<Op>.stride) {
                stop = Stop(kind: .careful)
            }
        } catch {
            stop = .invalidOpcode
        }
        cpu.settleMXCSR()
        var after = state
        for index in 0..<16 { after.general[index] = cpu.state.registers[index] }
        after.flags = cpu.statusFlags
        for index in 0..<104 { after.xsave[index] = cpu.state.xsave[index] }
        after.memory = memory
        return (after, stop)
    }
}

/// A hypervisor without devices.
final class NoHost: ProcessorHost {
    var timeStampCounter: UInt64 = 0
    var taskPriority: UInt8 = 0
    func readMMIO(_ address: UInt64, size: Int) -> UInt64? { nil }
    func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool { false }
    func readPort(_ port: UInt16, size: Int) -> UInt32? { nil }
    func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool { false }
    func readMSR(_ index: UInt32) -> MSRAnswer { .invalid }
    func writeMSR(_ index: UInt32, _ value: UInt64) -> MSRAnswer { .invalid }
    func allowsMSR(_ index: UInt32, write: Bool) -> Bool { true }
    func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) { (0, 0, 0, 0) }
    func acknowledgeInterrupt() -> UInt8? { nil }
    func hypercall() -> Bool { false }
    func codeChanged() {}
    func newCodePage() -> Bool { false }
    func exclusively(_ body: () -> Void) { body() }
}
