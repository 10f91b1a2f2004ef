internal import Glibc

/// A file that text is added to.
///
/// SAFETY: the stream is open from init on, for good; used under a lock of the owner's.
@safe struct TextFile: @unchecked Sendable {
    private let stream: UnsafeMutablePointer<FILE>

    /// Makes the file, or empties it.
    init(_ path: String) throws(TranslationTrace.Failure) {
        guard let stream = unsafe fopen(path, "we") else {
            let reason = unsafe String(cString: strerror(errno))
            throw TranslationTrace.Failure(description: "\(path) can't be written: \(reason)")
        }
        unsafe self.stream = stream
    }

    /// At once in the file, whose reader may look while the guest runs.
    func write(_ text: String) {
        unsafe fputs(text, stream)
        unsafe fflush(stream)
    }
}
