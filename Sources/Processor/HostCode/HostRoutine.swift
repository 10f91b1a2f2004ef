/// Machine code of our own for the few instructions that neither the language nor its library offers: position-independent
/// functions of the System V ABI in one page that is made once and never written again.
enum HostRoutine {
    // CMPXCHG16B. rdi: place; rsi: expected, two words, replaced by what was there; rdx, rcx: desired.
    private static let compareExchange16: [UInt8] = [
        0x53,  // push rbx
        0x49, 0x89, 0xD0,  // mov r8, rdx
        0x48, 0x8B, 0x06,  // mov rax, [rsi]
        0x48, 0x8B, 0x56, 0x08,  // mov rdx, [rsi + 8]
        0x4C, 0x89, 0xC3,  // mov rbx, r8
        0xF0, 0x48, 0x0F, 0xC7, 0x0F,  // lock cmpxchg16b [rdi]
        0x48, 0x89, 0x06,  // mov [rsi], rax
        0x48, 0x89, 0x56, 0x08,  // mov [rsi + 8], rdx
        0x5B, 0xC3,  // pop rbx; ret
    ]

    typealias CompareExchange16 =
        @convention(c) (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UInt64, UInt64) -> Void

    // SAFETY: the bytes above are a function of this type, and stay where they are for as long as the process lives.
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
