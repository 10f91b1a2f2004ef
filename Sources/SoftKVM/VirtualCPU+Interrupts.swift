// Interrupt injection by the client, task priority, APIC base, signal mask and translation.
// Documentation/virt/kvm/api.rst, sections 4.15, 4.16, 4.21.

internal import Chipset
internal import KVMABI
internal import Processor
internal import X86

extension VirtualCPU {
    /// KVM_INTERRUPT.
    func interrupt(_ vector: UInt32) throws(Errno) {
        guard vector < 256 else { throw .invalidArgument }
        let vector = UInt8(vector)
        guard let chipset else {
            queuedInterrupt = vector
            processor.request(.interrupt)
            return
        }
        guard isSplit else { throw .noSuchDeviceOrAddress }
        guard chipset.setExternalInterrupt(Int(id), vector: vector) else { throw .fileExists }
        processor.request(.interrupt)
    }

    var apicBase: UInt64 { chipset?.apicBase(Int(id)) ?? clientAPICBase }

    func setAPICBase(_ value: UInt64, fromHost: Bool) -> Bool {
        let hasX2APIC = cpuid.features1C & 1 << 21 != 0
        let reserved = ~((1 as UInt64) << UInt64(guestPhysicalBits) - 1) | 0x2FF | (hasX2APIC ? 0 : 0x400)
        guard value & reserved == 0, value & 0xC00 != 0x400 else { return false }
        if let chipset { return chipset.setAPICBase(Int(id), value, fromHost: fromHost) }
        // Nothing but the bits is here: the client has the APIC.
        clientAPICBase = value
        return true
    }

    func setTaskPriority(_ value: UInt8) {
        if let chipset { chipset.setCR8(Int(id), UInt64(value)) } else { clientCR8 = value & 15 }
    }

    /// struct kvm_signal_mask { len, sigset }; a null pointer takes the mask away.
    func setSignalMask(_ argument: ClientArgument) throws(Errno) {
        if argument.address == 0 {
            signalMask = nil
            return
        }
        guard try argument.load(UInt32.self) == 8 else { throw .invalidArgument }
        signalMask = try argument.advanced(by: 4).load(UInt64.self)
    }

    func setMachineCheck(_ record: Record) throws(Errno) {
        switch try machineCheck.set(record, isEnabled: processor.state.cr4 & CR4.MCE.rawValue != 0) {
        case .none: break
        case .exception: raise(18)
        case .shutdown: pendingTripleFault = true
        }
    }

    // MARK: KVM_TRANSLATE

    /// struct kvm_translation { linear_address, physical_address, valid, writeable, usermode }.
    func translate(_ argument: ClientArgument) throws(Errno) {
        var record = Record(try argument.loadBytes(24))
        let physical = processor.translate(record.load(0))?.address
        record.store(physical ?? .max, 8)
        record.store(UInt8(physical == nil ? 0 : 1), 16)
        record.store(UInt8(1), 17)
        record.store(UInt8(0), 18)
        try argument.storeBytes(record.bytes)
    }
}
