import X86

/// Machine code of our own for the few instructions that neither the language nor its library offers: position-independent
/// functions of the System V ABI in one page that is made once and never written again.
enum HostRoutine {
    // CMPXCHG16B. rdi: place; rsi: expected, two words, replaced by what was there; rdx, rcx: desired.
    private static let compareExchange16 = Assembler.code { a in
        a.push(.rbx)
        a.mov(.r8, .rdx)
        a.mov(.rax, .at(.rsi))
        a.mov(.rdx, .at(.rsi, 8))
        a.mov(.rbx, .r8)
        a.lock()
        a.cmpxchg16b(.at(.rdi))
        a.mov(.at(.rsi), .rax)
        a.mov(.at(.rsi, 8), .rdx)
        a.pop(.rbx)
        a.ret()
    }

    typealias CompareExchange16 =
        @convention(c) (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UInt64, UInt64) -> Void

    // SAFETY: the code above is a function of this type, and stays where it is for as long as the process lives.
    static let pairCompareExchange: CompareExchange16? = unsafe HostCode.add(compareExchange16).map {
        unsafe unsafeBitCast($0, to: CompareExchange16.self)
    }
}

/// Sixteen bytes in guest memory, for atomic access.
///
/// SAFETY: made from 16-byte aligned host addresses of guest memory.
@safe struct AtomicPair {
    private let pointer: UnsafeMutableRawPointer

    init(_ pointer: UnsafeMutableRawPointer) { unsafe self.pointer = pointer }

    /// LOCK CMPXCHG16B; returns what was there.
    func compareExchange(expected: (UInt64, UInt64), desired: (UInt64, UInt64)) -> (low: UInt64, high: UInt64) {
        var words = expected
        if let routine = unsafe HostRoutine.pairCompareExchange {
            unsafe withUnsafeMutableBytes(of: &words) {
                unsafe routine(pointer, $0.baseAddress.unsafelyUnwrapped, desired.0, desired.1)
            }
            return words
        }
        // A host that lets no program make code: not atomic.
        words = (unsafe pointer.load(as: UInt64.self), unsafe pointer.load(fromByteOffset: 8, as: UInt64.self))
        if words == expected {
            unsafe pointer.storeBytes(of: desired.0, as: UInt64.self)
            unsafe pointer.storeBytes(of: desired.1, toByteOffset: 8, as: UInt64.self)
        }
        return words
    }
}
