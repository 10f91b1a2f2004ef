// One vCPU: its registers, its interrupts, its breakpoints and KVM_TRANSLATE. FirstVCPU+Run.swift runs it.

internal import KVMABI
internal import Locking
internal import Synchronization

/// A vCPU, which the first interface names by number.
///
/// SAFETY: everything mutable is touched under `mutex` only, but for `isKicked`.
final class FirstVCPU: @unchecked Sendable {
    let endpoint: any Endpoint
    /// The endpoint, if it leaves instructions to its client.
    let intercepting: (any InterceptingEndpoint)?
    let handle: Handle
    let area: RunArea
    let areaSize: Int
    private let mutex = Lock<Void>(())

    /// Vectors of KVM_INTERRUPT that the guest has not taken yet.
    var pendingInterrupts = VectorSet()
    /// What `emulated` skips.
    var current = CurrentInstruction.atRIP
    /// The last exit was an MMIO read that has no answer yet.
    var awaitsMMIO = false
    /// The last exit was MMIO: its instruction may go on with the next run.
    var isInsideInstruction = false
    var debugging: kvm_guest_debug?
    let isKicked = Atomic(false)

    /// The instruction of the last exit.
    enum CurrentInstruction {
        /// RIP is at it; how long it is has to be looked up.
        case atRIP
        case ofLength(UInt8)
        /// It is complete and RIP is past it.
        case complete
    }

    /// KVM_CREATE_VCPU. The vCPU begins at F000:FFF0 with CS's base at 0xF0000: virtual-8086 mode, by which VMX did real mode
    /// then, has no other base for that selector, and clients had their firmware there.
    init(_ endpoint: any Endpoint, machine: Handle, system: Handle, number: UInt32, runAreaSize: Int) throws(Errno) {
        handle = Handle(rawValue: try endpoint.ioctl(machine, .createVCPU, UInt(number)))
        self.endpoint = endpoint
        intercepting = endpoint as? any InterceptingEndpoint
        areaSize = runAreaSize
        do throws(Errno) {
            area = unsafe RunArea(try endpoint.map(handle, length: runAreaSize, offset: 0))
        } catch {
            endpoint.close(handle)
            throw error
        }
        try intercepting?.intercept([.ports, .cpuid], on: handle)
        // What CPUID says is the client's, but the processor must have what it may say.
        let features = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 256)
        _ = try endpoint.ioctl(system, .getSupportedCPUID, features.address)
        _ = try endpoint.ioctl(handle, .setCPUID2, features.address)
        var special = try endpoint.get(handle, .getSREGS, kvm_sregs())
        special.cs.base = 0xF0000
        try endpoint.set(handle, .setSREGS, special)
    }

    deinit {
        unsafe endpoint.unmap(area.base, length: areaSize)
        endpoint.close(handle)
    }

    func locked<R>(_ body: () throws(Errno) -> R) throws(Errno) -> R {
        try mutex.withLock { _ throws(Errno) in try body() }
    }

    // MARK: Registers

    var registers: kvm_regs {
        get throws(Errno) { try endpoint.get(handle, .getRegs, kvm_regs()) }
    }

    var specialRegisters: kvm_sregs {
        get throws(Errno) { try endpoint.get(handle, .getSREGS, kvm_sregs()) }
    }

    func getRegisters(_ record: inout Record) throws(Errno) {
        try locked { () throws(Errno) in
            var values = Record(count: FirstLayout.Registers.count)
            try endpoint.exchange(handle, .getRegs, &values)
            record.replace(FirstLayout.Registers.values, values.bytes)
        }
    }

    func setRegisters(_ record: Record) throws(Errno) {
        try locked { () throws(Errno) in
            var values = record.part(FirstLayout.Registers.values, FirstLayout.Registers.count)
            try endpoint.exchange(handle, .setRegs, &values)
        }
    }

    func getSpecialRegisters(_ record: inout Record) throws(Errno) {
        try locked { () throws(Errno) in
            var values = Record(count: MemoryLayout<kvm_sregs>.size)
            try endpoint.exchange(handle, .getSREGS, &values)
            record.replace(
                FirstLayout.SpecialRegisters.values, values.part(0, FirstLayout.SpecialRegisters.count).bytes)
            record.store(UInt32(pendingInterrupts.isEmpty ? 0 : 1), FirstLayout.SpecialRegisters.pendingInterrupt)
            record.store(UInt32(0), FirstLayout.SpecialRegisters.pendingInterrupt + 4)
        }
    }

    /// `pending_int` says something and sets nothing.
    func setSpecialRegisters(_ record: Record) throws(Errno) {
        try locked { () throws(Errno) in
            var values = Record(count: MemoryLayout<kvm_sregs>.size)
            let count = FirstLayout.SpecialRegisters.count
            values.replace(0, record.part(FirstLayout.SpecialRegisters.values, count).bytes)
            try endpoint.exchange(handle, .setSREGS, &values)
            // Each run takes CR8 from the run area, where there is no local APIC.
            area.cr8 = try specialRegisters.cr8
        }
    }

    // MARK: Translation and interrupts

    func translate(_ record: inout Record) throws(Errno) {
        try locked { () throws(Errno) in
            let found = try translation(of: record.load(FirstLayout.Translation.linearAddress))
            record.store(found.physical_address, FirstLayout.Translation.physicalAddress)
            record.store(found.valid, FirstLayout.Translation.valid)
            record.store(found.writeable, FirstLayout.Translation.writeable)
            record.store(found.usermode, FirstLayout.Translation.userMode)
        }
    }

    func translation(of linear: UInt64) throws(Errno) -> kvm_translation {
        var translation = kvm_translation()
        translation.linear_address = linear
        try endpoint.exchange(handle, .translate, &translation)
        return translation
    }

    /// KVM_INTERRUPT: any number wait, each vector once.
    func interrupt(_ vector: UInt8) throws(Errno) {
        try locked { () throws(Errno) in pendingInterrupts.insert(vector) }
    }

    // MARK: Debugging

    /// KVM_DEBUG_GUEST: four breakpoints on execution, or single steps, of which the first is past a breakpoint that the vCPU
    /// stands at. The guest's own debug registers rest meanwhile.
    func debug(_ record: Record) throws(Errno) {
        typealias Layout = FirstLayout.DebugGuest
        try locked { () throws(Errno) in
            var wanted = kvm_guest_debug()
            guard record.load(Layout.enabled, as: UInt32.self) != 0 else {
                try endpoint.set(handle, .setGuestDebug, wanted)
                debugging = nil
                return
            }
            // Each step ends where any breakpoint would.
            let steps = record.load(Layout.singleStep, as: UInt32.self) != 0
            wanted.control = UInt32(KVM_GUESTDBG_ENABLE)
            wanted.control |= UInt32(steps ? KVM_GUESTDBG_SINGLESTEP : KVM_GUESTDBG_USE_HW_BP)
            var addresses: InlineArray<4, UInt64> = .init(repeating: 0)
            // DR7: bit 10 is always set, G0…G3 are bits 1, 3, 5, 7, and type and length are 0 for execution.
            var control: UInt64 = 1 << 10
            for index in 0..<Layout.breakpointCount {
                let place = Layout.breakpoints + index * Layout.breakpointStride
                guard record.load(place + Layout.breakpointEnabled, as: UInt32.self) != 0 else { continue }
                addresses[index] = record.load(place + Layout.breakpointAddress)
                control |= 2 << UInt64(2 * index)
            }
            wanted.arch.debugreg = (addresses[0], addresses[1], addresses[2], addresses[3], 0, 0, 0, control)
            try endpoint.set(handle, .setGuestDebug, wanted)
            debugging = wanted
        }
    }

    // MARK: The kick

    func kick() {
        isKicked.store(true, ordering: .sequentiallyConsistent)
        area.setImmediateExit()
        endpoint.kick(handle)
    }
}

/// Vectors 0 to 255.
struct VectorSet {
    private var words: InlineArray<4, UInt64> = .init(repeating: 0)

    var isEmpty: Bool { (0..<4).allSatisfy { words[$0] == 0 } }
    /// The lowest, which that time's driver injected first.
    var first: UInt8? {
        for index in 0..<4 where words[index] != 0 { return UInt8(64 * index + words[index].trailingZeroBitCount) }
        return nil
    }

    mutating func insert(_ vector: UInt8) { words[Int(vector >> 6)] |= 1 << UInt64(vector & 63) }
    mutating func remove(_ vector: UInt8) { words[Int(vector >> 6)] &= ~(1 << UInt64(vector & 63)) }
}

extension Record {
    /// Some of its bytes; zero where they would lie outside.
    func part(_ offset: Int, _ count: Int) -> Record {
        Record((offset..<offset + count).map { load($0, as: UInt8.self) })
    }

    mutating func replace(_ offset: Int, _ bytes: [UInt8]) {
        for (index, byte) in bytes.enumerated() { store(byte, offset + index) }
    }
}
