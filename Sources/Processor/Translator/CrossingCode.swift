import Glibc
import X86

/// What an instruction that goes on in the next page was translated with: its translation holds while that page is where it was,
/// with the same bytes. They are compared at each execution, since such instructions are few.
struct CrossingCode: BitwiseCopyable {
    /// The host's address of the next page.
    private var page: UInt
    private var tail: CodeBytes

    /// The bytes are those of an instruction that begins at an offset of the page before.
    init(_ page: UInt, _ bytes: CodeBytes, at offset: Int) {
        self.page = page
        tail = bytes.dropFirst(4096 - offset)
    }

    fileprivate func holds(_ page: UInt?) -> Bool {
        guard page == self.page, let code = unsafe UnsafeRawPointer(bitPattern: self.page) else { return false }
        return unsafe CodeBytes(code, count: tail.count) == tail
    }
}

extension VirtualProcessor {
    /// The host's address of the page behind that of the running block, where the TLB has it as code.
    func followingCode() -> UInt? { cpu.quickCode(cpu.state.blockRIP & ~0xFFF &+ 4096) }
}

extension CPU {
    static let checkCrossing: HostCode.Function = { CPU($0).checkCrossing($1, $2) }

    /// Other than 0: emitted code is to be left in front of the instruction, at an offset in its page.
    private func checkCrossing(_ record: UInt, _ offset: UInt) -> UInt {
        // SAFETY: of `TranslatedOps`, which lives as long as what refers to it.
        let code = unsafe UnsafeRawPointer(bitPattern: record).unsafelyUnwrapped.load(as: CrossingCode.self)
        state.rip = state.codeBase &+ UInt64(offset)
        // What faults here is met by the interpreter, which begins there.
        processor.underWay.isExecuting = false
        defer { processor.underWay.isExecuting = true }
        if code.holds(quickCode(state.codeBase &+ 4096)) { return 0 }
        state.stop = .boundary
        return 1
    }

    /// The host address of code at a page's beginning, where the table of translations has it.
    fileprivate func quickCode(_ linear: UInt64) -> UInt? {
        let entry = unsafe state.tlb + Int(truncatingIfNeeded: (linear >> 12) & TLBEntry.indexMask)
        guard unsafe entry.pointee.execute == linear | state.tlbGeneration else { return nil }
        return unsafe UInt(linear &+ entry.pointee.addend)
    }
}
