import FuzzInput
import GuestMemory
import X86

@testable import Processor

/// One input's machine: a processor and the reference over the same small memory.
struct PagingCase {
    static let memorySize = 64 << 10

    private var input: FuzzInput
    private var reference: ReferenceWalk
    private var mirror = FlatMemory(bytes: [UInt8](repeating: 0, count: memorySize))
    private let machine = unsafe PagingMachine.shared
    private let cpl: UInt8
    private let is64Bit: Bool
    /// Linear addresses that paths have been made for.
    private var places: [UInt64] = []

    init(_ input: FuzzInput) {
        self.input = input
        let controls = self.input.byte(), rights = self.input.byte()
        let mode = ReferenceWalk.Mode(rawValue: controls & 3) ?? .none
        let bits = 36 + Int(self.input.byte() % 17)
        let options = self.input.byte(), table = UInt64(self.input.byte())
        cpl = rights & 3
        is64Bit = mode == .fourLevel && options & 2 == 0
        reference = ReferenceWalk(
            mode: mode, cr3: mode == .pae ? (table & 15) << 12 | (table >> 4) << 5 : (table & 15) << 12,
            writeProtect: controls & 4 != 0, pse: controls & 8 != 0, smep: controls & 16 != 0,
            smap: controls & 32 != 0, nxe: controls & 64 != 0, physicalBits: bits, gigabytePages: options & 1 != 0,
            ac: rights & 4 != 0)
    }

    mutating func run() {
        begin()
        while !input.isAtEnd {
            let operation = input.byte()
            switch operation & 7 {
            case 0: makePath()
            case 1: poke()
            default: access(operation)
            }
        }
        requireSameMemory("in the end")
    }

    // MARK: State

    private mutating func begin() {
        machine.clear()
        let processor = machine.processor
        machine.physicalBits = UInt32(reference.physicalBits)
        machine.gigabytePages = reference.gigabytePages
        let mode = reference.mode
        processor.reset()
        processor.state.cr0 = 0x11 | (mode == .none ? 0 : 1 << 31) | (reference.writeProtect ? 1 << 16 : 0)
        processor.state.cr3 = reference.cr3
        processor.state.cr4 =
            (mode == .pae || mode == .fourLevel ? 0x20 : 0) | (reference.pse ? 0x10 : 0)
            | (reference.smep ? 1 << 20 : 0) | (reference.smap ? 1 << 21 : 0) | 0x80
        processor.state.efer = (mode == .fourLevel ? 0x500 : 0) | (reference.nxe ? 0x800 : 0)
        processor.state.cpl = cpl
        processor.rflags = 2 | (reference.ac ? 1 << 18 : 0)
        let data = SegmentRegister(base: 0, limit: .max, selector: 0x10, attributes: 0xC093 | UInt16(cpl) << 5)
        for index in [0, 2, 3, 4, 5] { processor.state.segments[index] = data }
        processor.state.segments[1] = SegmentRegister(
            base: 0, limit: .max, selector: 8, attributes: (is64Bit ? 0xA09B : 0xC09B) | UInt16(cpl) << 5)
        changed()
    }

    /// Software has changed paging structures, and invalidates what it must.
    private mutating func changed() {
        if reference.mode == .pae {
            reference.pdptes = (0..<4).map { index in
                let place = (reference.cr3 & ~31) + UInt64(index) * 8
                // The processor refuses to load registers with reserved bits (4.4.1), so none are met in a walk.
                let reserved = 0xFFF0_0000_0000_01E6 as UInt64 | (UInt64.max << UInt64(reference.physicalBits))
                store(place, 8, mirror.load(place, 8) & ~reserved)
                return mirror.load(place, 8)
            }
        }
        machine.processor.stateChanged()
    }

    private mutating func store(_ place: UInt64, _ size: Int, _ value: UInt64) {
        mirror.store(place, size, value)
        machine.store(place, size, value)
    }

    // MARK: Paging structures

    /// The entries on the way to a linear address, each from the input.
    private mutating func makePath() {
        var linear: UInt64 = input.integer()
        let shifts: [UInt64]
        var size = 8
        switch reference.mode {
        case .none: shifts = []
        case .bits32: (shifts, size) = ([22, 12], 4)
        case .pae: shifts = [30, 21, 12]
        case .fourLevel: shifts = [39, 30, 21, 12]
        }
        linear = is64Bit ? UInt64(bitPattern: Int64(bitPattern: linear << 16) >> 16) : linear & 0xFFFF_FFFF
        var table = reference.mode == .pae ? reference.cr3 & ~31 : reference.cr3
        for shift in shifts {
            let entry = self.entry()
            let index = (linear >> shift) & (size == 4 ? 1023 : shift == 30 && reference.mode == .pae ? 3 : 511)
            store(table + index * UInt64(size), size, entry)
            table = entry & 0xF000
        }
        places.append(linear)
        changed()
    }

    /// An entry that leads into the memory, but for what a byte of the input adds to it.
    private mutating func entry() -> UInt64 {
        let raw: UInt64 = input.integer()
        let odd = input.byte()
        var entry = raw & 0xFFF0_0000_0000_FFFF
        if odd & 0x80 != 0 { entry |= 1 << UInt64(12 + odd & 0x3F % 52) }
        return entry
    }

    private mutating func poke() {
        let place = UInt64(input.integer(UInt16.self)) & ~3
        store(place, 4, UInt64(input.integer(UInt32.self)))
        changed()
    }

    // MARK: Accesses

    private mutating func access(_ operation: UInt8) {
        let which = Int(input.byte())
        var linear = places.isEmpty ? 0 : places[which % places.count]
        linear &+= UInt64(bitPattern: Int64(Int16(bitPattern: input.integer(UInt16.self))))
        let size = 1 << Int(operation >> 3 & 3)
        if operation & 0x80 != 0 { linear = (linear & ~0xFFF) &+ 4096 &- UInt64(size >> 1) }
        if !is64Bit { linear &= 0xFFFF_FFFF }
        switch operation & 7 {
        case 2, 3: read(linear, size)
        case 4, 5: write(linear, size, input.byte())
        case 6: fetch(linear)
        default: readImplicitly(linear)
        }
    }

    private var user: Bool { cpl == 3 }

    /// What an access comes to.
    private enum Outcome: Equatable {
        case value(UInt64)
        case device(UInt64)
        case pageFault(UInt32, linear: UInt64)
        case generalProtection
    }

    /// The linear addresses of an access's bytes, by page.
    private func pieces(_ linear: UInt64, _ size: Int) -> [(linear: UInt64, size: Int)] {
        let inPage = min(size, 4096 - Int(linear & 0xFFF))
        var next = linear &+ UInt64(inPage)
        // Tables wrap, but may lie anywhere in long mode, whatever the mode of the code. Operands don't wrap: `expect`.
        if reference.mode != .fourLevel { next &= 0xFFFF_FFFF }
        return inPage == size ? [(linear, size)] : [(linear, inPage), (next, size - inPage)]
    }

    private func isCanonical(_ linear: UInt64) -> Bool { linear < 1 << 47 || linear >= 0xFFFF_8000_0000_0000 }

    /// The physical pieces of an access, or the fault that it has.
    private mutating func expect(
        _ linear: UInt64, _ size: Int, _ access: ReferenceWalk.Access, implicit: Bool = false
    ) -> Result<[(physical: UInt64, size: Int)], Expected> {
        // The limit ends a flat segment of 4 GiB too: processors have it so where vol. 3, 5.3 leaves it to them.
        if !is64Bit, !implicit, linear + UInt64(size) > 1 << 32 { return .failure(Expected(.generalProtection)) }
        let pieces = pieces(linear, size)
        if is64Bit, !pieces.allSatisfy({ isCanonical($0.linear) }) { return .failure(Expected(.generalProtection)) }
        var found: [(physical: UInt64, size: Int)] = []
        for piece in pieces {
            do throws(ReferenceWalk.Fault) {
                found.append(
                    (
                        try reference.translate(
                            piece.linear, access, user: user && !implicit, implicit: implicit, in: &mirror), piece.size
                    ))
            } catch {
                allowUsedEntries()
                return .failure(Expected(.pageFault(error.code, linear: piece.linear)))
            }
        }
        return .success(found)
    }

    private struct Expected: Error {
        var outcome: Outcome
        init(_ outcome: Outcome) { self.outcome = outcome }
    }

    /// 4.8 leaves open whether a walk that ends in a fault sets A in the entries that it has used.
    private var usedEntries: [ReferenceWalk.Use] = []
    private mutating func allowUsedEntries() { usedEntries = reference.used }

    private mutating func settle(_ what: String) {
        for use in usedEntries where use.place < UInt64(PagingCase.memorySize) {
            let real = machine.load(use.place, 4), mine = mirror.load(use.place, 4)
            require(
                real == mine || real == mine | 0x20,
                "\(what): entry at \(hex(use.place)) is \(hex(real)), was \(hex(mine))")
            mirror.store(use.place, 4, real)
        }
        usedEntries = []
    }

    private mutating func read(_ linear: UInt64, _ size: Int) {
        let expected = expect(linear, size, .read)
        let actual = attempt { () throws(Stop) in
            switch size {
            case 1: UInt64(try machine.cpu.read(linear, .ds, as: UInt8.self))
            case 2: UInt64(try machine.cpu.read(linear, .ds, as: UInt16.self))
            case 4: UInt64(try machine.cpu.read(linear, .ds, as: UInt32.self))
            default: try machine.cpu.read(linear, .ds, as: UInt64.self)
            }
        }
        compare(expected.map(value), actual, "read of \(size) at \(hex(linear))")
    }

    private mutating func readImplicitly(_ linear: UInt64) {
        let expected = expect(linear, 8, .read, implicit: true)
        let actual = attempt { () throws(Stop) in try machine.cpu.readTable(linear, as: UInt64.self) }
        compare(expected.map(value), actual, "implicit read at \(hex(linear))")
    }

    private mutating func fetch(_ linear: UInt64) {
        let expected = expect(linear, 1, .fetch)
        let actual = attempt { () throws(Stop) in
            // SAFETY: the address of a byte of guest memory.
            UInt64(unsafe try machine.cpu.executableHost(linear).load(as: UInt8.self))
        }
        // Code in no memory is no access.
        if case .success(let found) = expected, found[0].physical >= UInt64(PagingCase.memorySize) {
            require(actual == nil, "fetch at \(hex(linear)) finds \(String(describing: actual))")
        } else {
            compare(expected.map(value), actual, "fetch at \(hex(linear))")
        }
    }

    private mutating func write(_ linear: UInt64, _ size: Int, _ byte: UInt8) {
        let filled = 0x0101_0101_0101_0101 * UInt64(byte)
        let expected = expect(linear, size, .write)
        if case .success(let found) = expected {
            for piece in found { mirror.store(piece.physical, piece.size, filled) }
        }
        machine.writes = []
        let actual = attempt { () throws(Stop) in
            switch size {
            case 1: try machine.cpu.write(linear, .ds, byte)
            case 2: try machine.cpu.write(linear, .ds, UInt16(truncatingIfNeeded: filled))
            case 4: try machine.cpu.write(linear, .ds, UInt32(truncatingIfNeeded: filled))
            default: try machine.cpu.write(linear, .ds, filled)
            }
            return 0
        }
        let what = "write of \(size) at \(hex(linear))"
        switch expected {
        case .failure: compare(expected.map { _ in .value(0) }, actual, what)
        case .success(let found):
            let devices = found.filter { $0.physical >= UInt64(PagingCase.memorySize) }.map(\.physical)
            if devices.isEmpty {
                require(actual == .value(0), "\(what): \(String(describing: actual))")
            } else if found.count == 1 {
                require(machine.writes == devices, "\(what): \(machine.writes.map(hex)) for \(devices.map(hex))")
            } else {
                // The instruction would be executed again, by itself; nothing may be written before.
                require(actual == nil && machine.writes.isEmpty, "\(what): \(String(describing: actual))")
                for piece in found {
                    mirror.store(piece.physical, piece.size, machine.load(piece.physical, piece.size))
                }
            }
            settle(what)
            requireSameMemory(what)
        }
        // What was written may have been a table.
        changed()
    }

    private func value(_ found: [(physical: UInt64, size: Int)]) -> Outcome {
        if let device = found.first(where: { $0.physical >= UInt64(PagingCase.memorySize) }) {
            return .device(device.physical)
        }
        var value: UInt64 = 0, shift: UInt64 = 0
        for piece in found {
            value |= mirror.load(piece.physical, piece.size) << shift
            shift += UInt64(piece.size * 8)
        }
        return .value(value)
    }

    /// What the processor makes of an access; nil where it asks for another way.
    private func attempt(_ body: () throws(Stop) -> UInt64) -> Outcome? {
        machine.read = nil
        do throws(Stop) {
            let value = try body()
            return .value(value)
        } catch {
            switch (error.kind, error.vector) {
            case (.fault, 14): return .pageFault(error.errorCode, linear: machine.processor.state.cr2)
            case (.fault, 13): return .generalProtection
            case (.exitBefore, _): return machine.read.map { .device($0) }
            default: return nil
            }
        }
    }

    private mutating func compare(_ expected: Result<Outcome, Expected>, _ actual: Outcome?, _ what: String) {
        let wanted: Outcome
        switch expected {
        case .success(let outcome): wanted = outcome
        case .failure(let failure): wanted = failure.outcome
        }
        require(
            wanted == actual, "\(what) in \(self.reference): \(wanted) expected, \(String(describing: actual)) found")
        settle(what)
        requireSameMemory(what)
    }

    private func requireSameMemory(_ what: String) {
        guard let place = machine.firstDifference(from: mirror.bytes) else { return }
        let real = machine.load(UInt64(place & ~3), 4), mine = mirror.load(UInt64(place & ~3), 4)
        report("\(what) in \(reference): \(hex(UInt64(place & ~3))) holds \(hex(real)), not \(hex(mine))")
    }
}

func hex(_ value: UInt64) -> String { String(value, radix: 16) }
