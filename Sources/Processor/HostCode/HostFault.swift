import Glibc
import GuestMemory
import X86

/// Faults of the host's memory behind the guest's: a client may unmap or truncate what it has shown the guest while a
/// vCPU runs. The access then raises SIGSEGV or SIGBUS here, and the run ends with EFAULT at the instruction.
///
/// The run loop is entered through a few emitted instructions that keep the stack pointer; the signal handler, when the
/// address is the guest's, goes back to them instead of returning. What lies between is abandoned: it owns nothing, an
/// instruction changes no state before its last access that can fault, and the exceptions to that are in `Context.underWay`.
///
/// The same instructions put the thread's control of floating point by, so that guest code runs under the usual one and the
/// caller finds its own again, whatever was under way: MXCSR, the x87 control word, an empty x87 stack, DF clear.
enum HostFault {
    /// What the handler finds of the thread that it interrupts, through a thread-specific key.
    @safe struct Context {
        /// The stack pointer inside `enter`; 0 while no run is under way.
        var stackPointer: UInt = 0
        var faultAddress: UInt = 0
        /// Where translated code goes on after a fault: at an instruction's way out to the interpreter, which meets it again.
        var emitted = FaultTable()
        /// What is to be undone after a fault.
        var underWay = UnderWay()
        /// SAFETY: the address space outlives the processor that owns the context.
        var memory: Unmanaged<AddressSpace>
    }

    /// Calls `body(argument)` so that faults on the regions of `context.memory` end it. A host that allows no code made at run
    /// time runs it unguarded: such a fault then ends the process, as it does that of any client.
    /// - Returns: nil where it has ended by itself; after a fault the host's MXCSR as it was then.
    static func guarding(
        _ context: UnsafeMutablePointer<Context>, _ body: @convention(c) (UInt) -> Void, _ argument: UInt
    ) -> UInt32? {
        let process = Process.shared
        guard let enter = process.enter else {
            body(argument)
            return nil
        }
        // A run may be under way around this.
        let outer = unsafe context.pointee.stackPointer
        unsafe pthread_setspecific(process.key, context)
        let bodyAddress = unsafe unsafeBitCast(body, to: UInt.self)
        let result = HostCode.call(enter, bodyAddress, argument, UInt(bitPattern: context))
        unsafe context.pointee.stackPointer = outer
        if outer == 0 { pthread_setspecific(process.key, nil) }
        return result == 0 ? nil : UInt32(truncatingIfNeeded: result)
    }

    /// What a process needs once: the emitted code, the key, the handlers. Made at first use, never changed.
    @safe final class Process: Sendable {
        static let shared = Process()

        /// The address of the emitted code, where the host allows it, and of the place in it that a fault goes back to.
        let enter: UInt?
        let recovery: UInt
        let key: pthread_key_t
        // What was installed before us.
        let former: InlineArray<2, sigaction>

        /// enter(body: rdi, argument: rsi, context: rdx); 0, or after a fault bit 32 and MXCSR.
        private static let code: (bytes: [UInt8], recovery: Int) = {
            var a = Assembler()
            let (recovery, end) = (a.label(), a.label())
            let saved: [GeneralRegister] = [.rbp, .rbx, .r12, .r13, .r14, .r15]
            for register in saved { a.push(register) }
            a.sub(.rsp, 8)
            a.stmxcsr(.at(.rsp))
            a.fnstcw(.at(.rsp, 4))
            a.restoreMXCSR()
            a.mov(.at(.rsp, -8), 0x37F, .word)
            a.fldcw(.at(.rsp, -8))
            a.mov(.at(.rdx), .rsp)
            a.mov(.rax, .rdi)
            a.mov(.rdi, .rsi)
            a.call(.rax)
            a.xor(.rax, .rax, .long)
            a.jmp(end)
            a.place(recovery)
            a.cld()
            a.stmxcsr(.at(.rsp, -8))
            a.mov(.rax, .at(.rsp, -8), .long)
            a.bts(.rax, 32)
            a.fninit()
            a.place(end)
            a.ldmxcsr(.at(.rsp))
            a.fldcw(.at(.rsp, 4))
            a.add(.rsp, 8)
            for register in saved.reversed() { a.pop(register) }
            a.ret()
            let code = a.finished()
            return (code.bytes, code.offset(of: recovery))
        }()

        private init() {
            enter = HostCode.add(Process.code.bytes)
            recovery = (enter ?? 0) + UInt(Process.code.recovery)
            var key = pthread_key_t()
            unsafe pthread_key_create(&key, nil)
            self.key = key
            var former = InlineArray<2, sigaction>(repeating: sigaction())
            for (index, signal) in [SIGSEGV, SIGBUS].enumerated() {
                var action = sigaction()
                unsafe action.__sigaction_handler.sa_sigaction = { signal, information, context in
                    unsafe HostFault.handle(signal, information, context)
                }
                // Not reset, and deliverable again from the code that the handler goes back to.
                action.sa_flags = SA_SIGINFO | Int32(bitPattern: UInt32(SA_NODEFER)) | SA_ONSTACK
                var old = sigaction()
                unsafe sigaction(signal, &action, &old)
                former[index] = old
            }
            self.former = former
        }
    }

    /// Runs on the thread that faulted: no allocation, no lock.
    private static func handle(
        _ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>?, _ raw: UnsafeMutableRawPointer?
    ) {
        let process = Process.shared
        let isSent = unsafe isSent(signal, information)
        if !isSent, let information = unsafe information, let raw = unsafe raw,
            let context = unsafe pthread_getspecific(process.key)?.assumingMemoryBound(to: Context.self),
            unsafe context.pointee.stackPointer != 0
        {
            let machine = unsafe raw.assumingMemoryBound(to: ucontext_t.self)
            let place = unsafe UInt(UInt64(bitPattern: Int64(machine.pointee.uc_mcontext.gregs.16)))
            // Whatever the address: of an operand that isn't aligned, or not canonical, there is none. A signal that somebody has
            // sent has no positive code.
            if unsafe information.pointee.si_code > 0, let way = unsafe context.pointee.emitted.way(outOf: place) {
                unsafe machine.pointee.uc_mcontext.gregs.16 = greg_t(bitPattern: UInt64(way))
                return
            }
            let address = unsafe UInt(bitPattern: information.pointee._sifields._sigfault.si_addr)
            if unsafe context.pointee.memory._withUnsafeGuaranteedRef({ $0.holds(hostAddress: address) }) {
                unsafe context.pointee.faultAddress = address
                unsafe machine.pointee.uc_mcontext.gregs.16 = greg_t(bitPattern: UInt64(process.recovery))  // RIP
                // RSP
                unsafe machine.pointee.uc_mcontext.gregs.15 = greg_t(bitPattern: UInt64(context.pointee.stackPointer))
                return
            }
        }
        unsafe passOn(signal, isSent, information, raw, process.former[signal == SIGSEGV ? 0 : 1])
    }

    /// No access of this thread's: sent by a process or a timer, whose data lie where `si_addr` would, or news of bad memory
    /// that nobody has touched yet. See sigaction(2).
    private static func isSent(_ signal: Int32, _ information: UnsafeMutablePointer<siginfo_t>?) -> Bool {
        guard let code = unsafe information?.pointee.si_code else { return true }
        return code <= 0 || signal == SIGBUS && code == BUS_MCEERR_AO
    }

    /// Not ours: what was installed before us has it.
    private static func passOn(
        _ signal: Int32, _ isSent: Bool, _ information: UnsafeMutablePointer<siginfo_t>?,
        _ raw: UnsafeMutableRawPointer?, _ former: sigaction
    ) {
        let handler = unsafe unsafeBitCast(former.__sigaction_handler.sa_handler, to: Int.self)
        if handler == 1, isSent { return }
        if handler == 0 || handler == 1 {
            // The default, which a fault that is to be ignored has too: the access is made again and ends the process.
            var action = former
            unsafe action.__sigaction_handler.sa_handler = nil
            unsafe sigaction(signal, &action, nil)
            if isSent { raise(signal) }
        } else if former.sa_flags & SA_SIGINFO != 0 {
            unsafe former.__sigaction_handler.sa_sigaction(signal, information, raw)
        } else {
            unsafe former.__sigaction_handler.sa_handler(signal)
        }
    }
}
