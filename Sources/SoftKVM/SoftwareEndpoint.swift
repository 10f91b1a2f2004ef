// KVM answered in software: what /dev/kvm does, over our own processor and chipset.
// Documentation/virt/kvm/api.rst; errnos and the order of checks are the kernel's.

internal import Glibc
public import KVMABI
internal import Locking
public import Processor

/// A hypervisor of our own behind the raw interface. Handles are numbers of this instance; nothing is shared between
/// instances. A virtual machine is freed when its handles, its vCPUs' handles and their mappings have gone.
public final class SoftwareEndpoint: InterceptingEndpoint {
    private let handles = HandleTable()
    /// What clients have mapped of vCPUs, by address: whose, and how many bytes.
    private let mappings = Lock<[UInt: (owner: VirtualCPUHandle, length: Int)]>([:])

    private let executor: ExecutorOptions

    /// - Parameter executor: what executes the guest code of its machines; resolved here.
    /// - Throws: `ExecutorUnavailable` where it was asked for by name and can't run on this host.
    public init(executor: ExecutorOptions) throws(ExecutorUnavailable) {
        self.executor = try executor.resolved().options
    }

    /// With the executor that suits this host.
    public init() { executor = ExecutorOptions() }

    /// Makes what all instances of this process share and takes long to make, which is otherwise done at first use.
    public static func prepare() {
        VirtualProcessor.prepare()
        _ = SupportedCPUID.shared
        _ = HostTSC.kilohertz
        _ = HostClock.now
    }

    public func open() throws(Errno) -> Handle {
        try handles.insert(.system(SystemHandle(executor)))
    }

    public func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        try ioctl(handle, request, argument, window: nil)
    }

    /// The same, for a client that has its signals in its own hands: `window.interrupt()` ends a `KVM_RUN`.
    public func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt, window: RunWindow?) throws(Errno) -> Int32
    {
        switch try handles.target(handle) {
        case .vcpu(let vcpu):
            if request == .run {
                guard argument == 0 else { throw .invalidArgument }
                return try vcpu.vcpu.run(window)
            }
            return try vcpu.vcpu.ioctl(request, ClientArgument(argument))
        case .machine(let machine):
            if request == .createVCPU {
                let vcpu = try machine.createVirtualCPU(argument)
                return try insert(.vcpu(VirtualCPUHandle(machine: machine, vcpu: vcpu)))
            }
            return try machine.ioctl(request, ClientArgument(argument))
        case .system(let system):
            if request == .createVM {
                return try insert(.machine(try system.createVirtualMachine(type: argument)))
            }
            return try system.ioctl(request, ClientArgument(argument))
        }
    }

    private func insert(_ target: HandleTarget) throws(Errno) -> Int32 { try handles.insert(target).rawValue }

    public func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer {
        guard case .vcpu(let vcpu) = try handles.target(handle) else { throw .noSuchDevice }
        let pieces = try vcpu.pieces(length: length, offset: offset, isShared: true)
        let address = unsafe try pieces.map()
        let mapped = pieces.reduce(0) { $0 + $1.length }
        mappings.withLock { $0[UInt(bitPattern: address)] = (vcpu, mapped) }
        return unsafe address
    }

    /// What a mapping would show, for a client that maps by itself. Such a mapping keeps nothing alive but its pages.
    /// - Throws: as `map` does; EINVAL where the mapping is not shared and begins or ends in a dirty ring.
    public func pieces(_ handle: Handle, length: Int, offset: Int, isShared: Bool) throws(Errno) -> [MappingPiece] {
        guard case .vcpu(let vcpu) = try handles.target(handle) else { throw .noSuchDevice }
        return try vcpu.pieces(length: length, offset: offset, isShared: isShared)
    }

    public func unmap(_ address: UnsafeMutableRawPointer, length: Int) {
        let mapping = mappings.withLock { $0.removeValue(forKey: UInt(bitPattern: address)) }
        guard let mapping, length > 0 else { return }
        unsafe munmap(address, min(length, mapping.length))
    }

    public func intercept(_ instructions: InstructionIntercepts, on vcpu: Handle) throws(Errno) {
        guard case .vcpu(let vcpu) = try handles.target(vcpu) else { throw .invalidArgument }
        vcpu.vcpu.intercept(instructions)
    }

    public func abandonInstruction(of vcpu: Handle) throws(Errno) {
        guard case .vcpu(let vcpu) = try handles.target(vcpu) else { throw .invalidArgument }
        vcpu.vcpu.abandonInstruction()
    }

    public func close(_ handle: Handle) {
        _ = handles.remove(handle)
    }

    public func kick(_ vcpu: Handle) {
        guard case .vcpu(let vcpu)? = try? handles.target(vcpu) else { return }
        vcpu.vcpu.doorbell.kick()
    }
}

/// What a vCPU's handle keeps alive: the vCPU belongs to its machine, which it keeps alive with it.
final class VirtualCPUHandle: Sendable {
    let machine: VirtualMachine
    let vcpu: VirtualCPU

    init(machine: VirtualMachine, vcpu: VirtualCPU) {
        self.machine = machine
        self.vcpu = vcpu
    }

    /// What a mapping of the handle shows: its two pages, behind them the VM's ring of coalesced writes, from page 64 on its
    /// dirty ring, and elsewhere nothing, where an access is SIGBUS.
    /// - Throws: EINVAL for no length, a misaligned offset, or a dirty ring that the client would have to itself; EOVERFLOW for
    ///   what no file has.
    func pieces(length: Int, offset: Int, isShared: Bool) throws(Errno) -> [MappingPiece] {
        guard length > 0, offset & 4095 == 0 else { throw .invalidArgument }
        guard offset >= 0, !offset.addingReportingOverflow(length).overflow else { throw .valueTooLarge }
        let first = offset / 4096
        let last = first + (length - 1) / 4096
        let ring = DirtyRing.firstPage..<DirtyRing.firstPage + (vcpu.dirtyRing?.size ?? 0) / 4096
        guard isShared || !ring.contains(first) && !ring.contains(last) else { throw .invalidArgument }
        let area = 0..<RunAreas.ringPage, coalesced = RunAreas.ringPage..<RunAreas.ringPage + 1
        var pieces: [MappingPiece] = []
        var page = first
        while page <= last {
            func part(of range: Range<Int>) -> Range<Int> { page..<min(range.upperBound, last + 1) }
            let shown: Range<Int>
            if area.contains(page) {
                shown = part(of: area)
                pieces.append(machine.runAreas.piece(of: vcpu.area, pages: shown))
            } else if coalesced.contains(page) {
                shown = part(of: coalesced)
                pieces.append(machine.runAreas.ringPiece)
            } else if let dirtyRing = vcpu.dirtyRing, ring.contains(page) {
                shown = part(of: ring)
                pieces.append(dirtyRing.piece(pages: shown))
            } else {
                shown = part(of: page..<(page < ring.lowerBound && !ring.isEmpty ? ring.lowerBound : last + 1))
                pieces.append(machine.runAreas.nothing(pages: shown.count))
            }
            page = shown.upperBound
        }
        return pieces
    }
}
