public import GuestMemory
internal import Glibc
internal import Synchronization
internal import X86

/// One x86 processor: its state, its translations and decoded code, and the loop that executes them.
///
/// Used by one thread at a time (the one in `run`, or one that the owner serialises with it), except for `request`,
/// which any thread may call at any time.
@safe public final class VirtualProcessor {
    // SAFETY: allocated in init, zero-filled where plain, freed in deinit; `cpu` points at it all the time between.
    private let storage: UnsafeMutableRawPointer
    let cpu: CPU
    let memory: AddressSpace
    // SAFETY: the host owns this object and ends no sooner than a run.
    private unowned(unsafe) let owner: any ProcessorHost
    /// Its code may use floating point: the guest's exception flags are taken out of the host's register first.
    var host: any ProcessorHost {
        cpu.settleMXCSR()
        return unsafe owner
    }
    let blocks: BlockCache
    let tlb: TLB
    let singleOps = SingleOps()
    /// Why the host has no memory for the executor that was asked for: the C library's error number.
    public let executorFailure: Int32?
    /// Where emitted code can run and is wanted.
    let translator: Translator?
    /// What executes guest code, `automatic` no more, and its measures.
    public let executor: ExecutorOptions
    /// Decoded blocks and translations are to go at the next boundary.
    var emptiesCaches = false
    /// Bits of an 8-byte paging entry above the guest's physical address width.
    var reservedAddressBits: UInt64 = 0
    /// The guest's CPUID shows pages of 1 GiB.
    var hasGigabytePages = false

    /// What the client must act on, valid after `run` returned it and while `Stop.exitBefore`/`.exitAfter` is under way.
    var exit: ProcessorExit {
        unsafeAddress { unsafe UnsafePointer(exitPlace) }
        unsafeMutableAddress { unsafe exitPlace }
    }

    /// What userspace has a part in, between runs and while the instruction is executed again.
    var unfinished: UnfinishedAccess {
        unsafeAddress { unsafe UnsafePointer(unfinishedPlace) }
        unsafeMutableAddress { unsafe unfinishedPlace }
    }

    // Both by address, since the checks that each access to a class's property brings showed in the cost of an exit.
    // SAFETY: allocated and initialised in init, freed in deinit; one thread at a time.
    private let exitPlace: UnsafeMutablePointer<ProcessorExit>
    private let unfinishedPlace: UnsafeMutablePointer<UnfinishedAccess>

    /// What is to be undone where the host's memory fails.
    var underWay: UnderWay {
        unsafeAddress { unsafe UnsafePointer(underWayPlace) }
        unsafeMutableAddress { unsafe underWayPlace }
    }

    // SAFETY: as `exitPlace`; the other is the field of that name in it.
    let faultContext: UnsafeMutablePointer<HostFault.Context>
    private let underWayPlace: UnsafeMutablePointer<UnderWay>
    /// Guest debugging and single-step, as KVM_SET_GUEST_DEBUG set them; call `stateChanged` after.
    public var debugging = GuestDebugging()

    /// Instructions that reach one of the host's devices or MSRs are executed by themselves, so that a request which the host
    /// makes meanwhile is seen right after them.
    public var isolatesHostAccesses = false

    /// Instructions that the client executes itself.
    public var intercepts: Intercepts = []

    /// Breakpoints or guest debugging are on: instructions go one by one. Derived by `CPU.updateMode`.
    var isStepping: Bool {
        get { cpu.state.isStepping }
        set { cpu.state.isStepping = newValue }
    }
    /// The guest's CPUID names AMD or Hygon.
    var isAMD: Bool {
        get { cpu.state.isAMD }
        set { cpu.state.isAMD = newValue }
    }
    /// The reading of `AddressSpace.codePages` at which decoded code was last known to be true to memory.
    var settledCodePages = CodePageCount.Reading.none
    /// The version of the regions that `blocks` were decoded from.
    private var memoryVersion: UInt64 = 0
    /// CS's limit that the present lookups were checked against.
    var codeLimit: UInt32 {
        get { cpu.state.codeLimit }
        set { cpu.state.codeLimit = newValue }
    }
    /// The privilege level that the `.watched` table was filled at.
    var watchedPrivilege: UInt8 = 0
    /// Requests that wait for IF, or for the end of an NMI's handler.
    var heldRequests: ExitRequest {
        get { cpu.state.heldRequests }
        set { cpu.state.heldRequests = newValue }
    }
    /// Breakpoints that the running instruction's accesses hit: bits of DR6.
    var breakpointHits: UInt64 = 0
    /// Those that MOV SS or POP SS has hit, which it holds back over the next instruction.
    var heldTraps: UInt64 = 0
    /// What the guest's CPUID takes away, as bits of `CodeMode`.
    var withheld: UInt32 {
        get { cpu.state.withheld }
        set { cpu.state.withheld = newValue }
    }
    /// Whether a single-step trap follows the running instruction, where that isn't TF's as it was before: INT n has used it up,
    /// SYSCALL and SYSRET go by TF as they leave it.
    var trapFollows: Bool?
    /// A debug exit for the client at the next boundary.
    var debugExit: ProcessorExit?
    /// An event needed memory that only userspace can answer for.
    var stuck = false

    /// Makes the tables and the host code that all processors share.
    public static func prepare() {
        HostCode.own()
        Decoder.prepare()
        Lowering.prepare()
        _ = HostFault.Process.shared
        _ = HostProcessor.offered
        _ = HostInstruction.settlingMXCSR
    }

    /// Where the translator can't run, or the host has no memory for it, `executor` shows the interpreter.
    public init(memory: AddressSpace, host: any ProcessorHost, executor: ExecutorOptions = ExecutorOptions()) {
        HostCode.own()
        let wanted = (try? executor.resolved().options) ?? ExecutorOptions(.interpreter)
        do throws(CodeCache.Failure) {
            translator = wanted.executor == .translator ? try Translator(wanted) : nil
            self.executor = wanted
            executorFailure = nil
        } catch {
            translator = nil
            self.executor = ExecutorOptions(.interpreter)
            executorFailure = error.number
        }
        self.memory = memory
        unsafe owner = host
        // Zeros, of which emitted code's part takes no memory until it is used.
        unsafe storage = mmap(
            nil, CPU.byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        cpu = unsafe CPU(UInt(bitPattern: storage))
        unsafe cpu.requests.initialize(to: Atomic(0))
        blocks = BlockCache()
        unsafe exitPlace = .allocate(capacity: 1)
        unsafe exitPlace.initialize(to: .requested)
        unsafe unfinishedPlace = .allocate(capacity: 1)
        unsafe unfinishedPlace.initialize(to: UnfinishedAccess())
        unsafe faultContext = .allocate(capacity: 1)
        unsafe faultContext.initialize(to: HostFault.Context(memory: Unmanaged.passUnretained(memory)))
        unsafe underWayPlace = UnsafeMutableRawPointer(faultContext)
            .advanced(by: MemoryLayout<HostFault.Context>.offset(of: \.underWay) ?? 0)
            .assumingMemoryBound(to: UnderWay.self)
        tlb = TLB()
        let segments = InlineArray<8, SegmentRegister>(repeating: SegmentRegister())
        unsafe cpu.pointer.initialize(
            to: CPUState(
                tlb: tlb.entries(.supervisor), lookups: blocks.lookups, currentOp: UInt(bitPattern: blocks.idleOp),
                processor: self, segments: segments))
        reset()
    }

    deinit {
        unsafe exitPlace.deinitialize(count: 1)
        unsafe exitPlace.deallocate()
        unsafe unfinishedPlace.deinitialize(count: 1)
        unsafe unfinishedPlace.deallocate()
        unsafe faultContext.deinitialize(count: 1)
        unsafe faultContext.deallocate()
        unsafe munmap(storage, CPU.byteCount)
    }

    /// The architectural state; to be touched only while no run is under way. After writing, call `stateChanged`.
    public var state: CPUState {
        unsafeAddress { unsafe UnsafePointer(cpu.pointer) }
        unsafeMutableAddress { unsafe cpu.pointer }
    }

    /// RIP of the instruction whose access the host answers.
    public var instructionPointer: UInt64 { underWay.isExecuting ? cpu.instructionRIP : cpu.state.rip }

    /// RFLAGS whole (status flags are kept lazily inside `state`).
    public var rflags: UInt64 {
        get { cpu.rflags }
        set { cpu.rflags = newValue }
    }

    /// Derived state (privilege view, code mode, translations) follows what the owner wrote to `state`.
    public func stateChanged() {
        cpuidChanged()
        reloadPDPTEs()
        cpu.updateMode()
        flushTranslations()
    }

    /// The guest's CPUID was set: its physical address width, its page sizes and its vendor are kept at hand.
    public func cpuidChanged() {
        let width = host.cpuid(leaf: 0x8000_0008, subleaf: 0).eax & 0xFF
        hasGigabytePages = host.cpuid(leaf: 0x8000_0001, subleaf: 0).edx & 1 << 26 != 0
        isAMD = HostProcessor.namesAMD(host.cpuid(leaf: 0, subleaf: 0).ebx)
        withheld = CodeMode.withholding { feature in
            let answer = host.cpuid(leaf: feature.leaf, subleaf: feature.subleaf)
            let registers = CPUIDResult(eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx)
            return registers[feature.register] >> UInt32(feature.bit) & 1 == 0
        }
        reservedAddressBits = PageTableEntry.reservedAddressBits(physicalAddressBits: width == 0 ? 36 : UInt8(width))
    }

    /// Drops what was cached of page tables and regions; from the vCPU's own thread or while it does not run.
    public func flushTranslations() {
        tlb.flushAll(cpu)
        cpu.dropLookups()
        cpu.state.codeGeneration &+= 1
        // Decoded blocks know the records of the region that they lie in.
        guard memoryVersion != memory.version else { return }
        memoryVersion = memory.version
        forgetCode()
    }

    // MARK: Requests from other threads

    /// Makes the run loop look at `what` at the next block boundary. Any thread, any time; async-signal-safe.
    public func request(_ what: ExitRequest) {
        _ = unsafe cpu.requests.pointee.bitwiseOr(what.rawValue, ordering: .sequentiallyConsistent)
    }

    /// Takes requests back; true where one of them was set.
    @discardableResult
    public func withdraw(_ what: ExitRequest) -> Bool {
        // A request that is on its way as this looks comes after it.
        guard unsafe cpu.requests.pointee.load(ordering: .relaxed) & what.rawValue != 0 else { return false }
        return unsafe cpu.requests.pointee.bitwiseAnd(~what.rawValue, ordering: .sequentiallyConsistent).oldValue
            & what.rawValue != 0
    }

    /// Whether a request is still to be served. Any thread, any time.
    public func isRequested(_ what: ExitRequest) -> Bool {
        unsafe cpu.requests.pointee.load(ordering: .sequentiallyConsistent) & what.rawValue != 0
    }

    var pendingRequests: ExitRequest { unsafe ExitRequest(rawValue: cpu.requests.pointee.load(ordering: .acquiring)) }

    // MARK: Completion of exits

    /// What the last run's exit asks for, and asks for no more once this was called.
    public func takeAwaitedAnswer() -> AwaitedAnswer { unfinished.takeAwaited() }

    /// Data for the port or MMIO read that the last run ended with, before the next run.
    public func completeRead(_ bytes: UnsafeRawBufferPointer) { unsafe unfinished.complete(reading: bytes) }

    /// The client's answer to an MSR exit: the value read, or an error (#GP).
    public func completeMSR(value: UInt64, error: Bool) { unfinished.complete(.msr(value: value, error: error)) }

    /// The client's answer to a hypercall exit, for RAX.
    public func completeHypercall(result: UInt64) { unfinished.complete(.hypercall(result: result)) }

    /// Takes back what the last exit asked for: the instruction begins again.
    public func abandonInstruction() { unfinished.abandon() }

    /// The bytes of the port or MMIO write that the last run ended with.
    public func withExitData<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        unsafe unfinished.outgoing.withUnsafeBytes(body)
    }
}
