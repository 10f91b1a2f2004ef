import X86

/// A stack that an event or a far transfer reads or fills before anything is committed: a segment and a pointer of its own.
///
/// Intel SDM vol. 1, 6.2 (stacks) and 6.4 (procedure calls and interrupts).
struct StackFrame {
    let cpu: CPU
    let segment: SegmentRegister
    var pointer: UInt64
    /// Bytes of the stack pointer: 2, 4 or 8.
    let width: Int
    /// Error code of the #SS that leaving the segment raises.
    var errorCode: UInt32 = 0

    /// The stack as it is now.
    init(_ cpu: CPU) {
        self.cpu = cpu
        segment = cpu[segment: .ss]
        width = cpu.is64Bit ? 8 : segment.attributes & SegmentRegister.big != 0 ? 4 : 2
        pointer = cpu.rsp
    }

    /// Another stack of protected mode.
    init(_ cpu: CPU, segment: SegmentRegister, pointer: UInt64, errorCode: UInt32) {
        self.cpu = cpu
        self.segment = segment
        self.pointer = pointer
        self.errorCode = errorCode
        width = segment.attributes & SegmentRegister.big != 0 ? 4 : 2
    }

    /// Another stack of 64-bit mode.
    init(_ cpu: CPU, flat pointer: UInt64, errorCode: UInt32) {
        self.cpu = cpu
        self.pointer = pointer
        self.errorCode = errorCode
        segment = SegmentRegister(limit: .max, attributes: SegmentRegister.unusable)
        width = 8
    }

    private var mask: UInt64 { width == 8 ? .max : width == 4 ? 0xFFFF_FFFF : 0xFFFF }
    private var fault: Stop { .fault(Exception.stackFault.vector, code: errorCode) }

    private func linear(_ size: Int) throws(Stop) -> UInt64 {
        let offset = pointer & mask
        let last = offset &+ UInt64(size - 1)
        if width == 8 {
            guard CPU.isCanonical(offset), CPU.isCanonical(last) else { throw fault }
            return offset
        }
        if segment.attributes & 0x0C == 0x04 {
            guard offset > UInt64(segment.limit),
                last <= (segment.attributes & SegmentRegister.big != 0 ? 0xFFFF_FFFF : 0xFFFF)
            else { throw fault }
        } else {
            guard last <= UInt64(segment.limit) else { throw fault }
        }
        return (segment.base &+ offset) & 0xFFFF_FFFF
    }

    /// Checks that `count` elements of `size` bytes can be pushed, as far as the segment is concerned. Transfers make sure of
    /// their room before the checks that follow, and write after them.
    func reserve(_ count: Int, size: Int) throws(Stop) {
        var frame = self
        for _ in 0..<count {
            frame.pointer &-= UInt64(size)
            _ = try frame.linear(size)
        }
    }

    /// Pushes the low `size` bytes (2, 4, 8) of `value`.
    mutating func push(_ value: UInt64, size: Int) throws(Stop) {
        let old = pointer
        pointer = pointer &- UInt64(size)
        do throws(Stop) {
            let linear = try linear(size)
            switch size {
            case 2: try cpu.write(linear, .ss, UInt16(truncatingIfNeeded: value))
            case 4: try cpu.write(linear, .ss, UInt32(truncatingIfNeeded: value))
            default: try cpu.write(linear, .ss, value)
            }
        } catch {
            pointer = old
            throw error
        }
    }

    /// The element on top, `size` bytes.
    mutating func pop(size: Int) throws(Stop) -> UInt64 {
        let linear = try linear(size)
        let value: UInt64
        switch size {
        case 2: value = UInt64(try cpu.read(linear, .ss, as: UInt16.self))
        case 4: value = UInt64(try cpu.read(linear, .ss, as: UInt32.self))
        default: value = try cpu.read(linear, .ss)
        }
        pointer = pointer &+ UInt64(size)
        return value
    }

    /// `count` elements of `size` bytes, the one on top first. AMD's processors read the last one first, which shows where one
    /// of them faults.
    mutating func popFrame<let count: Int>(size: Int) throws(Stop) -> InlineArray<count, UInt64> {
        var elements = InlineArray<count, UInt64>(repeating: 0)
        let descends = cpu.state.codeMode.contains(.amd)
        for step in elements.indices {
            let index = descends ? count - 1 - step : step
            var place = self
            place.pointer = pointer &+ UInt64(index * size)
            elements[index] = try place.pop(size: size)
        }
        pointer = pointer &+ UInt64(count * size)
        return elements
    }

    /// Takes the pointer over into RSP, as wide as the stack is.
    func commit() { commit(pointer, width: width) }

    func commit(_ pointer: UInt64, width: Int) {
        switch width {
        case 2: cpu.setRegister(CPUState.offset(ofRegister: 4), UInt16(truncatingIfNeeded: pointer))
        case 4: cpu.rsp = pointer & 0xFFFF_FFFF
        default: cpu.rsp = pointer
        }
    }
}
