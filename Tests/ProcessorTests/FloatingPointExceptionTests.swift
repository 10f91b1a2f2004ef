import Glibc
import Testing
import X86

@testable import Processor

/// #XM, #MF, #NM and #UD of floating-point instructions. Unmasked SIMD exceptions are compared with the host's SIGFPE.
@Suite(.serialized) struct FloatingPointExceptionTests {
    /// What the signal handler needs and leaves; one test at a time uses it, on the thread that faults.
    @safe private enum Trap {
        nonisolated(unsafe) static var resume: UInt = 0
        nonisolated(unsafe) static var taken = false
    }

    private func withTraps(_ body: () -> Void) {
        var action = sigaction()
        action.sa_flags = SA_SIGINFO | Int32(bitPattern: UInt32(SA_NODEFER))
        unsafe action.__sigaction_handler.sa_sigaction = { _, _, context in
            guard let context = unsafe context?.assumingMemoryBound(to: ucontext_t.self) else { return }
            unsafe Trap.taken = true
            unsafe context.pointee.uc_mcontext.fpregs.pointee.mxcsr |= 0x1F80
            unsafe context.pointee.uc_mcontext.gregs.16 = greg_t(Trap.resume)
        }
        var old = sigaction()
        unsafe sigaction(SIGFPE, &action, &old)
        body()
        unsafe sigaction(SIGFPE, &old, nil)
    }

    @Test func unmaskedSIMD() {
        let harness = FloatingPointHarness()
        harness.processor.cpu.state.cr4 = CR4.OSXMMEXCPT.rawValue
        var random = FloatingPointRandom(19)
        withTraps {
            for (number, row) in OpcodeTable.rows.enumerated() where [2, 3].contains(row.exceptionClass) && !row.vsib {
                for round in 0..<12 {
                    let memory = round % 3 == 0 && row.mod != .register
                    let bytes = FloatingPointTests.encode(row, memory: memory, wide: false, &random)
                    guard let decoded = try? Decoder.decode(bytes, codeSize: .bits64), Int(decoded.row) == number,
                        HostProcessor.offered.permits(row.feature(vectorLength: decoded.vectorLength))
                    else { break }
                    var state = FloatingPointTests.state(harness, &random)
                    state.xsave[3] = random.next() & 0xFF80 | (round % 2 == 0 ? random.next() & 0x3F : 0)
                    unsafe Trap.taken = false
                    unsafe Trap.resume = UInt(harness.nativeAddress) + UInt(bytes.count)
                    let native = harness.native(bytes, state)
                    let trapped = unsafe Trap.taken
                    let (ours, stop) = harness.interpreted(bytes, state)
                    let name =
                        "\(row.mnemonic) \(FloatingPointTests.hex(bytes)) MXCSR \(String(state.xsave[3], radix: 16))"
                    #expect(trapped == (stop == .fault(19)), "\(name) host \(String(native.xsave[3], radix: 16))")
                    #expect(stop == nil || stop == .fault(19), "\(name)")
                    // A trapped underflow: whether the result would have been exact with a larger exponent range is not known here.
                    let flags: UInt64 = trapped && native.xsave[3] & 16 != 0 ? 0x1F : 0x3F
                    #expect(
                        native.xsave[3] & flags == ours.xsave[3] & flags,
                        "\(name): flags \(native.xsave[3] & 0x3F) ours \(ours.xsave[3] & 0x3F)")
                    #expect(native.xsave[20..<52] == ours.xsave[20..<52], "\(name)")
                    #expect(native.general == ours.general, "\(name)")
                    #expect(native.flags == ours.flags, "\(name)")
                }
            }
        }
    }

    @Test func withoutOSXMMEXCPT() {
        let harness = FloatingPointHarness()
        var random = FloatingPointRandom(23)
        var state = FloatingPointTests.state(harness, &random)
        // divps xmm0, xmm1 by zero, zero divide unmasked.
        state.xsave[3] = 0x1D80
        for word in [20, 21] { state.xsave[word] = 0x3F80_0000_3F80_0000 }
        for word in [22, 23] { state.xsave[word] = 0 }
        let (after, stop) = harness.interpreted([0x0F, 0x5E, 0xC1], state)
        #expect(stop == .invalidOpcode)
        #expect(after.xsave[20] == state.xsave[20])
        #expect(after.xsave[3] & 0x3F == 4)
    }

    /// Intel SDM vol. 1, 8.6 and 8.7: the exception is taken before the next waiting instruction.
    @Test func pendingX87() {
        let harness = FloatingPointHarness()
        var state = State()
        state.general[6] = harness.address + 3072
        // Zero divide unmasked; ST(0) = 1, ST(1) = 0.
        state.xsave[0] = 0x37B | 0xFF << 32
        (state.xsave[4], state.xsave[5]) = (1 << 63, 0x3FFF)
        let (pending, first) = harness.interpreted([0xD8, 0xF1], state)
        #expect(first == nil)
        #expect(pending.xsave[0] >> 16 & 0x8084 == 0x8084)
        #expect(pending.xsave[4] == 1 << 63)
        for bytes in [[0xD9, 0xE8], [0x9B], [0x0F, 0x77], [0x0F, 0xFC, 0xC1], [0xD9, 0xD0]] as [[UInt8]] {
            let (after, stop) = harness.interpreted(bytes, pending)
            #expect(stop == .fault(16), "\(FloatingPointTests.hex(bytes))")
            #expect(after == pending)
        }
        for bytes in [[0xDB, 0xE2], [0xDB, 0xE3], [0xDF, 0xE0], [0xD9, 0x3E], [0xD9, 0x36]] as [[UInt8]] {
            #expect(harness.interpreted(bytes, pending).1 == nil, "\(FloatingPointTests.hex(bytes))")
        }
        // An unmasked overflow stops a store: neither memory nor the stack changes.
        state.xsave[0] = 0x377 | 0xFF << 32
        (state.xsave[4], state.xsave[5]) = (1 << 63, 0x7FFE)
        let (stored, stop) = harness.interpreted([0xD9, 0x1E], state)
        #expect(stop == nil)
        #expect(stored.memory == state.memory)
        #expect(stored.xsave[0] >> 16 & 0x88 == 0x88)
        #expect(stored.xsave[0] >> 27 & 7 == 0)
    }

    typealias State = FloatingPointHarness.State

    /// CR0.EM, CR0.TS, CR0.MP, CR4.OSFXSR, CR4.OSXSAVE, XCR0. Intel SDM vol. 3, 2.5; vol. 2, 2.4.
    @Test func controlRegisters() {
        let harness = FloatingPointHarness()
        let cpu = harness.processor.cpu
        let mode = CodeMode(rawValue: 8 | CodeMode.checksFPU.rawValue)
        let state = State()
        func stop(_ bytes: [UInt8], cr0: UInt64 = 0, cr4: UInt64 = 0x40600, xcr0: UInt64 = 7) -> Stop? {
            cpu.state.cr0 = cr0
            cpu.state.cr4 = cr4
            cpu.state.xcr0 = xcr0
            return harness.interpreted(bytes, state, mode: mode).1
        }
        let fld1: [UInt8] = [0xD9, 0xE8], wait: [UInt8] = [0x9B], paddb: [UInt8] = [0x0F, 0xFC, 0xC1],
            addps: [UInt8] = [0x0F, 0x58, 0xC1]
        let vaddps: [UInt8] = [0xC5, 0xF0, 0x58, 0xC2]
        for bytes in [fld1, wait, paddb, addps, vaddps] { #expect(stop(bytes) == nil) }
        let em = CR0.EM.rawValue, ts = CR0.TS.rawValue, mp = CR0.MP.rawValue
        #expect(stop(fld1, cr0: em) == .deviceNotAvailable)
        #expect(stop(fld1, cr0: ts) == .deviceNotAvailable)
        #expect(stop(wait, cr0: ts) == nil)
        #expect(stop(wait, cr0: ts | mp) == .deviceNotAvailable)
        #expect(stop(paddb, cr0: em) == .invalidOpcode)
        #expect(stop(paddb, cr0: ts) == .deviceNotAvailable)
        #expect(stop(paddb, cr4: 0) == nil)
        #expect(stop(addps, cr0: em) == .invalidOpcode)
        #expect(stop(addps, cr0: ts) == .deviceNotAvailable)
        #expect(stop(addps, cr4: 0) == .invalidOpcode)
        #expect(stop(addps, cr4: 0x600, xcr0: 1) == nil)
        #expect(stop(vaddps, cr4: 0x600) == .invalidOpcode)
        #expect(stop(vaddps, xcr0: 3) == .invalidOpcode)
        #expect(stop(vaddps, cr0: ts) == .deviceNotAvailable)
        #expect(stop(vaddps, cr0: em) == nil)
    }
}
