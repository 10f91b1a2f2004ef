// What the processor stopped for, as the client sees it in `struct kvm_run`, and the client's answers.
// Documentation/virt/kvm/api.rst, section 5.

internal import GuestMemory
internal import KVMABI
internal import Processor
internal import Synchronization
internal import X86

extension VirtualCPU {
    /// Hands the client's answer to the processor; false where the last exit asked for none.
    func complete() -> Bool {
        let run = area.run
        switch processor.takeAwaitedAnswer() {
        case .nothing: return false
        case .completion: break
        case .portData(let count):
            let count = min(count, VirtualCPUArea.portDataSize)
            unsafe processor.completeRead(UnsafeRawBufferPointer(rebasing: area.portData[..<count]))
        case .mmioData(let count):
            unsafe processor.completeRead(UnsafeRawBufferPointer(rebasing: area.mmioData[..<min(count, 8)]))
        case .msr(let isRead):
            let failed = run.load(ExitLayout.msrError, as: UInt8.self) != 0
            processor.completeMSR(value: isRead ? run.load(ExitLayout.msrData) : 0, error: failed)
        case .hypercallResult: completeHypercall(run.load(ExitLayout.hypercallResult))
        }
        return true
    }

    /// A result is as wide as the mode's registers.
    private func completeHypercall(_ result: UInt64) {
        processor.completeHypercall(result: isIn64BitMode ? result : result & 0xFFFF_FFFF)
    }

    /// Writes an exit into the run area; false where the guest goes on without the client.
    func leaves(on exit: ProcessorExit) throws(Errno) -> Bool {
        let run = area.run
        switch exit {
        case .requested: return false
        case .portRead(let port, let size, let count):
            store(port: port, size: size, count: count, isOut: false)
        case .portWrite(let port, let size, let count):
            unsafe processor.withExitData {
                unsafe area.portData.copyMemory(from: $0, limit: VirtualCPUArea.portDataSize)
            }
            store(port: port, size: size, count: count, isOut: true)
            if port == 0x7E, !machine.hasDisabled(.out7EIncRIP) { processor.finishPortWrite() }
        case .mmioRead(let address, let size):
            store(address: address, size: size, isWrite: false)
        case .mmioWrite(let address, let size):
            run.store(UInt64(0), ExitLayout.mmioData)
            unsafe processor.withExitData { unsafe area.mmioData.copyMemory(from: $0, limit: 8) }
            store(address: address, size: size, isWrite: true)
        case .halted:
            statistics.count(.haltExits)
            if let witness = witness(.hlt), machine.enabled(.x86DisableExits) & DisabledExits.halt == 0 {
                run.leave(with: witness)
                return true
            }
            mpState = isUnhalted ? .runnable : .halted
            isUnhalted = false
            // A client that steps sees the step; the wait comes after it.
            if let exit = processor.takeDebugExit() { return try leaves(on: exit) }
            return false
        case .shutdown: run.leave(with: ExitWitness(.shutdown))
        case .debug(let vector, let dr6, let dr7, let pc):
            guard let witness = witness(.debug) else { return false }
            run.store(UInt64(vector), ExitLayout.debugException)
            run.store(pc, ExitLayout.debugPC)
            run.store(dr6, ExitLayout.debugDR6)
            run.store(dr7, ExitLayout.debugDR7)
            run.leave(with: witness)
        case .readMSR(let index, let reason):
            return leaves(msr: .x86RdMSR, index, value: 0, reason: reason)
        case .writeMSR(let index, let value, let reason):
            return leaves(msr: .x86WrMSR, index, value: value, reason: reason)
        case .hypercall: return leavesOnHypercall()
        case .intercepted(let what):
            let which: InstructionIntercepts = what == .cpuid ? .cpuid : .ports
            run.store(UInt64(which.hardwareExitReason), ExitLayout.hardwareExitReason)
            run.leave(with: ExitWitness(.unknown))
        case .interruptWindow:
            statistics.count(.interruptWindowExits)
            processor.withdraw(.interruptWindow)
            guard let witness = witness(.irqWindowOpen) else { return false }
            run.leave(with: witness)
        case .taskPriorityChanged:
            guard let witness = witness(.setTPR) else { return false }
            run.leave(with: witness)
        case .hostFault(let address):
            run.store(UInt64(0), ExitLayout.memoryFaultFlags)
            run.store(guestAddress(showing: address) & ~4095, ExitLayout.memoryFaultAddress)
            run.store(UInt64(4096), ExitLayout.memoryFaultSize)
            run.leave(with: ExitWitness(.memoryFault))
            throw .badAddress
        case .internalError(let suberror):
            // Outside of level 0 the guest hears of it itself, unless the client asked to.
            if suberror == InternalSuberror.emulation, processor.state.cpl != 0,
                machine.enabled(.exitOnEmulationFailure) == 0
            {
                raise(6)
                return false
            }
            storeInternalError(suberror)
            run.leave(with: ExitWitness(.internalError))
        }
        return true
    }

    private func store(port: UInt16, size: Int, count: Int, isOut: Bool) {
        statistics.count(.ioExits)
        let run = area.run
        run.store(UInt8(isOut ? 1 : 0), ExitLayout.ioDirection)
        run.store(UInt8(truncatingIfNeeded: size), ExitLayout.ioSize)
        run.store(port, ExitLayout.ioPort)
        run.store(UInt32(truncatingIfNeeded: count), ExitLayout.ioCount)
        run.store(UInt64(VirtualCPUArea.portDataOffset), ExitLayout.ioDataOffset)
        run.leave(with: ExitWitness(.io))
    }

    private func store(address: UInt64, size: Int, isWrite: Bool) {
        statistics.count(.mmioExits)
        let run = area.run
        run.store(address, ExitLayout.mmioAddress)
        run.store(UInt32(truncatingIfNeeded: size), ExitLayout.mmioLength)
        run.store(UInt8(isWrite ? 1 : 0), ExitLayout.mmioIsWrite)
        run.leave(with: ExitWitness(.mmio))
    }

    private func leaves(msr exit: ExitReason, _ index: UInt32, value: UInt64, reason: UInt32) -> Bool {
        let run = area.run
        guard let witness = witness(exit, bits: UInt64(reason)) else {
            // The client has taken its word back meanwhile: #GP, as without it.
            processor.completeMSR(value: 0, error: true)
            return false
        }
        run.store(UInt64(0), ExitLayout.msrError)
        run.store(reason, ExitLayout.msrReason)
        run.store(index, ExitLayout.msrIndex)
        run.store(value, ExitLayout.msrData)
        run.leave(with: witness)
        return true
    }

    /// KVM_INTERNAL_ERROR_*.
    private enum InternalSuberror { static let emulation: UInt32 = 1 }

    /// With what there is of the instruction that can't be executed.
    private func storeInternalError(_ suberror: UInt32) {
        let run = area.run
        run.store(suberror, ExitLayout.internalSuberror)
        let bytes = suberror == InternalSuberror.emulation ? instructionBytes : []
        let hasBytes = !bytes.isEmpty
        for word in 0..<3 { run.store(UInt64(0), ExitLayout.internalData + 8 * word) }
        run.store(UInt64(hasBytes ? 1 : 0), ExitLayout.internalData)  // …_FLAG_INSTRUCTION_BYTES
        if hasBytes { run.storeBytes([UInt8(bytes.count)] + bytes, ExitLayout.internalData + 8) }
        let words: UInt32 = hasBytes ? 3 : 1
        run.store(suberror == InternalSuberror.emulation ? words : 0, ExitLayout.internalDataCount)
    }

    /// At most 15 bytes at RIP, as far as there is memory.
    private var instructionBytes: [UInt8] {
        world.enter(doorbell)
        defer { world.leave(doorbell) }
        let base = processor.state.segments[Int(SegmentName.cs.rawValue)].base
        var bytes: [UInt8] = []
        while bytes.count < 15 {
            let linear = (isIn64BitMode ? 0 : base) &+ processor.state.rip &+ UInt64(bytes.count)
            guard let place = processor.translate(isIn64BitMode ? linear : linear & 0xFFFF_FFFF),
                let byte = machine.readPhysical8(place.address)
            else { break }
            bytes.append(byte)
        }
        return bytes
    }

    /// KVM_HC_MAP_GPA_RANGE: number and six arguments.
    private func leavesOnHypercall() -> Bool {
        let run = area.run
        let is64Bit = isIn64BitMode
        let mask: UInt64 = is64Bit ? .max : 0xFFFF_FFFF
        guard let witness = witness(.hypercall) else {
            // The client has taken its word back meanwhile: KVM_ENOSYS, as without it.
            completeHypercall(UInt64(bitPattern: -1000))
            return false
        }
        let registers = processor.state.registers
        run.store(registers[0] & mask, ExitLayout.hypercallNumber)
        // RBX, RCX, RDX.
        for (index, register) in [3, 1, 2].enumerated() {
            run.store(registers[register] & mask, ExitLayout.hypercallArguments + 8 * index)
        }
        for index in 3..<6 { run.store(UInt64(0), ExitLayout.hypercallArguments + 8 * index) }
        run.store(UInt64(0), ExitLayout.hypercallResult)
        // KVM_EXIT_HYPERCALL_LONG_MODE.
        run.store(UInt64(is64Bit ? 1 : 0), ExitLayout.hypercallFlags)
        run.leave(with: witness)
        return true
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Copies at most `limit` bytes of `source`, and never more than there is room for.
    func copyMemory(from source: UnsafeRawBufferPointer, limit: Int) {
        let length = Swift.min(source.count, limit, count)
        guard length > 0 else { return }
        unsafe copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<length]))
    }
}

extension VirtualCPU {
    /// Where the guest sees an address of the client's; 0 if no slot shows it.
    private func guestAddress(showing host: UInt64) -> UInt64 {
        world.enter(doorbell)
        defer { world.leave(doorbell) }
        for region in machine.addressSpace.regions {
            let offset = host &- UInt64(UInt(bitPattern: unsafe region.host))
            if offset < region.size { return region.base &+ offset }
        }
        return 0
    }
}
