import Glibc
import X86

/// MOVS, STOS, LODS, CMPS, SCAS with their REP forms. Intel SDM vol. 1, 7.3.9; vol. 2, REP.
///
/// Each iteration of a REP form is an instruction boundary: rCX, rSI and rDI are committed with it, and a fault, an event or
/// an answer from userspace is taken between two. Iterations whose memory is directly at hand run in chunks of at most a page.
protocol StringOperation {
    /// CMPS and SCAS, which REPE and REPNE may end early.
    static var compares: Bool { get }
    static var usesSource: Bool { get }
    static var usesDestination: Bool { get }
    /// One element, with nothing changed before the last access. Addresses are offsets.
    static func element<W: OperandWidth>(
        _ cpu: CPU, _ cursor: OpCursor, _ source: UInt64, _ destination: UInt64, _: W.Type) throws(Stop)
    /// Up to `count` elements upward from host memory; how many were done, 0 where the operation has no such way.
    static func bulk<W: OperandWidth>(_ cpu: CPU, _ span: HostSpan, _: W.Type)
}

extension StringOperation {
    @inline(__always) static var compares: Bool { false }
    @inline(__always) static var usesSource: Bool { true }
    @inline(__always) static var usesDestination: Bool { true }
}

/// Host memory of a chunk of a string instruction.
///
/// SAFETY: `count` elements from each address that the operation uses lie in one page of guest memory each.
@safe struct HostSpan {
    var source: UnsafeRawPointer
    var destination: UnsafeMutableRawPointer
    var count: Int

    /// Copies elements upward, one after the other where they overlap, so that a pattern repeats itself.
    @inline(__always) func copy<W: OperandWidth>(_: W.Type) {
        let bytes = count &* W.bytes
        let distance = unsafe UInt(bitPattern: destination) &- UInt(bitPattern: source)
        if distance >= UInt(bytes) {
            unsafe memmove(destination, source, bytes)
            return
        }
        for index in 0..<count {
            let value = unsafe source.loadUnaligned(fromByteOffset: index &* W.bytes, as: W.self)
            unsafe destination.storeBytes(of: value, toByteOffset: index &* W.bytes, as: W.self)
        }
    }

    @inline(__always) func fill<W: OperandWidth>(_ value: W) {
        let low = UInt8(truncatingIfNeeded: value)
        if W.bits == 8 || value == 0 {
            unsafe memset(destination, Int32(low), count &* W.bytes)
            return
        }
        for index in 0..<count { unsafe destination.storeBytes(of: value, toByteOffset: index &* W.bytes, as: W.self) }
    }
}

enum MoveString: StringOperation {
    @inline(__always) static func element<W: OperandWidth>(
        _ cpu: CPU, _ cursor: OpCursor, _ source: UInt64, _ destination: UInt64, _: W.Type
    ) throws(Stop) {
        let value: W = try cpu.readString(cursor, source)
        try cpu.write(try cpu.destinationLinear(cursor, destination, size: W.bytes, .write), .es, value)
    }
    @inline(__always) static func bulk<W: OperandWidth>(_ cpu: CPU, _ span: HostSpan, _: W.Type) { span.copy(W.self) }
}

enum StoreString: StringOperation {
    @inline(__always) static var usesSource: Bool { false }
    @inline(__always) static func element<W: OperandWidth>(
        _ cpu: CPU, _ cursor: OpCursor, _ source: UInt64, _ destination: UInt64, _: W.Type
    ) throws(Stop) {
        try cpu.write(
            try cpu.destinationLinear(cursor, destination, size: W.bytes, .write), .es, W(truncatingIfNeeded: cpu.rax))
    }
    @inline(__always) static func bulk<W: OperandWidth>(_ cpu: CPU, _ span: HostSpan, _: W.Type) {
        span.fill(W(truncatingIfNeeded: cpu.rax))
    }
}

enum LoadString: StringOperation {
    @inline(__always) static var usesDestination: Bool { false }
    @inline(__always) static func element<W: OperandWidth>(
        _ cpu: CPU, _ cursor: OpCursor, _ source: UInt64, _ destination: UInt64, _: W.Type
    ) throws(Stop) {
        cpu.setRegister(CPUState.offset(ofRegister: 0), try cpu.readString(cursor, source, as: W.self))
    }
    @inline(__always) static func bulk<W: OperandWidth>(_ cpu: CPU, _ span: HostSpan, _: W.Type) {}
}

enum CompareString: StringOperation {
    @inline(__always) static var compares: Bool { true }
    @inline(__always) static func element<W: OperandWidth>(
        _ cpu: CPU, _ cursor: OpCursor, _ source: UInt64, _ destination: UInt64, _: W.Type
    ) throws(Stop) {
        // Where both fault, the manuals leave open which does, and processors of one vendor differ.
        let a: W = try cpu.readString(cursor, source)
        let b: W = try cpu.read(try cpu.destinationLinear(cursor, destination, size: W.bytes, .read), .es)
        cpu.setFlagsSubtracting(a, b, a &- b)
    }
    @inline(__always) static func bulk<W: OperandWidth>(_ cpu: CPU, _ span: HostSpan, _: W.Type) {}
}

enum ScanString: StringOperation {
    @inline(__always) static var compares: Bool { true }
    @inline(__always) static var usesSource: Bool { false }
    @inline(__always) static func element<W: OperandWidth>(
        _ cpu: CPU, _ cursor: OpCursor, _ source: UInt64, _ destination: UInt64, _: W.Type
    ) throws(Stop) {
        let b: W = try cpu.read(try cpu.destinationLinear(cursor, destination, size: W.bytes, .read), .es)
        let a = W(truncatingIfNeeded: cpu.rax)
        cpu.setFlagsSubtracting(a, b, a &- b)
    }
    @inline(__always) static func bulk<W: OperandWidth>(_ cpu: CPU, _ span: HostSpan, _: W.Type) {}
}

extension CPU {
    /// The linear address of an offset in ES, which no prefix replaces.
    @inline(__always) func destinationLinear(_ cursor: OpCursor, _ offset: UInt64, size: Int, _ access: MemoryAccess)
        throws(Stop) -> UInt64
    {
        if cursor.op.addressing != .checked { return offset }
        return try checkedLinear(.es, offset: offset, size: size, access)
    }

    @inline(__always) func readString<W: OperandWidth>(_ cursor: OpCursor, _ offset: UInt64, as type: W.Type = W.self)
        throws(Stop) -> W
    {
        try read(try linearAddress(cursor, offset: offset, size: W.bytes, .read), cursor.op.segment)
    }

    /// Replaces what address size leaves of a string's index or counter.
    @inline(__always) private func setStringRegister(_ cursor: OpCursor, _ number: UInt8, _ value: UInt64) {
        let offset = CPUState.offset(ofRegister: number)
        switch cursor.op.addressSize {
        case 8: setRegister(offset, value)
        case 4: setRegister(offset, UInt32(truncatingIfNeeded: value))
        default: setRegister(offset, UInt16(truncatingIfNeeded: value))
        }
    }

    private static var counter: UInt8 { 1 }
    private static var sourceIndex: UInt8 { 6 }
    private static var destinationIndex: UInt8 { 7 }

    @inline(__always) private var goesDown: Bool { state.systemFlags & RFLAGS.DF.rawValue != 0 }

    /// One element without REP, or one iteration.
    @inline(__always) private func iterate<O: StringOperation, W: OperandWidth>(
        _ cursor: OpCursor, _: O.Type, _: W.Type
    ) throws(Stop) {
        let mask = addressMask(cursor)
        let source = rsi & mask
        let destination = rdi & mask
        try O.element(self, cursor, source, destination, W.self)
        let step = goesDown ? 0 &- UInt64(W.bytes) : UInt64(W.bytes)
        if O.usesSource { setStringRegister(cursor, CPU.sourceIndex, source &+ step) }
        if O.usesDestination { setStringRegister(cursor, CPU.destinationIndex, destination &+ step) }
    }

    @inline(__always) func string<O: StringOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type) -> UInt
    {
        straight(cursor) { () throws(Stop) in try iterate(cursor, O.self, W.self) }
    }

    /// REP, REPE (`op.detail` 1) and REPNE (`op.detail` 0).
    @inline(__always) func repeatString<O: StringOperation, W: OperandWidth>(_ cursor: OpCursor, _: O.Type, _: W.Type)
        -> UInt
    {
        let mask = addressMask(cursor)
        if rcx & mask == 0 { return proceed(cursor) }
        let isCareful = processor.underWay.isCareful
        let allowsBulk = !isCareful && !goesDown && O.usesDestination && !O.compares
        do throws(Stop) {
            while true {
                let count = rcx & mask
                if allowsBulk, let span = span(cursor, count, O.self, W.self) {
                    O.bulk(self, span, W.self)
                    let bytes = UInt64(span.count &* W.bytes)
                    if O.usesSource { setStringRegister(cursor, CPU.sourceIndex, rsi &+ bytes) }
                    setStringRegister(cursor, CPU.destinationIndex, rdi &+ bytes)
                    setStringRegister(cursor, CPU.counter, count &- UInt64(span.count))
                } else {
                    try iterate(cursor, O.self, W.self)
                    setStringRegister(cursor, CPU.counter, count &- 1)
                    if O.compares, zeroFlag != (cursor.op.detail != 0) { return proceed(cursor) }
                }
                if rcx & mask == 0 { return proceed(cursor) }
                if isCareful || exitRequest != 0 {
                    state.rip = instructionRIP
                    resumeBetweenIterations()
                    return stopped(.boundary)
                }
            }
        } catch {
            return stopped(error)
        }
    }

    /// An event between two iterations finds RF set, so that the return from it meets no breakpoint on an instruction that
    /// has begun. Intel SDM vol. 3, 17.3.1.1.
    func resumeBetweenIterations() {
        // Where nothing can come of it RF would only make the rest go one by one.
        guard exitRequest != 0 || processor.isStepping || hasFlag(.TF) else { return }
        state.systemFlags |= RFLAGS.RF.rawValue
    }

    /// The longest run upward, at most `count` elements, that lies in one page of directly reachable memory on each side;
    /// nil where that is not even one whole element.
    @inline(__always) private func span<O: StringOperation, W: OperandWidth>(
        _ cursor: OpCursor, _ count: UInt64, _: O.Type, _: W.Type
    ) -> HostSpan? {
        let mask = addressMask(cursor)
        let destination = rdi & mask
        let source = rsi & mask
        // No offset wraps within a chunk.
        var bytes = min(mask &- destination, 4095) &+ 1
        if O.usesSource { bytes = min(bytes, min(mask &- source, 4095) &+ 1) }
        guard bytes >= UInt64(W.bytes),
            let target = try? destinationLinear(cursor, destination, size: W.bytes, .write)
        else { return nil }
        bytes = min(bytes, 4096 &- (target & 4095))
        var origin = target
        if O.usesSource {
            guard let linear = try? linearAddress(cursor, offset: source, size: W.bytes, .read) else { return nil }
            origin = linear
            bytes = min(bytes, 4096 &- (origin & 4095))
        }
        let elements = min(count, bytes / UInt64(W.bytes))
        guard elements > 0 else { return nil }
        let length = Int(truncatingIfNeeded: elements) &* W.bytes
        if cursor.op.addressing == .checked {
            // Segment limits hold for the whole chunk, or it is done by the element.
            guard (try? destinationLinear(cursor, destination, size: length, .write)) != nil else { return nil }
            if O.usesSource, (try? linearAddress(cursor, offset: source, size: length, .read)) == nil { return nil }
        }
        guard let to = unsafe hostAddressForWrite(target, size: length) else { return nil }
        guard O.usesSource else {
            return unsafe HostSpan(source: UnsafeRawPointer(to), destination: to, count: Int(elements))
        }
        guard let from = unsafe hostAddressForRead(origin, size: length) else { return nil }
        return unsafe HostSpan(source: from, destination: to, count: Int(elements))
    }
}

/// The handlers of a string instruction by width, alone and with REP.
struct StringForms: Sendable {
    var once: Widths
    var repeated: Widths

    func lower(_ l: inout Lowering) -> Bool {
        var size: UInt8 = 0
        for operand in [l.operand0, l.operand1] {
            switch operand {
            case .stringSource(let bytes), .stringDestination(let bytes): size = bytes
            default: break
            }
        }
        guard size != 0 else { return false }
        let prefixes = l.op.prefixes
        l.op.detail = prefixes.contains(.rep) ? 1 : 0
        return l.use((prefixes.contains(.rep) || prefixes.contains(.repne) ? repeated : once)[size])
    }
}

extension Interpreter {
    static let strings: [(Mnemonic, Lowering.Lowerer)] = [
        (.movs, { movs.lower(&$0) }), (.stos, { stos.lower(&$0) }), (.lods, { lods.lower(&$0) }),
        (.cmps, { cmps.lower(&$0) }),
        (.scas, { scas.lower(&$0) }),
    ]

    private static let movs = StringForms(
        once: Widths(
            byte: { CPU($0).string(OpCursor($1), MoveString.self, UInt8.self) },
            word: { CPU($0).string(OpCursor($1), MoveString.self, UInt16.self) },
            long: { CPU($0).string(OpCursor($1), MoveString.self, UInt32.self) },
            quad: { CPU($0).string(OpCursor($1), MoveString.self, UInt64.self) }),
        repeated: Widths(
            byte: { CPU($0).repeatString(OpCursor($1), MoveString.self, UInt8.self) },
            word: { CPU($0).repeatString(OpCursor($1), MoveString.self, UInt16.self) },
            long: { CPU($0).repeatString(OpCursor($1), MoveString.self, UInt32.self) },
            quad: { CPU($0).repeatString(OpCursor($1), MoveString.self, UInt64.self) }))

    private static let stos = StringForms(
        once: Widths(
            byte: { CPU($0).string(OpCursor($1), StoreString.self, UInt8.self) },
            word: { CPU($0).string(OpCursor($1), StoreString.self, UInt16.self) },
            long: { CPU($0).string(OpCursor($1), StoreString.self, UInt32.self) },
            quad: { CPU($0).string(OpCursor($1), StoreString.self, UInt64.self) }),
        repeated: Widths(
            byte: { CPU($0).repeatString(OpCursor($1), StoreString.self, UInt8.self) },
            word: { CPU($0).repeatString(OpCursor($1), StoreString.self, UInt16.self) },
            long: { CPU($0).repeatString(OpCursor($1), StoreString.self, UInt32.self) },
            quad: { CPU($0).repeatString(OpCursor($1), StoreString.self, UInt64.self) }))

    private static let lods = StringForms(
        once: Widths(
            byte: { CPU($0).string(OpCursor($1), LoadString.self, UInt8.self) },
            word: { CPU($0).string(OpCursor($1), LoadString.self, UInt16.self) },
            long: { CPU($0).string(OpCursor($1), LoadString.self, UInt32.self) },
            quad: { CPU($0).string(OpCursor($1), LoadString.self, UInt64.self) }),
        repeated: Widths(
            byte: { CPU($0).repeatString(OpCursor($1), LoadString.self, UInt8.self) },
            word: { CPU($0).repeatString(OpCursor($1), LoadString.self, UInt16.self) },
            long: { CPU($0).repeatString(OpCursor($1), LoadString.self, UInt32.self) },
            quad: { CPU($0).repeatString(OpCursor($1), LoadString.self, UInt64.self) }))

    private static let cmps = StringForms(
        once: Widths(
            byte: { CPU($0).string(OpCursor($1), CompareString.self, UInt8.self) },
            word: { CPU($0).string(OpCursor($1), CompareString.self, UInt16.self) },
            long: { CPU($0).string(OpCursor($1), CompareString.self, UInt32.self) },
            quad: { CPU($0).string(OpCursor($1), CompareString.self, UInt64.self) }),
        repeated: Widths(
            byte: { CPU($0).repeatString(OpCursor($1), CompareString.self, UInt8.self) },
            word: { CPU($0).repeatString(OpCursor($1), CompareString.self, UInt16.self) },
            long: { CPU($0).repeatString(OpCursor($1), CompareString.self, UInt32.self) },
            quad: { CPU($0).repeatString(OpCursor($1), CompareString.self, UInt64.self) }))

    private static let scas = StringForms(
        once: Widths(
            byte: { CPU($0).string(OpCursor($1), ScanString.self, UInt8.self) },
            word: { CPU($0).string(OpCursor($1), ScanString.self, UInt16.self) },
            long: { CPU($0).string(OpCursor($1), ScanString.self, UInt32.self) },
            quad: { CPU($0).string(OpCursor($1), ScanString.self, UInt64.self) }),
        repeated: Widths(
            byte: { CPU($0).repeatString(OpCursor($1), ScanString.self, UInt8.self) },
            word: { CPU($0).repeatString(OpCursor($1), ScanString.self, UInt16.self) },
            long: { CPU($0).repeatString(OpCursor($1), ScanString.self, UInt32.self) },
            quad: { CPU($0).repeatString(OpCursor($1), ScanString.self, UInt64.self) }))
}
