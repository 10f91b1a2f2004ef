// Interrupt injection by the client, task priority, APIC base, signal mask and translation.
// Documentation/virt/kvm/api.rst, sections 4.15, 4.16, 4.21; Intel SDM vol. 3, 4.2 to 4.5 (paging).

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
        let physical = physicalAddress(record.load(0))
        record.store(physical ?? .max, 8)
        record.store(UInt8(physical == nil ? 0 : 1), 16)
        record.store(UInt8(1), 17)
        record.store(UInt8(0), 18)
        try argument.storeBytes(record.bytes)
    }

    /// Walks the page tables as a supervisor read does, changing nothing.
    private func physicalAddress(_ linear: UInt64) -> UInt64? {
        let state = processor.state
        guard state.cr0 & CR0.PG.rawValue != 0 else { return linear }
        let isLong = state.efer & EFER.LMA.rawValue != 0
        let isPAE = state.cr4 & CR4.PAE.rawValue != 0
        guard isLong || isPAE else { return legacyAddress(linear & 0xFFFF_FFFF, state.cr3) }
        let frame: UInt64 = 0x000F_FFFF_FFFF_F000
        var table: UInt64
        var shift: UInt64
        if isLong {
            guard UInt64(bitPattern: Int64(bitPattern: linear << 16) >> 16) == linear else { return nil }
            table = state.cr3 & frame
            shift = 39
        } else {
            let pointer = state.pdptes[Int(linear >> 30 & 3)]
            guard pointer & 1 != 0 else { return nil }
            table = pointer & frame
            shift = 21
        }
        while true {
            guard let entry = machine.readPhysical(table + (linear >> shift & 511) * 8), entry & 1 != 0 else {
                return nil
            }
            if shift == 12 || (entry & 1 << 7 != 0 && shift <= 30) {
                let mask: UInt64 = 1 << shift - 1
                return entry & frame & ~mask | linear & mask
            }
            table = entry & frame
            shift -= 9
        }
    }

    private func legacyAddress(_ linear: UInt64, _ cr3: UInt64) -> UInt64? {
        guard let directory = machine.readPhysical32((cr3 & 0xFFFF_F000) + (linear >> 22) * 4), directory & 1 != 0
        else { return nil }
        if directory & 1 << 7 != 0, processor.state.cr4 & CR4.PSE.rawValue != 0 {
            // Bits 20…13 are bits 39…32 of the address.
            return UInt64(directory & 0xFFC0_0000) | UInt64(directory >> 13 & 0xFF) << 32 | linear & 0x3F_FFFF
        }
        let place = UInt64(directory & 0xFFFF_F000) + (linear >> 12 & 1023) * 4
        guard let entry = machine.readPhysical32(place), entry & 1 != 0 else { return nil }
        return UInt64(entry & 0xFFFF_F000) | linear & 4095
    }
}
