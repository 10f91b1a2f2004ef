import Glibc

/// The parent's side of the native process: hands it batches of cases, starts it again if a case has killed it.
public final class NativeProcess {
    public enum Failure: Error, CustomStringConvertible {
        /// There is no such program, or it couldn't be started.
        case notStarted(String, Int32)
        /// It ended before its first case.
        case unsupported(status: Int32)

        public var description: String {
            switch self {
            case .notStarted(let path, let number):
                "\(path) can't be started: \(unsafe String(cString: strerror(number)))"
            case .unsupported(NativeServer.noFSGSBASE): "the host's system does not let processes use FSGSBASE"
            case .unsupported(NativeServer.noDispatch): "the host's system has no syscall user dispatch"
            case .unsupported(NativeServer.noWindows): "the addresses of the windows are taken"
            case .unsupported(let status): "the native process ended with status \(status)"
            }
        }
    }

    let region: OracleRegion
    private let program: String
    private var process: pid_t = 0
    private var requests: Int32 = -1
    private var replies: Int32 = -1
    private var pending: [NativeServer.Request] = []
    /// How often a case has killed the process.
    public private(set) var deaths = 0

    /// The program beside the running one: in the build's folder.
    public static let programBeside: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let path = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/cpu-oracle"
    }()

    public init(program: String = NativeProcess.programBeside) throws(Failure) {
        guard let region = OracleRegion() else { throw .notStarted("shared memory", errno) }
        self.region = region
        self.program = program
        try start()
        // An empty batch shows whether the host can.
        submit(0, first: 0, count: 0)
        var reply: UInt8 = 0
        guard unsafe read(replies, &reply, 1) == 1 else {
            var status: Int32 = 0
            _ = unsafe waitpid(process, &status, 0)
            process = 0
            throw .unsupported(status: status >> 8 & 0xFF)
        }
        pending.removeAll()
    }

    deinit { stop() }

    private func stop() {
        if requests >= 0 { close(requests) }
        if replies >= 0 { close(replies) }
        if process > 0 {
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        (process, requests, replies) = (0, -1, -1)
    }

    private func start() throws(Failure) {
        var toChild = InlineArray<2, Int32>(repeating: -1)
        var toParent = InlineArray<2, Int32>(repeating: -1)
        unsafe withUnsafeMutableBytes(of: &toChild) {
            _ = unsafe pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress, O_CLOEXEC)
        }
        unsafe withUnsafeMutableBytes(of: &toParent) {
            _ = unsafe pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress, O_CLOEXEC)
        }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        // Out of the way first: any of them may be one of the wanted numbers.
        let moved = [region.descriptor, toChild[0], toParent[1]].map { fcntl($0, F_DUPFD_CLOEXEC, 100) }
        unsafe posix_spawn_file_actions_adddup2(&actions, moved[0], NativeServer.regionDescriptor)
        unsafe posix_spawn_file_actions_adddup2(&actions, moved[1], NativeServer.requests)
        unsafe posix_spawn_file_actions_adddup2(&actions, moved[2], NativeServer.replies)
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe [strdup(program), strdup("--native"), nil]
        let result = unsafe posix_spawn(&process, program, &actions, nil, &arguments, environ)
        unsafe arguments.forEach { unsafe free($0) }
        unsafe posix_spawn_file_actions_destroy(&actions)
        for descriptor in [moved[0], moved[1], moved[2], toChild[0], toParent[1]] { close(descriptor) }
        requests = toChild[1]
        replies = toParent[0]
        guard result == 0 else {
            process = 0
            throw .notStarted(program, result)
        }
    }

    /// Puts a case into a batch that is not being run.
    func write(_ test: OracleCase, _ batch: Int, _ number: Int) { region.write(test, batch, number) }

    /// Begins to run a batch.
    func submit(_ batch: Int, first: Int = 0, count: Int) {
        var request = NativeServer.Request(batch: UInt32(batch), first: UInt32(first), count: UInt32(count))
        pending.append(request)
        _ = unsafe Glibc.write(requests, &request, MemoryLayout<NativeServer.Request>.size)
    }

    /// Waits until the batch that was submitted first has been run.
    func wait() throws(Failure) {
        guard !pending.isEmpty else { return }
        var reply: UInt8 = 0
        while true {
            let count = unsafe read(replies, &reply, 1)
            if count == 1 { break }
            if count < 0, errno == EINTR { continue }
            // It has died: of the case that it wrote down last.
            deaths += 1
            let unfinished = pending
            pending.removeAll()
            let number = Int(unsafe region.base.load(as: UInt64.self))
            let batch = Int(unfinished[0].batch)
            unsafe region.end(batch, number).pointee = OracleEnd()
            unsafe region.end(batch, number).pointee.vector = OracleEnd.killed
            stop()
            try start()
            let end = Int(unfinished[0].first + unfinished[0].count)
            submit(batch, first: number + 1, count: max(end - number - 1, 0))
            for request in unfinished.dropFirst() {
                submit(Int(request.batch), first: Int(request.first), count: Int(request.count))
            }
        }
        pending.removeFirst()
    }
}
