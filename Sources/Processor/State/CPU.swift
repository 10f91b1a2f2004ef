import Synchronization
import X86

/// A vCPU's state by its address: what instruction semantics work on.
///
/// SAFETY: the pointer is valid for as long as the `VirtualProcessor` that made it lives, is used by one thread at a
/// time, and register offsets come from `CPUState.offset(…)` only, so that every access lies inside the struct. Behind it
/// lie the requests.
@safe struct CPU {
    let pointer: UnsafeMutablePointer<CPUState>

    @inline(__always) init(_ address: UInt) {
        unsafe pointer = UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
    }

    /// What handlers are given.
    @inline(__always) var address: UInt { unsafe UInt(bitPattern: pointer) }

    @inline(__always) var state: CPUState {
        unsafeAddress { unsafe UnsafePointer(pointer) }
        nonmutating unsafeMutableAddress { unsafe pointer }
    }

    @inline(__always) var processor: VirtualProcessor { unsafe pointer.pointee.processor }

    // MARK: Requests

    /// Bytes of a state, of the requests behind it, which other threads write and so are no part of it, and of what emitted code
    /// keeps.
    static let byteCount = EmittedData.end

    /// `ExitRequest`s that wait.
    @unsafe @inline(__always) var requests: UnsafeMutablePointer<Atomic<UInt32>> {
        unsafe (UnsafeMutableRawPointer(pointer) + MemoryLayout<CPUState>.stride)
            .assumingMemoryBound(to: Atomic<UInt32>.self)
    }

    /// Non-zero when the run loop must look before the next block; see `ExitRequest`.
    @inline(__always) var exitRequest: UInt32 { unsafe requests.pointee.load(ordering: .relaxed) }

    // MARK: Registers

    /// The register at `offset` in width `W`.
    @inline(__always) func register<W: OperandWidth>(_ offset: UInt16, as type: W.Type = W.self) -> W {
        unsafe UnsafeRawPointer(pointer).load(fromByteOffset: Int(offset), as: W.self)
    }

    /// Writes a register; 32-bit writes clear the upper half. Intel SDM vol. 1, 3.4.1.1.
    @inline(__always) func setRegister<W: OperandWidth>(_ offset: UInt16, _ value: W) {
        let place = unsafe UnsafeMutableRawPointer(pointer) + Int(offset)
        if W.bits == 32 {
            unsafe place.storeBytes(of: UInt64(truncatingIfNeeded: value), as: UInt64.self)
        } else {
            unsafe place.storeBytes(of: value, as: W.self)
        }
    }

    /// General register `number` (0…15), all 64 bits.
    @inline(__always) subscript(number: UInt8) -> UInt64 {
        get { register(CPUState.offset(ofRegister: number), as: UInt64.self) }
        nonmutating set { setRegister(CPUState.offset(ofRegister: number), newValue) }
    }

    @inline(__always) var rax: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 0] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 0] = newValue }
    }
    @inline(__always) var rcx: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 1] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 1] = newValue }
    }
    @inline(__always) var rdx: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 2] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 2] = newValue }
    }
    @inline(__always) var rbx: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 3] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 3] = newValue }
    }
    @inline(__always) var rsp: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 4] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 4] = newValue }
    }
    @inline(__always) var rbp: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 5] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 5] = newValue }
    }
    @inline(__always) var rsi: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 6] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 6] = newValue }
    }
    @inline(__always) var rdi: UInt64 {
        get { unsafe pointer.pointee.registers[unchecked: 7] }
        nonmutating set { unsafe pointer.pointee.registers[unchecked: 7] = newValue }
    }

    /// The segment register `name`.
    @inline(__always) subscript(segment name: SegmentName) -> SegmentRegister {
        get { unsafe pointer.pointee.segments[unchecked: Int(name.rawValue)] }
        nonmutating set { unsafe pointer.pointee.segments[unchecked: Int(name.rawValue)] = newValue }
    }

    // MARK: The running instruction

    /// The RIP of the running instruction, from its op.
    @inline(__always) var instructionRIP: UInt64 {
        let cursor = OpCursor(state.currentOp)
        return maskedRIP(state.blockRIP &+ UInt64(cursor.op.nextOffset) &- UInt64(cursor.op.length))
    }

    /// The RIP behind the running instruction.
    @inline(__always) func followingRIP(_ cursor: OpCursor) -> UInt64 {
        maskedRIP(state.blockRIP &+ UInt64(cursor.op.nextOffset))
    }

    /// A RIP cut to what the code size can hold.
    @inline(__always) func maskedRIP(_ rip: UInt64) -> UInt64 {
        state.codeMode.codeSize == 8 ? rip : rip & 0xFFFF_FFFF
    }

    /// Makes the current op stop with `stop`; for handlers to return.
    @inline(__always) func stopped(_ stop: Stop) -> UInt {
        state.stop = stop
        return 0
    }
}
