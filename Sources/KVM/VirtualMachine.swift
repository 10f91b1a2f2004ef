// A virtual machine: its memory, its interrupt controllers and timers, and where its vCPUs come from. What it can do is
// in the extensions beside this file. Documentation/virt/kvm/api.rst, section 4, requests of type "vm ioctl".

internal import GuestMemory
public import KVMABI
internal import Synchronization

/// A virtual machine. It goes, with its memory slots, when it and its vCPUs have gone out of scope.
public struct VirtualMachine: ~Copyable, Sendable {
    let core: MachineCore

    init(_ core: MachineCore) { self.core = core }

    /// `KVM_CHECK_EXTENSION` on this machine: 0 if the capability is not offered, otherwise 1 or what it says for itself.
    public func check(_ capability: Capability) throws(KVMError) -> Int { try core.connection.check(capability) }

    /// `KVM_ENABLE_CAP`.
    /// - Throws: `KVMError.notOffered` if the machine does not offer the capability, or not with these bits.
    public func enable(_ setting: CapabilitySetting) throws(KVMError) {
        try core.connection.enable(setting, offered: check(setting.capability))
    }

    /// `KVM_CREATE_VCPU`.
    /// - Parameter id: the vCPU's number and, by default, its APIC id; the next one that is free if not given.
    public func makeVirtualCPU(id: UInt32? = nil) throws(KVMError) -> VirtualCPU {
        let number = core.nextCPU.withLock { next in
            let number = id ?? next
            next = max(next, number &+ 1)
            return number
        }
        let handle = Handle(rawValue: try core.connection.call(.createVCPU, UInt(number)))
        return try VirtualCPU(Connection(core.connection.endpoint, handle), core, id: number)
    }

    /// Any request of this machine, its argument as the kernel sees it.
    ///
    /// An argument that is an address must be valid for what the request reads and writes.
    @unsafe @discardableResult
    public func request(_ request: Request, _ argument: UInt = 0) throws(KVMError) -> Int32 {
        try core.connection.call(request, argument)
    }

    /// The raw interface under this machine.
    public var endpoint: any Endpoint { core.connection.endpoint }
    /// The machine's handle at its endpoint; valid while the machine or a vCPU of it lives.
    public var handle: Handle { core.connection.handle }
}

/// What a machine and its vCPUs share: the handle, and the memory that its slots show.
final class MachineCore: Sendable {
    let connection: Connection
    let runAreaSize: Int
    /// Which page of a run area holds the coalesced ring; 0 if there is none.
    let coalescedPage: Int
    let slots = Mutex<[UInt32: SlotContents]>([:])
    let nextCPU = Mutex<UInt32>(0)

    init(_ connection: Connection, runAreaSize: Int, coalescedPage: Int) {
        self.connection = connection
        self.runAreaSize = runAreaSize
        self.coalescedPage = coalescedPage
    }
}

/// A memory slot as it was last set.
struct SlotContents: Sendable {
    /// Kept alive as long as the slot shows it; nil if the client answers for the memory.
    var memory: GuestMemory?
    var region: kvm_userspace_memory_region
}

extension Connection {
    /// `KVM_ENABLE_CAP`, if what is offered includes it.
    func enable(_ setting: CapabilitySetting, offered: Int) throws(KVMError) {
        guard offered != 0 else { throw .notOffered(setting.capability, missing: 0) }
        let missing = setting.bits & ~UInt64(truncatingIfNeeded: offered)
        guard missing == 0 else { throw .notOffered(setting.capability, missing: missing) }
        var argument = kvm_enable_cap()
        argument.cap = setting.capability.rawValue
        argument.flags = setting.flags
        argument.args = setting.arguments
        try set(.enableCap, argument)
    }
}
