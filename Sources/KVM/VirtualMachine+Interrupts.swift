// The interrupt controllers inside the hypervisor: making them, their lines and routes, message-signalled interrupts,
// and their state. Documentation/virt/kvm/api.rst, sections 4.24 to 4.27, 4.52, 4.70 and 4.157.

public import KVMABI

/// One route: what a GSI comes to.
public enum InterruptRoute: Hashable, Sendable {
    /// A pin of an interrupt controller: 0 the master PIC, 1 the slave, 2 the I/O APIC.
    case irqchip(gsi: UInt32, chip: UInt32, pin: UInt32)
    /// A message: the address and data that a device would write.
    case msi(gsi: UInt32, address: UInt64, data: UInt32)

    var entry: kvm_irq_routing_entry {
        var entry = kvm_irq_routing_entry()
        switch self {
        case .irqchip(let gsi, let chip, let pin):
            entry.gsi = gsi
            entry.type = UInt32(KVM_IRQ_ROUTING_IRQCHIP)
            unsafe entry.u.irqchip = kvm_irq_routing_irqchip(irqchip: chip, pin: pin)
        case .msi(let gsi, let address, let data):
            entry.gsi = gsi
            entry.type = UInt32(KVM_IRQ_ROUTING_MSI)
            unsafe entry.u.msi.address_lo = UInt32(truncatingIfNeeded: address)
            unsafe entry.u.msi.address_hi = UInt32(truncatingIfNeeded: address >> 32)
            unsafe entry.u.msi.data = data
        }
        return entry
    }

    /// The routes that a machine begins with: GSI 0 to 15 to the PICs and the I/O APIC, 16 to 23 to the I/O APIC.
    public static var standard: [InterruptRoute] {
        var routes: [InterruptRoute] = []
        for gsi in UInt32(0)..<24 {
            if gsi < 16 { routes.append(.irqchip(gsi: gsi, chip: gsi < 8 ? 0 : 1, pin: gsi % 8)) }
            routes.append(.irqchip(gsi: gsi, chip: 2, pin: gsi))
        }
        return routes
    }
}

/// An interrupt controller inside the hypervisor.
public enum InterruptController: UInt32, Hashable, Sendable {
    case masterPIC = 0
    case slavePIC = 1
    case ioapic = 2
}

/// What came of raising a line or sending a message.
public enum InterruptDelivery: Hashable, Sendable {
    /// It was masked or ignored.
    case ignored
    /// The one before had not been taken yet.
    case coalesced
    /// It reached this many vCPUs.
    case delivered(Int)

    init(_ status: Int32) { self = status > 0 ? .delivered(Int(status)) : status == 0 ? .coalesced : .ignored }
}

extension VirtualMachine {
    /// `KVM_CREATE_IRQCHIP`: the PICs, the I/O APIC and local APICs inside the hypervisor; before the first vCPU.
    public func createInterruptControllers() throws(KVMError) { try core.connection.call(.createIRQCHIP) }

    /// `KVM_IRQ_LINE`: sets the level of a GSI.
    public func setLine(_ gsi: UInt32, to level: Bool) throws(KVMError) {
        var argument = kvm_irq_level()
        argument.irq = gsi
        argument.level = level ? 1 : 0
        try core.connection.set(.irqLine, argument)
    }

    /// `KVM_IRQ_LINE_STATUS`: sets the level of a GSI and says what came of it.
    @discardableResult
    public func setLineReporting(_ gsi: UInt32, to level: Bool) throws(KVMError) -> InterruptDelivery {
        var argument = kvm_irq_level()
        argument.irq = gsi
        argument.level = level ? 1 : 0
        try core.connection.exchange(.irqLineStatus, &argument)
        return InterruptDelivery(argument.status)
    }

    /// `KVM_SET_GSI_ROUTING`: replaces all routes.
    public func setRouting(_ routes: [InterruptRoute]) throws(KVMError) {
        let buffer = VariableLengthBuffer(.routing, routes.map(\.entry))
        try core.connection.call(.setGSIRouting, buffer.address)
    }

    /// `KVM_SIGNAL_MSI`: sends a message-signalled interrupt.
    @discardableResult
    public func signalMSI(address: UInt64, data: UInt32) throws(KVMError) -> InterruptDelivery {
        var message = kvm_msi()
        message.address_lo = UInt32(truncatingIfNeeded: address)
        message.address_hi = UInt32(truncatingIfNeeded: address >> 32)
        message.data = data
        return InterruptDelivery(try core.connection.set(.signalMSI, message))
    }

    /// `KVM_GET_IRQCHIP`.
    public func interruptController(_ controller: InterruptController) throws(KVMError) -> kvm_irqchip {
        var state = kvm_irqchip()
        state.chip_id = controller.rawValue
        try core.connection.exchange(.getIRQCHIP, &state)
        return state
    }

    /// `KVM_SET_IRQCHIP`; `chip_id` says which.
    public func setInterruptController(_ state: kvm_irqchip) throws(KVMError) {
        try core.connection.set(.setIRQCHIP, state)
    }
}
