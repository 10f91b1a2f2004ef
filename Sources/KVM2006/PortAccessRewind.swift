// Port accesses over an endpoint that has no intercepts, the kernel's: today's exit shows data, and comes when part of the
// instruction has happened. It is taken back here, so that the client meets the instruction as a whole.

internal import KVMABI
internal import X86

/// What today's exits can't show as the first interface did, by name. Over an endpoint that leaves instructions to its client
/// (`InterceptingEndpoint`) only the last is so.
public enum KernelLimit: String, Sendable, CaseIterable {
    /// Today's hypervisor answers CPUID itself, with no exit to opt into: the guest sees what KVM_GET_SUPPORTED_CPUID offers and
    /// exit reason 3 never comes.
    case cpuidHasNoExit
    /// INS has its data only when it is completed, which writes to guest memory: it is completed with what is there already and
    /// its registers are set back. A store by another vCPU to the same bytes at that moment is lost.
    case inputStringIsCompleted
    /// OUT and OUTS without REP may have moved RIP by the time of the exit: the instruction is looked for in the bytes before
    /// RIP. Where one of its prefixes could as well be the end of the instruction before it, the access is the same and
    /// the address of the instruction may not be.
    case outputIsFoundBehindRIP
    /// Where it is not found (code that was changed meanwhile, code in memory that isn't a region's), the exit shows its value,
    /// not its address; `instruction_length` is 0, and `emulated` skips nothing, as it is complete.
    case outputMayBeComplete
    /// A pending MMIO read can't be taken back: a run without `mmio_completed` gives the same exit again, and `emulated` is
    /// refused with EINVAL.
    case mmioReadMustBeAnswered
    /// KVM_EXIT_INTERNAL_ERROR (an instruction that the hypervisor doesn't emulate, and the like) had no reason of its own: it is
    /// UNKNOWN, with the hardware reason 0.
    case internalErrorIsUnknown
}

extension FirstVCPU {
    /// Puts the vCPU back to before the port access that the endpoint's exit is about.
    /// - Returns: false where its instruction isn't found; it is complete then.
    func rewindPortAccess(_ memory: FirstMemory) throws(Errno) -> Bool {
        let (before, special) = (try registers, try specialRegisters)
        let exit = PortExit(area)
        let atRIP = access(at: before.rip, 15, exit, before, special, memory)
        if exit.isInput {
            fillPortData(exit, atRIP, before, special, memory)
            try completeInstruction()
            guard atRIP != nil else { return false }
            try endpoint.set(handle, .setRegs, before)
            return true
        }
        try completeInstruction()
        let after = try registers
        let resumed = RFLAGS.RF.rawValue
        var restored = before
        let found: PortInstruction
        if let atRIP, !atRIP.isString, after.rip == before.rip &+ UInt64(atRIP.length) {
            found = atRIP
        } else if let atRIP, atRIP.isRepeated, after.rip == before.rip, before.rflags & resumed != 0 {
            // With REP the kernel stays at the instruction, even after its last element, and sets RF.
            found = atRIP
            restored.rflags &= ~resumed
        } else if let behind = access(before: after.rip, exit, before, special, memory) {
            found = behind
            restored.rip = after.rip &- UInt64(behind.length)
        } else {
            return false
        }
        if found.isString { found.takeBack(exit, &restored) }
        try endpoint.set(handle, .setRegs, restored)
        return true
    }

    /// The instruction at an address, of at most `limit` bytes, if it makes the access.
    private func access(
        at rip: UInt64, _ limit: Int, _ exit: PortExit, _ registers: kvm_regs, _ special: kvm_sregs,
        _ memory: FirstMemory
    ) -> PortInstruction? {
        guard let found = instruction(at: rip, within: limit, registers, special, memory),
            let access = PortInstruction(found), access.isInput == exit.isInput, Int(access.size) == exit.size,
            access.port(registers) == exit.port
        else { return nil }
        return access
    }

    /// The shortest instruction that ends at an address and makes the access.
    private func access(
        before rip: UInt64, _ exit: PortExit, _ registers: kvm_regs, _ special: kvm_sregs, _ memory: FirstMemory
    ) -> PortInstruction? {
        for length in 1...15 {
            let found = access(at: rip &- UInt64(length), length, exit, registers, special, memory)
            if let found, Int(found.length) == length { return found }
        }
        return nil
    }

    /// What completes an input and changes nothing: memory's bytes, or RAX's.
    private func fillPortData(
        _ exit: PortExit, _ access: PortInstruction?, _ registers: kvm_regs, _ special: kvm_sregs, _ memory: FirstMemory
    ) {
        for index in 0..<exit.count {
            var bytes = (0..<exit.size).map { UInt8(truncatingIfNeeded: registers.rax >> UInt64(8 * $0)) }
            if let access, access.isString {
                let distance = UInt64(index * exit.size)
                let address = access.address(registers, special)
                let isDown = registers.rflags & RFLAGS.DF.rawValue != 0
                bytes = read(linear: isDown ? address &- distance : address &+ distance, exit.size, memory)
            }
            for (offset, byte) in bytes.enumerated() {
                guard let place = exit.place(index, areaSize) else { return }
                area.store(byte, place + offset)
            }
        }
    }

    /// What the first element of a port exit writes.
    func portValue() -> UInt32 {
        let exit = PortExit(area)
        guard let place = exit.place(0, areaSize) else { return 0 }
        return (0..<exit.size).reduce(0) { $0 | UInt32(area.load(place + $1, as: UInt8.self)) << UInt32(8 * $1) }
    }
}

/// The fields of today's port exit.
private struct PortExit {
    let isInput: Bool
    /// Of one element, 1 to 4 bytes.
    let size: Int
    let port: UInt16
    /// At most what the area holds.
    let count: Int
    private let dataOffset: UInt64

    init(_ area: RunArea) {
        isInput = area.load(ExitLayout.ioDirection, as: UInt8.self) == 0
        size = min(max(Int(area.load(ExitLayout.ioSize, as: UInt8.self)), 1), 4)
        port = area.load(ExitLayout.ioPort)
        count = min(Int(area.load(ExitLayout.ioCount, as: UInt32.self)), 4096)
        dataOffset = area.load(ExitLayout.ioDataOffset)
    }

    /// Where an element's data lies in the run area; nil where that is outside.
    func place(_ index: Int, _ areaSize: Int) -> Int? {
        let offset = dataOffset &+ UInt64(index * size)
        guard offset <= UInt64(areaSize), Int(offset) + size <= areaSize else { return nil }
        return Int(offset)
    }
}

extension PortInstruction {
    /// An OUTS's registers as they were before the elements of the exit.
    fileprivate func takeBack(_ exit: PortExit, _ registers: inout kvm_regs) {
        let distance = UInt64(exit.count * exit.size)
        let isDown = registers.rflags & RFLAGS.DF.rawValue != 0
        registers.rsi = narrowed(isDown ? registers.rsi &+ distance : registers.rsi &- distance, over: registers.rsi)
        if isRepeated { registers.rcx = narrowed(registers.rcx &+ UInt64(exit.count), over: registers.rcx) }
    }

    /// A register of the address's size, as that part of the whole is written.
    private func narrowed(_ value: UInt64, over old: UInt64) -> UInt64 {
        switch addressSize {
        case 2: old & ~0xFFFF | value & 0xFFFF
        case 4: value & 0xFFFF_FFFF
        default: value
        }
    }
}
