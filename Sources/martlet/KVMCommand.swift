// `martlet kvm`: runs a client of /dev/kvm, unmodified, on the hypervisor that was chosen.

internal import ArgumentParser
internal import Glibc
internal import KVM

struct KVMCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kvm",
        abstract: "Run a command whose /dev/kvm is the software hypervisor.",
        discussion: """
            The command, and what it starts, has libmartlet-kvm.so loaded into it, whether or not this machine has a
            /dev/kvm. It must be a dynamically linked x86-64 program, or a script for one.
            With MARTLET_LOG=FILE in the environment, or - for standard error, each request is logged; with \
            MARTLET_TRACE_BLOCKS=FILE what the translator makes is written; with MARTLET_PERF_MAP=1 perf finds names for \
            it in /tmp/perf-PID.map, those of a System.map or an ELF file with MARTLET_SYMBOLS=FILE.
            Exit status: the command's; 1 it can't be served or started, 2 bad usage.
            """)

    @Option(help: "Which hypervisor: auto, kernel (/dev/kvm, nothing but logging in between) or software.")
    var hypervisor = Hypervisor.software

    @Option(help: "What executes guest code in the software hypervisor: auto, interpreter or translator.")
    var executor = Hypervisor.Executor.automatic

    @Option(help: "Which interface /dev/kvm has: today, or 2006, the first that was posted.")
    var abi = Interface.today

    enum Interface: String, ExpressibleByArgument, CaseIterable {
        case today
        case first = "2006"
    }

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments, after --.")
    var command: [String]

    func validate() throws { try hypervisor.validate(executor) }

    func run() throws {
        var words = command[...]
        if words.first == "--" {
            words.removeFirst()
        } else if let first = words.first, first.hasPrefix("-") {
            throw ValidationError("Unknown option '\(first)'")
        }
        guard let name = words.first else { throw ValidationError("no command: give one after --") }
        do throws(ClientProgram.Refusal) {
            let program = try ClientProgram(name)
            let library = try PreloadLibrary.located()
            var wanted = hypervisor
            wanted.executor = executor
            do throws(KVMError) { _ = try executor.choose() } catch { throw ClientProgram.Refusal(error.description) }
            try library.start(program, arguments: Array(words), hypervisor: wanted.choose().hypervisor, abi: abi)
        } catch {
            Diagnostics.error(error.description)
            throw ExitStatus.failed
        }
    }
}

/// libmartlet-kvm.so, which is installed with this command.
struct PreloadLibrary {
    private static let name = "libmartlet-kvm.so"
    let path: String

    /// Beside the command, or in ../lib.
    static func located() throws(ClientProgram.Refusal) -> PreloadLibrary {
        guard let folder = commandFolder() else {
            throw ClientProgram.Refusal("/proc/self/exe can't be read, so \(name) can't be found; is /proc mounted?")
        }
        let places = ["\(folder)/\(name)", "\(folder)/../lib/\(name)"]
        guard let path = places.first(where: { unsafe access($0, R_OK) == 0 }) else {
            throw ClientProgram.Refusal("\(name) is neither in \(folder) nor in ../lib; build it with `make build`")
        }
        // What separates the names in LD_PRELOAD.
        guard !path.contains(where: { $0 == " " || $0 == ":" }) else {
            throw ClientProgram.Refusal("\(path): a path with a space or colon can't be preloaded; move it")
        }
        return PreloadLibrary(path: path)
    }

    private static func commandFolder() -> String? {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = unsafe readlink("/proc/self/exe", &bytes, bytes.count - 1)
        guard count > 0 else { return nil }
        let path = String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.lastIndex(of: "/").map { String(path[..<$0]) }
    }

    /// Becomes the program. Returns only by an error.
    func start(
        _ program: ClientProgram, arguments: [String], hypervisor: Hypervisor, abi: KVMCommand.Interface
    ) throws(ClientProgram.Refusal) {
        let others = unsafe getenv("LD_PRELOAD").map { unsafe String(cString: $0) } ?? ""
        unsafe setenv("LD_PRELOAD", others.isEmpty ? path : "\(path):\(others)", 1)
        unsafe setenv("MARTLET_HYPERVISOR", hypervisor.rawValue, 1)
        unsafe setenv("MARTLET_EXECUTOR", hypervisor.executor.rawValue, 1)
        unsafe setenv("MARTLET_ABI", abi.rawValue, 1)
        var words = unsafe arguments.map { unsafe strdup($0) } + [nil]
        unsafe execv(program.path, &words)
        let reason = unsafe String(cString: strerror(errno))
        for index in unsafe words.indices { unsafe free(words[index]) }
        throw ClientProgram.Refusal("\(program.path): \(reason)")
    }
}
