// What the manual says that an instruction does: its operation sections and tables, written down a second time and apart
// from the implementation. One instruction is executed on a copy of the state, then the OUT that ends a case; a fault goes
// through the tables in memory as far as a double fault and shutdown. Intel SDM vol. 2; vol. 3, chapters 3, 5, 6 and 7.

import GuestMemory
import KVMABI

/// An exception, with its error code where it has one.
struct Fault: Error, Equatable {
    var vector: UInt8
    var code: UInt32?
    /// The address of a page fault.
    var cr2: UInt64?

    init(vector: UInt8, code: UInt32?, cr2: UInt64? = nil) {
        self.vector = vector
        self.code = code
        self.cr2 = cr2
    }

    static let invalidOpcode = Fault(vector: 6, code: nil)
    static let generalProtection = Fault(vector: 13, code: 0)

    static func ts(_ selector: UInt16, _ ext: UInt32 = 0) -> Fault {
        Fault(vector: 10, code: UInt32(selector & 0xFFFC) | ext)
    }
    static func np(_ selector: UInt16, _ ext: UInt32 = 0) -> Fault {
        Fault(vector: 11, code: UInt32(selector & 0xFFFC) | ext)
    }
    static func ss(_ selector: UInt16, _ ext: UInt32 = 0) -> Fault {
        Fault(vector: 12, code: UInt32(selector & 0xFFFC) | ext)
    }
    static func gp(_ selector: UInt16, _ ext: UInt32 = 0) -> Fault {
        Fault(vector: 13, code: UInt32(selector & 0xFFFC) | ext)
    }
}

struct Model {
    var state: MachineState
    let memory: GuestMemory
    /// A triple fault.
    var isShutDown = false
    /// What was at the places that this attempt has written, oldest first: a fault takes everything back.
    private var undo: [(address: UInt64, byte: UInt8)] = []

    init(_ state: MachineState, _ memory: GuestMemory) {
        self.state = state
        self.memory = memory
    }

    // MARK: Modes

    var isReal: Bool { state.special.cr0 & 1 == 0 }
    var isV86: Bool { state.general.rflags & 1 << 17 != 0 }
    var isRealOrV86: Bool { isReal || isV86 }
    var isLongMode: Bool { state.special.efer & 1 << 10 != 0 }
    var is64Bit: Bool { isLongMode && state.special.cs.l != 0 }
    var cpl: UInt8 { isReal ? 0 : isV86 ? 3 : state.special.ss.dpl }
    var iopl: UInt8 { UInt8(state.general.rflags >> 12 & 3) }

    func flag(_ bit: UInt64) -> Bool { state.general.rflags & bit != 0 }
    mutating func set(_ bit: UInt64, _ on: Bool) {
        if on { state.general.rflags |= bit } else { state.general.rflags &= ~bit }
    }

    static func isCanonical(_ address: UInt64) -> Bool {
        Int64(bitPattern: address << 16) >> 16 == Int64(bitPattern: address)
    }

    // MARK: Memory

    func read<T: FixedWidthInteger & BitwiseCopyable>(_ linear: UInt64, as type: T.Type = T.self) -> T {
        (try? memory.load(type, at: linear)) ?? T.max
    }

    mutating func write<T: FixedWidthInteger & BitwiseCopyable>(_ linear: UInt64, _ value: T) {
        for offset in 0..<UInt64(T.bitWidth / 8) { undo.append((linear + offset, read(linear + offset))) }
        try? memory.store(value, at: linear)
    }

    /// From here on a fault leaves what is written.
    mutating func commitWrites() { undo = [] }

    private mutating func takeBack() {
        for (address, byte) in undo.reversed() { try? memory.store(byte, at: address) }
        undo = []
    }

    /// Tries something that is to leave nothing behind if it faults.
    mutating func attempt(_ body: (inout Model) throws(Fault) -> Void) -> Fault? {
        let before = state
        undo = []
        do throws(Fault) {
            try body(&self)
            return nil
        } catch {
            takeBack()
            state = before
            return error
        }
    }

    // MARK: A case

    /// Executes `instruction`, which is `length` bytes long, and the OUT behind it or in a handler.
    mutating func execute(length: UInt64, _ instruction: (inout Model) throws(Fault) -> Void) -> CaseExit {
        let fault = attempt { (model: inout Model) throws(Fault) in
            model.state.general.rip &+= length
            try instruction(&model)
        }
        if let fault { raise(fault) }
        return end()
    }

    /// `out 0, al` at CS:RIP, once more if its own #GP leads to a handler that may.
    mutating func end() -> CaseExit {
        for _ in 0..<4 where !isShutDown {
            let isFetched = is64Bit || state.general.rip + 1 <= UInt64(state.special.cs.limit)
            guard isFetched, mayAccessPorts else {
                raise(.generalProtection)
                continue
            }
            state.general.rip &+= 2
            state.general.rflags &= ~(1 << 16)
            return .out(port: 0, size: 1, count: 1, value: UInt32(state.general.rax & 0xFF))
        }
        return .shutdown
    }

    /// Port 0. Intel SDM vol. 1, 20.5: IOPL, and the permission map of a 32-bit or 64-bit TSS.
    private var mayAccessPorts: Bool {
        if isReal || (!isV86 && cpl <= iopl) { return true }
        let task = state.special.tr
        guard task.type & 8 != 0, task.limit >= 0x67 else { return false }
        let map = UInt64(read(task.base + 0x66, as: UInt16.self))
        guard map + 1 <= UInt64(task.limit) else { return false }
        return read(task.base + map, as: UInt8.self) & 1 == 0
    }

    // MARK: Exceptions. Vol. 3, 6.15 and table 6-5.

    /// Delivers an exception, or what comes of its delivery.
    mutating func raise(_ first: Fault) {
        var fault = first
        for _ in 0..<16 {
            let event = fault
            if let address = event.cr2 { state.special.cr2 = address }
            let next = attempt { (model: inout Model) throws(Fault) in
                try model.deliver(event.vector, code: event.code, source: .exception, next: model.state.general.rip)
            }
            guard let next else { return }
            if fault.vector == 8 { break }
            let first = Model.faultClass(fault.vector), second = Model.faultClass(next.vector)
            let isDouble = second != .benign && (first == .pageFault || (first == .contributory && second == first))
            fault = isDouble ? Fault(vector: 8, code: 0) : next
        }
        isShutDown = true
    }

    private enum FaultClass { case benign, contributory, pageFault }
    private static func faultClass(_ vector: UInt8) -> FaultClass {
        switch vector {
        case 0, 10, 11, 12, 13: .contributory
        case 14: .pageFault
        default: .benign
        }
    }

    // MARK: Stacks

    /// Where a push or pop goes: the stack as it is, or one that is about to be switched to.
    struct Stack {
        var segment: kvm_segment
        var pointer: UInt64
        /// Bytes of the stack pointer.
        var width: Int
        /// The error code of its #SS.
        var code: UInt32 = 0

        var mask: UInt64 { width == 8 ? .max : width == 4 ? 0xFFFF_FFFF : 0xFFFF }
    }

    var stack: Stack {
        Stack(
            segment: state.special.ss, pointer: state.general.rsp, width: is64Bit ? 8 : state.special.ss.db != 0 ? 4 : 2
        )
    }

    private func place(_ stack: Stack, _ size: Int) throws(Fault) -> UInt64 {
        let offset = stack.pointer & stack.mask
        let last = offset &+ UInt64(size - 1)
        if stack.width == 8 {
            guard Model.isCanonical(offset), Model.isCanonical(last) else { throw Fault(vector: 12, code: stack.code) }
            return offset
        }
        let limit = UInt64(stack.segment.limit)
        let isExpandDown = stack.segment.type & 0xC == 4
        let inside = isExpandDown ? offset > limit && last <= stack.mask : last <= limit
        guard inside else { throw Fault(vector: 12, code: stack.code) }
        return (stack.segment.base &+ offset) & 0xFFFF_FFFF
    }

    mutating func push(_ value: UInt64, _ size: Int, on stack: inout Stack) throws(Fault) {
        var moved = stack
        moved.pointer &-= UInt64(size)
        let place = try place(moved, size)
        switch size {
        case 2: write(place, UInt16(truncatingIfNeeded: value))
        case 4: write(place, UInt32(truncatingIfNeeded: value))
        default: write(place, value)
        }
        stack = moved
    }

    func pop(_ size: Int, from stack: inout Stack) throws(Fault) -> UInt64 {
        let place = try place(stack, size)
        stack.pointer &+= UInt64(size)
        return switch size {
        case 2: UInt64(read(place, as: UInt16.self))
        case 4: UInt64(read(place, as: UInt32.self))
        default: read(place)
        }
    }

    /// Takes a stack's pointer over into RSP.
    mutating func commit(_ stack: Stack) {
        switch stack.width {
        case 2: state.general.rsp = state.general.rsp & ~0xFFFF | stack.pointer & 0xFFFF
        case 4: state.general.rsp = stack.pointer & 0xFFFF_FFFF
        default: state.general.rsp = stack.pointer
        }
    }
}
