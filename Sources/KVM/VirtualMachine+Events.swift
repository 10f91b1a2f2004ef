// Accesses and interrupts that need no exit: irqfd, ioeventfd, and coalesced MMIO and port writes.
// Documentation/virt/kvm/api.rst, sections 4.59 (KVM_IOEVENTFD), 4.75 (KVM_IRQFD) and 4.116.

internal import KVMABI

/// An address at which a device listens.
public enum DeviceAddress: Hashable, Sendable {
    case port(UInt16)
    case memory(UInt64)

    var value: UInt64 {
        switch self {
        case .port(let port): UInt64(port)
        case .memory(let address): address
        }
    }

    var isPort: Bool {
        if case .port = self { true } else { false }
    }
}

extension VirtualMachine {
    /// `KVM_IRQFD`: an eventfd that raises a GSI when it is signalled, until `detach`.
    ///
    /// The kernel's hypervisor also forgets it once its last descriptor is closed; the software hypervisor can't know, and
    /// keeps it as long as the machine lives.
    public func attach(_ event: borrowing EventDescriptor, toGSI gsi: UInt32) throws(KVMError) {
        try irqfd(event.rawValue, gsi, flags: 0, resample: 0)
    }

    /// `KVM_IRQFD` for a level-triggered line.
    /// - Parameter resample: an eventfd that is signalled when the guest ends the interrupt.
    public func attach(
        _ event: borrowing EventDescriptor, toGSI gsi: UInt32, resample: borrowing EventDescriptor
    ) throws(KVMError) {
        try irqfd(event.rawValue, gsi, flags: UInt32(KVM_IRQFD_FLAG_RESAMPLE), resample: resample.rawValue)
    }

    /// Takes an irqfd away.
    public func detach(_ event: borrowing EventDescriptor, fromGSI gsi: UInt32) throws(KVMError) {
        try irqfd(event.rawValue, gsi, flags: UInt32(KVM_IRQFD_FLAG_DEASSIGN), resample: 0)
    }

    private func irqfd(_ descriptor: Int32, _ gsi: UInt32, flags: UInt32, resample: Int32) throws(KVMError) {
        var argument = kvm_irqfd()
        argument.fd = UInt32(bitPattern: descriptor)
        argument.gsi = gsi
        argument.flags = flags
        argument.resamplefd = UInt32(bitPattern: resample)
        try core.connection.set(.irqfd, argument)
    }

    /// `KVM_IOEVENTFD`: a guest's write signals the eventfd instead of being an exit.
    /// - Parameters:
    ///   - length: 1, 2, 4 or 8 bytes; 0 for any.
    ///   - match: the one value that counts; any if nil.
    public func attach(
        _ event: borrowing EventDescriptor, to address: DeviceAddress, length: UInt32, match: UInt64? = nil
    ) throws(KVMError) {
        try ioeventfd(event.rawValue, address, length, match, flags: 0)
    }

    /// Takes an ioeventfd away; address, length and value as they were given.
    public func detach(
        _ event: borrowing EventDescriptor, from address: DeviceAddress, length: UInt32, match: UInt64? = nil
    ) throws(KVMError) {
        try ioeventfd(event.rawValue, address, length, match, flags: 1 << 2)
    }

    private func ioeventfd(
        _ descriptor: Int32, _ address: DeviceAddress, _ length: UInt32, _ match: UInt64?, flags: UInt32
    ) throws(KVMError) {
        var argument = kvm_ioeventfd()
        argument.fd = descriptor
        argument.addr = address.value
        argument.len = length
        argument.datamatch = match ?? 0
        argument.flags = flags | (match == nil ? 0 : 1 << 0) | (address.isPort ? 1 << 1 : 0)
        try core.connection.set(.ioeventfd, argument)
    }

    /// `KVM_REGISTER_COALESCED_MMIO`: writes here are gathered in a ring, to be read with `coalescedWrites` at the next
    /// exit of any vCPU.
    public func coalesce(_ address: DeviceAddress, size: UInt32) throws(KVMError) {
        try core.connection.set(.registerCoalescedMMIO, zone(address, size))
    }

    /// `KVM_UNREGISTER_COALESCED_MMIO`.
    public func stopCoalescing(_ address: DeviceAddress, size: UInt32) throws(KVMError) {
        try core.connection.set(.unregisterCoalescedMMIO, zone(address, size))
    }

    private func zone(_ address: DeviceAddress, _ size: UInt32) -> kvm_coalesced_mmio_zone {
        var zone = kvm_coalesced_mmio_zone()
        zone.addr = address.value
        zone.size = size
        zone.pio = address.isPort ? 1 : 0
        return zone
    }
}
