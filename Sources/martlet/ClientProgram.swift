// A program that is to run with the preload library inside: whether the loader will put it there.

internal import Glibc

/// A command of the user's, found and looked at before it is started.
struct ClientProgram {
    /// The file that `execve` is given.
    let path: String

    /// Why a command can't be served, and what to do.
    struct Refusal: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    /// Looks a command up as a shell does, and follows scripts to their interpreter.
    init(_ command: String) throws(Refusal) {
        path = try ClientProgram.locate(command)
        var file = path
        // A script's interpreter may be a script; Linux follows five.
        for _ in 0..<5 {
            let contents = try ClientProgram.head(of: file, 4096)
            guard contents.starts(with: [0x23, 0x21]) else {  // #!
                try ClientProgram.check(file, contents)
                return
            }
            let line = contents.dropFirst(2).prefix { $0 != 0x0A }
            guard let word = line.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 }).first else {
                throw Refusal("\(file): its first line names no interpreter")
            }
            file = String(decoding: word, as: UTF8.self)
        }
        throw Refusal("\(path): scripts that interpret scripts, more than five deep")
    }

    private static func locate(_ command: String) throws(Refusal) -> String {
        if command.contains("/") {
            guard unsafe access(command, F_OK) == 0 else { throw Refusal("\(command): \(reason())") }
            guard isExecutable(command) else { throw Refusal("\(command): not an executable file") }
            return command
        }
        let path = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        for folder in path.split(separator: ":", omittingEmptySubsequences: false) {
            let candidate = folder.isEmpty ? "./\(command)" : "\(folder)/\(command)"
            if isExecutable(candidate) { return candidate }
        }
        throw Refusal("\(command): not found in PATH; give its path, or install it")
    }

    private static func isExecutable(_ file: String) -> Bool {
        var status = stat()
        guard unsafe stat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
        return unsafe access(file, X_OK) == 0
    }

    private static func reason() -> String { unsafe String(cString: strerror(errno)) }

    private static func head(of file: String, _ count: Int) throws(Refusal) -> [UInt8] {
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Refusal("\(file): \(reason())") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = unsafe bytes.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        guard got >= 0 else { throw Refusal("\(file): \(reason())") }
        return Array(bytes.prefix(got))
    }

    // MARK: ELF (System V ABI, "Object Files")

    private static func check(_ file: String, _ bytes: [UInt8]) throws(Refusal) {
        func integer(_ offset: Int, _ size: Int) -> UInt64? {
            guard offset >= 0, offset <= bytes.count, size <= bytes.count - offset else { return nil }
            return bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else {
            throw Refusal("\(file): neither an ELF program nor a script")
        }
        guard integer(4, 1) == 2, integer(5, 1) == 1, integer(18, 2) == 62 else {
            throw Refusal("\(file): built for another processor; the library is for x86-64 programs")
        }
        var status = stat()
        if unsafe stat(file, &status) == 0,
            status.st_mode & S_ISUID != 0 && status.st_uid != geteuid()
                || status.st_mode & S_ISGID != 0 && status.st_gid != getegid()
        {
            throw Refusal(
                "\(file): set-user-ID or set-group-ID, for which the loader ignores LD_PRELOAD; run a copy without that bit"
            )
        }
        guard let table = integer(32, 8).flatMap({ Int(exactly: $0) }), let size = integer(54, 2).map({ Int($0) }),
            let count = integer(56, 2).map({ Int($0) }), size >= 56
        else { throw Refusal("\(file): cut off in its ELF header") }
        let interpreter: UInt64 = 3  // PT_INTERP
        for index in 0..<count {
            let (place, overflows) = table.addingReportingOverflow(index * size)
            guard !overflows, let type = integer(place, 4) else { break }
            if type == interpreter { return }
        }
        throw Refusal(
            "\(file): linked statically, so that nothing can be loaded into it; build it against the C library's shared form"
        )
    }
}
