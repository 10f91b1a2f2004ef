import Glibc
import X86

/// The native process: runs cases on the host's CPU at user level and writes down how they ended.
///
/// It lives in its signal handler. Whatever ends a case is a signal; the handler saves what the kernel has put into the
/// signal frame, puts the next case there, and returns into it. System calls from a case are turned into SIGSYS by the
/// kernel (Documentation/admin-guide/syscall-user-dispatch.rst); an interval timer ends those that don't end by themselves.
public enum NativeServer {
    /// The descriptors that the parent leaves: the region, requests, replies.
    static let regionDescriptor: Int32 = 3, requests: Int32 = 4, replies: Int32 = 5

    /// What the parent asks for.
    struct Request: BitwiseCopyable {
        var batch: UInt32 = 0
        var first: UInt32 = 0
        var count: UInt32 = 0
    }

    /// Exit statuses by which the parent learns that this host can't.
    static let noRegion: Int32 = 10, noWindows: Int32 = 11, noFSGSBASE: Int32 = 12, noDispatch: Int32 = 13

    /// What the kernel's way back from a signal takes as it finds it, not from the signal frame.
    private struct Beside {
        var fs: UInt64 = 0
        var gs: UInt64 = 0
        var ds: UInt64 = 0x2B
        var es: UInt64 = 0x2B
        /// ID and NT.
        var flags: UInt64 = 0

        static let flags = RFLAGS.ID.rawValue | RFLAGS.NT.rawValue
    }

    // SAFETY: written before the first case is run, and in the handler; there is one thread.
    private nonisolated(unsafe) static var place: UnsafeMutablePointer<Place>! = nil

    @safe private struct Place {
        // Read and written by the entry code.
        var interrupted = Beside()
        var next = Beside()
        var hostFS: UInt64 = 0

        var region: Unmanaged<OracleRegion>
        var running = false
        var batch = 0
        var number = 0
        var end = 0
        /// Ticks that the running case has seen.
        var ticks = 0
        /// The code window's part that is to be filled up again.
        var codeStart = 0
        var codeEnd = 0
        /// Where the main program was interrupted.
        var mainRegisters = InlineArray<23, UInt64>(repeating: 0)
        var mainVectors: UnsafeMutableRawPointer
    }

    /// Serves the parent until it closes the requests.
    public static func serve() -> Never {
        guard let region = OracleRegion(descriptor: regionDescriptor) else { exit(noRegion) }
        guard hasFSGSBASE else { exit(noFSGSBASE) }
        guard mapWindows() else { exit(noWindows) }
        _ = offersLDT
        unsafe place = .allocate(capacity: 1)
        unsafe place.initialize(
            to: Place(region: .passRetained(region), mainVectors: .allocate(byteCount: vectorsLimit, alignment: 64)))
        installHandlers()
        // The parent may have had some blocked.
        var none = sigset_t()
        _ = unsafe sigemptyset(&none)
        _ = unsafe sigprocmask(SIG_SETMASK, &none, nil)
        guard dispatchSystemCalls() else { exit(noDispatch) }
        // In the process's own time, ITIMER_PROF: on a busy machine a case waits for others.
        var timer = itimerval()
        timer.it_interval.tv_usec = 20_000
        timer.it_value.tv_usec = 20_000
        _ = unsafe setitimer(__itimer_which_t(2), &timer, nil)

        var request = Request()
        while receive(&request) {
            unsafe place.pointee.batch = Int(request.batch)
            unsafe place.pointee.number = Int(request.first)
            unsafe place.pointee.end = Int(request.first + request.count)
            raise(SIGUSR1)
            var reply: UInt8 = 1
            while unsafe write(replies, &reply, 1) < 0, errno == EINTR {}
        }
        exit(0)
    }

    /// Linux, arch/x86/include/uapi/asm/hwcap2.h.
    private static var hasFSGSBASE: Bool {
        guard let function = unsafe dlsym(nil, "getauxval") else { return false }
        typealias Function = @convention(c) (UInt) -> UInt
        return unsafe unsafeBitCast(function, to: Function.self)(26) & 2 != 0
    }

    /// Linux's modify_ldt, which the C library has without declaring it: what to do, what it is about, how many bytes.
    private typealias ModifyLDT = @convention(c) (Int32, UnsafeMutableRawPointer, UInt) -> Int32
    private static var modifyLDT: ModifyLDT? {
        unsafe dlsym(nil, "modify_ldt").map { unsafe unsafeBitCast($0, to: ModifyLDT.self) }
    }

    /// Whether this process has the segments of 16-bit code: a system can be built without such, or forbid them.
    static let offersLDT: Bool = {
        guard let modifyLDT = unsafe modifyLDT else { return false }
        return OracleSegment.allCases.allSatisfy { segment in
            var descriptor = segment.userDescriptor
            return unsafe modifyLDT(0x11, &descriptor, UInt(MemoryLayout.size(ofValue: descriptor))) == 0
        }
    }()

    private static func receive(_ request: inout Request) -> Bool {
        var done = 0
        return unsafe withUnsafeMutableBytes(of: &request) { bytes in
            while done < bytes.count {
                let count = unsafe read(requests, bytes.baseAddress! + done, bytes.count - done)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                done += count
            }
            return true
        }
    }

    /// Maps the windows with all of their pages, so that what is not allowed there is a fault of a page that is present.
    private static func mapWindows() -> Bool {
        func map(_ address: UInt64, _ size: Int, _ protection: Int32, _ offset: Int) -> Bool {
            let flags = MAP_SHARED | 0x10_8000  // MAP_FIXED_NOREPLACE, MAP_POPULATE
            let wanted = unsafe UnsafeMutableRawPointer(bitPattern: UInt(address))
            guard let wanted = unsafe wanted,
                unsafe mmap(wanted, size, protection, flags, regionDescriptor, off_t(offset)) == wanted
            else { return false }
            return true
        }
        return map(OracleWindows.code, OracleWindows.codeSize, PROT_READ | PROT_EXEC, OracleRegion.codeOffset)
            && map(OracleWindows.data, OracleWindows.dataSize, PROT_READ | PROT_WRITE, OracleRegion.dataOffset)
            && map(
                OracleWindows.readOnly, OracleWindows.readOnlySize, PROT_READ,
                OracleRegion.dataOffset + OracleWindows.dataSize)
            && map(OracleWindows.stack, OracleWindows.stackSize, PROT_READ | PROT_WRITE, OracleRegion.stackOffset)
    }

    // MARK: Signals

    private static let signals = [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGPROF, SIGUSR1]
    private static let vectorsLimit = 16384

    private static func installHandlers() {
        let size = 256 << 10
        var stack = unsafe stack_t(
            ss_sp: mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ss_flags: 0,
            ss_size: size)
        _ = unsafe sigaltstack(&stack, nil)
        let entry = unsafe entryCode()
        for signal in signals {
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_handler = unsafeBitCast(entry, to: __sighandler_t.self)
            action.sa_flags = SA_SIGINFO | Int32(SA_ONSTACK)
            unsafe sigfillset(&action.sa_mask)
            _ = unsafe sigaction(signal, &action, nil)
        }
    }

    /// Gives the handler the host's FS base, as the language's runtime lives by it, and keeps what the signal frame does not
    /// have. Behind the handler that is the next case's.
    private static func entryCode() -> UnsafeMutableRawPointer {
        let handler: @convention(c) (Int32, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Void = {
            signal, _, context in
            unsafe NativeServer.handle(signal, context!)
        }
        // R11 is the place's address: nothing of the interrupted code is in a register that it still needs.
        func field(_ path: PartialKeyPath<Place>) -> Assembler.Memory {
            .at(.r11, MemoryLayout<Place>.offset(of: path)!)
        }
        let fields = unsafe UInt(bitPattern: place)
        var a = Assembler()
        a.pushf()
        a.and(.at(.rsp), Int(~(RFLAGS.ID.rawValue | RFLAGS.AC.rawValue | RFLAGS.NT.rawValue) & 0xFFFF_FFFF), .long)
        a.popf()
        a.mov(.r11, fields)
        a.rdfsbase(.rax)
        a.mov(field(\.interrupted.fs), .rax)
        a.rdgsbase(.rax)
        a.mov(field(\.interrupted.gs), .rax)
        a.mov(.rax, .ds)
        a.mov(field(\.interrupted.ds), .rax)
        a.mov(.rax, .es)
        a.mov(field(\.interrupted.es), .rax)
        a.mov(.rax, field(\.hostFS))
        a.wrfsbase(.rax)
        a.sub(.rsp, 8)
        a.mov(.rax, unsafe UInt(bitPattern: unsafeBitCast(handler, to: UnsafeRawPointer.self)))
        a.call(.rax)
        a.add(.rsp, 8)
        a.mov(.r11, fields)
        a.mov(.rax, field(\.next.ds))
        a.mov(.ds, .rax)
        a.mov(.rax, field(\.next.es))
        a.mov(.es, .rax)
        a.mov(.rax, field(\.next.fs))
        a.wrfsbase(.rax)
        a.mov(.rax, field(\.next.gs))
        a.wrgsbase(.rax)
        a.push(field(\.next.flags))
        a.popf()
        a.ret()
        let setUp = a.here()
        a.rdfsbase(.rax)
        a.ret()
        let code = a.finished()
        let page = unsafe mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        unsafe code.bytes.withUnsafeBytes { unsafe page.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        _ = unsafe mprotect(page, 4096, PROT_READ | PROT_EXEC)
        typealias SetUp = @convention(c) () -> UInt64
        unsafe place.pointee.hostFS = unsafeBitCast(page + code.offset(of: setUp), to: SetUp.self)()
        return unsafe page
    }

    /// From now on only the C library makes system calls: those of any other code are SIGSYS.
    private static func dispatchSystemCalls() -> Bool {
        guard let (start, end) = libraryText(),
            let function = unsafe dlsym(nil, "prctl")
        else { return false }
        // SAFETY: prctl's further arguments are words; the selector lives as long as the process.
        typealias Prctl = @convention(c) (Int32, UInt, UInt, UInt, UnsafeMutablePointer<UInt8>) -> Int32
        let selector = UnsafeMutablePointer<UInt8>.allocate(capacity: 1)
        unsafe selector.initialize(to: 1)  // SYSCALL_DISPATCH_FILTER_BLOCK
        return unsafe unsafeBitCast(function, to: Prctl.self)(59, 1, start, end - start, selector) == 0
    }

    /// Where the C library's code is.
    private static func libraryText() -> (UInt, UInt)? {
        guard let file = unsafe fopen("/proc/self/maps", "r") else { return nil }
        defer { unsafe fclose(file) }
        var line = [CChar](repeating: 0, count: 1024)
        while unsafe fgets(&line, 1024, file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard text.contains("/libc.so"), text.contains("r-xp") else { continue }
            let bounds = text.prefix { $0 != " " }.split(separator: "-").compactMap { UInt($0, radix: 16) }
            if bounds.count == 2 { return (bounds[0], bounds[1]) }
        }
        return nil
    }

    // MARK: The handler

    /// The signal frame's registers by `ucontext_t`, in the order of `OracleState`. Linux, asm/sigcontext.h.
    private enum Frame {
        static let registers = 40
        static let vectors = 224
        static let rip = 16, flags = 17, selectors = 18, error = 19, trap = 20, cr2 = 22
        /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8…R15.
        static let order: InlineArray<16, Int> = [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7]
        /// The kernel's own words in the XSAVE image: from here to the header.
        static let reserved = 464
    }

    private static func handle(_ signal: Int32, _ context: UnsafeMutableRawPointer) {
        let registers = unsafe (context + Frame.registers).assumingMemoryBound(to: UInt64.self)
        let vectors = unsafe context.load(fromByteOffset: Frame.vectors, as: UnsafeMutableRawPointer.self)
        let place = unsafe place!
        if unsafe !place.pointee.running {
            guard signal == SIGUSR1 else {
                if signal == SIGPROF { unsafe keep(registers, place) } else { _exit(100 + signal) }
                return
            }
            for index in 0..<23 { unsafe place.pointee.mainRegisters[index] = registers[index] }
            let size = unsafe vectors.load(fromByteOffset: Frame.reserved + 4, as: UInt32.self)
            unsafe place.pointee.mainVectors.copyMemory(from: vectors, byteCount: min(Int(size), vectorsLimit))
            unsafe place.pointee.running = true
        } else {
            if signal == SIGPROF {
                unsafe place.pointee.ticks += 1
                if unsafe place.pointee.ticks < 3 {
                    unsafe keep(registers, place)
                    return
                }
            }
            unsafe save(signal, registers, vectors, place)
            unsafe place.pointee.number += 1
        }
        if unsafe place.pointee.number < place.pointee.end {
            unsafe load(registers, vectors, place)
        } else {
            for index in 0..<18 { unsafe registers[index] = place.pointee.mainRegisters[index] }
            unsafe registers[Frame.selectors] = place.pointee.mainRegisters[Frame.selectors]
            let size = unsafe vectors.load(fromByteOffset: Frame.reserved + 4, as: UInt32.self)
            unsafe vectors.copyMemory(from: place.pointee.mainVectors, byteCount: min(Int(size), vectorsLimit))
            unsafe place.pointee.running = false
            unsafe place.pointee.next = Beside(fs: place.pointee.hostFS)
        }
    }

    /// Goes on where the signal came.
    private static func keep(_ registers: UnsafeMutablePointer<UInt64>, _ place: UnsafeMutablePointer<Place>) {
        unsafe place.pointee.next = place.pointee.interrupted
        unsafe place.pointee.next.flags = registers[Frame.flags] & Beside.flags
    }

    private static func save(
        _ signal: Int32, _ registers: UnsafeMutablePointer<UInt64>, _ vectors: UnsafeMutableRawPointer,
        _ place: UnsafeMutablePointer<Place>
    ) {
        let (batch, number) = unsafe (place.pointee.batch, place.pointee.number)
        unsafe place.pointee.region._withUnsafeGuaranteedRef { region in
            let end = unsafe region.end(batch, number)
            for index in 0..<16 { unsafe end.pointee.state.registers[index] = registers[Frame.order[index]] }
            let mode = unsafe region.slot(batch, number).load(fromByteOffset: OracleRegion.Slot.mode, as: UInt32.self)
            if mode == OracleCase.Mode.bits16.rawValue {
                // Linux's way back to a 16-bit stack leaves an address of its own in what such code can't see of RSP.
                unsafe end.pointee.state.registers[4] &= 0xFFFF_FFFF
            }
            unsafe end.pointee.state.rip = registers[Frame.rip]
            unsafe end.pointee.state.rflags = registers[Frame.flags]
            unsafe end.pointee.state.fsBase = place.pointee.interrupted.fs
            unsafe end.pointee.state.gsBase = place.pointee.interrupted.gs
            unsafe memcpy(
                UnsafeMutableRawPointer(end) + OracleState.Offset.xsave, vectors,
                MemoryLayout<InlineArray<104, UInt64>>.size)
            unsafe end.pointee.vector =
                signal == SIGSYS
                ? OracleEnd.systemCall
                : signal == SIGPROF
                    ? OracleEnd.runaway
                    : UInt32(truncatingIfNeeded: registers[Frame.trap])
            unsafe end.pointee.errorCode = UInt32(truncatingIfNeeded: registers[Frame.error])
            unsafe end.pointee.faultAddress = registers[Frame.cr2]
            let image = unsafe region.image(batch, number)
            unsafe memcpy(image, region.base + OracleRegion.dataOffset, OracleWindows.dataSize)
            unsafe memcpy(
                image + OracleWindows.dataSize, region.base + OracleRegion.stackOffset, OracleWindows.stackSize)
        }
    }

    private static func load(
        _ registers: UnsafeMutablePointer<UInt64>, _ vectors: UnsafeMutableRawPointer,
        _ place: UnsafeMutablePointer<Place>
    ) {
        unsafe place.pointee.ticks = 0
        let (batch, number) = unsafe (place.pointee.batch, place.pointee.number)
        unsafe place.pointee.region._withUnsafeGuaranteedRef { region in
            // Where the parent looks if this case is the process's last.
            unsafe region.base.storeBytes(of: UInt64(number), as: UInt64.self)
            let slot = unsafe region.slot(batch, number)
            let state = unsafe slot.assumingMemoryBound(to: OracleState.self)
            for index in 0..<16 { unsafe registers[Frame.order[index]] = state.pointee.registers[index] }
            unsafe registers[Frame.rip] = state.pointee.rip
            unsafe registers[Frame.flags] = state.pointee.rflags
            let mode = unsafe slot.load(fromByteOffset: OracleRegion.Slot.mode, as: UInt32.self)
            let selectors = OracleSelectors(OracleCase.Mode(rawValue: mode) ?? .bits64)
            if mode == OracleCase.Mode.bits16.rawValue {
                // IRET to a 16-bit stack loads SP alone. Linux makes up for it; the guest's monitor leaves its own stack's.
                let above = (GuestMonitor.base + GuestMonitor.Physical.frame) & 0xFFFF_0000
                unsafe registers[Frame.order[4]] = state.pointee.registers[4] & 0xFFFF | above
            }
            unsafe registers[Frame.selectors] = UInt64(selectors.cs) | UInt64(selectors.ss) << 48
            unsafe place.pointee.next = Beside(
                fs: state.pointee.fsBase, gs: state.pointee.gsBase, ds: UInt64(selectors.ds), es: UInt64(selectors.es),
                flags: state.pointee.rflags & Beside.flags)
            let image = unsafe UnsafeRawPointer(slot + OracleState.Offset.xsave)
            unsafe memcpy(vectors, image, Frame.reserved)
            unsafe memcpy(vectors + 512, image + 512, 832 - 512)

            let background = unsafe region.background(
                slot.load(fromByteOffset: OracleRegion.Slot.background, as: UInt32.self))
            unsafe memcpy(region.base + OracleRegion.dataOffset, background, OracleWindows.dataSize)
            unsafe memcpy(
                region.base + OracleRegion.stackOffset, background + OracleWindows.dataSize, OracleWindows.stackSize)

            let code = unsafe region.base + OracleRegion.codeOffset
            let (start, end) = unsafe (place.pointee.codeStart, place.pointee.codeEnd)
            unsafe memset(code + start, Int32(OracleWindows.filler), end - start)
            let offset = min(
                Int(unsafe slot.load(fromByteOffset: OracleRegion.Slot.codeOffset, as: UInt32.self)),
                OracleWindows.codeSize)
            let size = min(
                Int(unsafe slot.load(fromByteOffset: OracleRegion.Slot.codeSize, as: UInt32.self)),
                OracleWindows.codeSize - offset)
            unsafe memcpy(code + offset, slot + OracleRegion.Slot.code, size)
            unsafe place.pointee.codeStart = offset
            unsafe place.pointee.codeEnd = offset + size
        }
    }
}
