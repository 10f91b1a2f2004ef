// KVM's userspace interface as it was posted in October 2006, over an endpoint of today's. docs/history.md says how one became
// the other. Errnos are that driver's: EINVAL for a request that it didn't know, EFAULT for a bad pointer, EINVAL for a number
// that no vCPU can have and ENOENT for one that none has, EEXIST for what is there already.

internal import Glibc
public import KVMABI
internal import Locking

/// One open `/dev/kvm`, which was one virtual machine: no descriptor of its own for it or for its vCPUs.
///
/// Safe to use from any thread; a vCPU serves one at a time.
public final class FirstInterface: Sendable {
    let endpoint: any Endpoint
    let machine: Handle
    private let system: Handle
    private let runAreaSize: Int
    private let maximumVCPUs: Int
    private let vcpus = Lock<[UInt32: FirstVCPU]>([:])
    let memory: FirstMemory

    /// What `open("/dev/kvm")` did.
    /// - Throws: what the endpoint's `open` and KVM_CREATE_VM fail with.
    public init(_ endpoint: any Endpoint) throws(Errno) {
        let system = try endpoint.open()
        let machine: Handle
        do throws(Errno) {
            machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
        } catch {
            endpoint.close(system)
            throw error
        }
        self.endpoint = endpoint
        self.system = system
        self.machine = machine
        do throws(Errno) {
            func limit(_ capability: Capability, atLeast least: Int) throws(Errno) -> Int {
                max(least, Int(try endpoint.ioctl(machine, .checkExtension, UInt(capability.rawValue))))
            }
            maximumVCPUs = try limit(.maxVcpus, atLeast: 1)
            runAreaSize = Int(try endpoint.ioctl(system, .getVCPUMmapSize, 0))
            memory = try FirstMemory(endpoint, machine, slotCount: UInt32(clamping: limit(.nrMemslots, atLeast: 4)))
        } catch {
            endpoint.close(machine)
            endpoint.close(system)
            throw error
        }
        // Three pages that VMX without unrestricted guests needs for real mode; elsewhere it does nothing.
        _ = try? endpoint.ioctl(machine, .setTSSAddr, 0xFFFB_D000)
    }

    deinit {
        vcpus.withLock { $0.removeAll() }
        endpoint.close(machine)
        endpoint.close(system)
    }

    /// `ioctl(2)` on the descriptor.
    /// - Parameters:
    ///   - request: the whole number; bits above 31 were never looked at.
    ///   - argument: the third argument, a value or an address of the client's.
    /// - Returns: 0.
    /// - Throws: the errno. EINTR from KVM_RUN after a signal or a kick; its structure is written all the same.
    public func ioctl(request: UInt32, argument: UInt) throws(Errno) -> Int32 {
        guard let request = FirstRequest(rawValue: request) else { throw .invalidArgument }
        let client = ClientArgument(argument)
        if request == .createVCPU {
            try createVCPU(Int32(truncatingIfNeeded: argument))
            return 0
        }
        var record = Record(try client.loadBytes(request.size))
        switch request {
        case .run:
            let vcpu = try vcpu(record.load(FirstLayout.Run.vcpu))
            var interruption: Errno?
            do throws(Errno) {
                try vcpu.run(&record, memory)
            } catch {
                guard error == .interrupted else { throw error }
                interruption = error
            }
            try client.storeBytes(record.bytes)
            if let interruption { throw interruption }
        case .getRegisters:
            try vcpu(record.load(FirstLayout.Registers.vcpu)).getRegisters(&record)
            try client.storeBytes(record.bytes)
        case .setRegisters:
            try vcpu(record.load(FirstLayout.Registers.vcpu)).setRegisters(record)
        case .getSpecialRegisters:
            try vcpu(record.load(FirstLayout.SpecialRegisters.vcpu)).getSpecialRegisters(&record)
            try client.storeBytes(record.bytes)
        case .setSpecialRegisters:
            try vcpu(record.load(FirstLayout.SpecialRegisters.vcpu)).setSpecialRegisters(record)
        case .translate:
            try vcpu(record.load(FirstLayout.Translation.vcpu)).translate(&record)
            try client.storeBytes(record.bytes)
        case .interrupt:
            try interrupt(record)
        case .debugGuest:
            try vcpu(record.load(FirstLayout.DebugGuest.vcpu)).debug(record)
        case .setMemoryRegion:
            try memory.setRegion(record)
        case .getDirtyLog:
            try memory.getDirtyLog(record)
        case .createVCPU: break
        }
        return 0
    }

    /// What `mmap(2)` on the descriptor showed: guest memory at the offset that is its guest-physical address. The pieces follow
    /// one another without a gap and are together as long as was asked for, in whole pages; where the guest has no memory,
    /// accesses raise SIGBUS. A region that is made later does not appear in what was mapped before.
    /// - Parameters:
    ///   - offset: guest-physical, in bytes, page-aligned.
    ///   - length: in bytes.
    /// - Throws: EINVAL for no length and for a misaligned offset; EOVERFLOW where the end is none.
    public func place(offset: Int, length: Int) throws(Errno) -> [MappingPiece] {
        try memory.place(offset: offset, length: length)
    }

    /// Makes the KVM_RUN of a vCPU that is under way, or else the next one, end soon with EINTR, as a signal would. From any
    /// thread, not from a signal's handler. No effect where there is no such vCPU.
    public func kick(vcpu number: UInt32) {
        vcpus.withLock { $0[number] }?.kick()
    }

    /// The endpoint's handle of a vCPU, for a client that interrupts it by the endpoint's own means.
    /// - Throws: as ioctls do for such a number.
    public func handle(vcpu number: UInt32) throws(Errno) -> Handle { try vcpu(number).handle }

    /// - Throws: EINVAL for a number that no vCPU can have, ENOENT for one that isn't there.
    private func vcpu(_ number: UInt32) throws(Errno) -> FirstVCPU {
        guard number < UInt32(clamping: maximumVCPUs) else { throw .invalidArgument }
        guard let vcpu = vcpus.withLock({ $0[number] }) else { throw .noSuchFile }
        return vcpu
    }

    private func createVCPU(_ number: Int32) throws(Errno) {
        guard number >= 0, number < maximumVCPUs else { throw .invalidArgument }
        let failure: Errno? = vcpus.withLock { vcpus in
            guard vcpus[UInt32(number)] == nil else { return .fileExists }
            do throws(Errno) {
                vcpus[UInt32(number)] = try FirstVCPU(
                    endpoint, machine: machine, system: system, number: UInt32(number), runAreaSize: runAreaSize)
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    private func interrupt(_ record: Record) throws(Errno) {
        let number: UInt32 = record.load(FirstLayout.Interrupt.vcpu)
        let vector: UInt32 = record.load(FirstLayout.Interrupt.vector)
        guard number < UInt32(clamping: maximumVCPUs), vector < 256 else { throw .invalidArgument }
        try vcpu(number).interrupt(UInt8(vector))
    }
}
