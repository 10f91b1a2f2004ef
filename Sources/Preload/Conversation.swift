// MARTLET_LOG: what the client and the hypervisor say to each other, a line for each request.

internal import Glibc
internal import KVM2006
internal import KVMABI
internal import Synchronization

/// The log. Each line is written whole, when the answer is there.
final class Conversation: Sendable {
    /// nil without MARTLET_LOG.
    static let shared: Conversation? = Settings.shared.log.flatMap(Conversation.init)

    private let path: String
    private let output: Int32
    private let isCutOff = Atomic<Bool>(false)
    private let start = Conversation.now

    private init?(_ path: String) {
        self.path = path
        output =
            path == "-"
            ? PrivateDescriptor.copy(of: STDERR_FILENO)
            : PrivateDescriptor.moved(unsafe next.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644))
        guard output >= 0 else {
            let reason = unsafe String(cString: strerror(errno))
            Diagnostic.write("MARTLET_LOG=\(path): \(reason); nothing is logged")
            return nil
        }
    }

    /// What neither of them says.
    func note(_ text: String) {
        write("\(Conversation.microseconds(Conversation.now - start)) \(getpid())/\(gettid()) \(text)\n")
    }

    func opened(_ descriptor: Int32) { line(Conversation.now, descriptor, "open /dev/kvm", "= \(descriptor)", 0) }

    func record(_ descriptor: Int32, _ request: Request, _ argument: UInt, _ answer: () -> Int32) -> Int32 {
        let begun = Conversation.now
        let first = Settings.shared.interface == .first ? FirstRequest(rawValue: UInt32(request.rawValue)) : nil
        // What was asked, before the answer overwrites it. The structures of 2006 are not today's, though the names are.
        let question =
            if let first { "\(first.name)(\(RequestDescription.hex(UInt64(argument))))" } else {
                "\(request.name)\(RequestDescription.question(request, argument))"
            }
        let result = answer()
        let error = errno
        let time = Conversation.now - begun
        let reply =
            if result < 0 {
                "= -1 \(Errno(rawValue: error).name)"
            } else if first != nil {
                "= \(result)"
            } else {
                "= \(result)\(request == .run ? exit(descriptor) : RequestDescription.reply(request, argument))"
            }
        line(begun, descriptor, question, reply, time)
        errno = error
        return result
    }

    /// Why a run ended: what the vCPU's area says, mapped here for a look.
    private func exit(_ descriptor: Int32) -> String {
        let page = unsafe interposedMap(nil, 4096, PROT_READ, MAP_SHARED, descriptor, 0)
        guard let page = unsafe page, unsafe page != MAP_FAILED else { return "" }
        defer { unsafe munmap(page, 4096) }
        return RequestDescription.exit(unsafe [UInt8](UnsafeRawBufferPointer(start: page, count: 4096)))
    }

    private func line(_ begun: UInt64, _ descriptor: Int32, _ question: String, _ reply: String, _ time: UInt64) {
        let stamp = Conversation.microseconds(begun - start)
        write(
            "\(stamp) \(getpid())/\(gettid()) fd \(descriptor) \(question) \(reply) <\(Conversation.microseconds(time))>\n"
        )
    }

    /// Writes a line, or says once that there can be no more.
    private func write(_ text: String) {
        guard !isCutOff.load(ordering: .relaxed) else { return }
        let error = Cancellation.putOff { failure(ofWriting: Array(text.utf8)) }
        guard let error, !isCutOff.exchange(true, ordering: .relaxed) else { return }
        Diagnostic.write("MARTLET_LOG=\(path): \(unsafe String(cString: strerror(error))); the log ends here")
    }

    private func failure(ofWriting bytes: [UInt8]) -> Int32? {
        unsafe bytes.withUnsafeBytes { bytes in
            var written = 0
            while written < bytes.count {
                let rest = unsafe UnsafeMutableRawPointer(mutating: bytes.baseAddress.map { unsafe $0 + written })
                let count = unsafe next.write(output, rest, bytes.count - written)
                if count > 0 {
                    written += count
                } else if count < 0, errno == EAGAIN {
                    var polled = pollfd(fd: output, events: Int16(POLLOUT), revents: 0)
                    unsafe poll(&polled, 1, -1)
                } else if count == 0 || errno != EINTR {
                    return count == 0 ? EIO : errno
                }
            }
            return nil
        }
    }

    /// Nanoseconds as microseconds with one decimal.
    private static func microseconds(_ nanoseconds: UInt64) -> String {
        "\(nanoseconds / 1000).\(nanoseconds / 100 % 10)µs"
    }

    private static var now: UInt64 {
        var now = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}
