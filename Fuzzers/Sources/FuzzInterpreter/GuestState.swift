import FuzzInput
import X86

@testable import Processor

/// A state with tables that every mode can use, changed where the input says so; the rest of the input is code.
struct GuestState {
    static let gdt: UInt64 = 0x1000, idt: UInt64 = 0x2000, tss: UInt64 = 0x3000, stack: UInt64 = 0x7000,
        handlers: UInt64 = 0x8000, tables: UInt64 = 0x1_0000, code: UInt64 = 0x2_0000
    static let tablesSize = 0x6000

    private var input: FuzzInput

    init(_ input: FuzzInput) { self.input = input }

    enum Mode: UInt8 {
        case real, virtual8086, protected16, protected32, paged32, compatibility, long, longUser
    }

    /// Puts the state into a machine.
    consuming func enter(_ machine: FuzzedMachine) {
        let mode = Mode(rawValue: input.byte() & 7) ?? .long
        let options = input.byte()
        let isUser = mode == .virtual8086 || mode == .longUser || (mode.rawValue > 1 && options & 1 != 0)
        let cpl: UInt8 = isUser ? 3 : 0
        machine.clear()
        storeTables(machine, isLong: mode.rawValue >= Mode.compatibility.rawValue)
        let processor = machine.processor
        processor.reset()
        setControls(processor, mode, options)
        processor.state.cpl = cpl
        setSegments(processor, mode, cpl)
        for index in 0..<16 { processor.state.registers[index] = value(input.byte()) }
        processor.state.registers[4] = GuestState.stack
        let flags = UInt64(input.integer(UInt16.self))
        var rflags: UInt64 = 2 | flags & 0x3ED5
        if mode == .virtual8086 { rflags |= 1 << 17 }
        if flags & 0x8000 != 0 { rflags |= 1 << 18 }
        processor.rflags = rflags
        processor.state.lstar = GuestState.handlers
        processor.state.star = 0x0018_0010 << 32
        processor.state.sfmask = 0x700
        processor.state.sysenterCS = 8
        processor.state.sysenterESP = GuestState.stack
        processor.state.sysenterEIP = GuestState.handlers
        for _ in 0..<Int(input.byte() & 3) {
            let place = UInt64(input.integer(UInt16.self)) << 2
            machine.write(input.integer(UInt64.self), at: min(place, UInt64(FuzzedMachine.size - 8)))
        }
        // At the end of a page now and then.
        let start = UInt64(input.byte())
        let place = options & 2 != 0 ? 0x1000 - 8 : start
        machine.write(input.rest.prefix(4000), at: GuestState.code + place)
        processor.state.rip = mode.rawValue < 2 ? place : GuestState.code + place
        machine.begin()
    }

    /// A byte of the input as a register's value: small, an address of data, or at an edge.
    private func value(_ byte: UInt8) -> UInt64 {
        let low = UInt64(byte & 31)
        switch byte >> 5 {
        case 0: return low
        case 1: return GuestState.code + 0x800 + low * 8
        case 2: return 0x3_0000 + low * 0x101
        case 3: return GuestState.code + low
        case 4: return 0x3_1000 &- low
        case 5: return UInt64.max &- low
        case 6: return 0x7FFF_FFFF_FFFF &- low + 16
        default: return 0x8000_0000 &- low + 16
        }
    }

    // MARK: Control registers and segments

    private func setControls(_ processor: VirtualProcessor, _ mode: Mode, _ options: UInt8) {
        var cr0: UInt64 = 0x10 | (mode == .real ? 0 : 1)
        var cr4: UInt64 = 0x600 | 1 << 18
        if options & 4 != 0 { cr0 |= 1 << 16 }
        if options & 8 != 0 { cr0 |= 1 << 18 }
        if options & 16 != 0 { cr4 |= 1 << 20 }
        if options & 32 != 0 { cr0 |= 8 }
        processor.state.efer = 0
        switch mode {
        case .paged32:
            cr0 |= 1 << 31
            cr4 |= 0x10
        case .compatibility, .long, .longUser:
            cr0 |= 1 << 31
            cr4 |= 0x20
            processor.state.efer = 0xD01
        default: break
        }
        processor.state.cr0 = cr0
        processor.state.cr4 = cr4
        processor.state.cr3 = mode == .paged32 ? GuestState.tables + 0x4000 : GuestState.tables
        processor.state.xcr0 = 7
        processor.state.xsave[3] = 0xFFFF_0000_1F80
    }

    private func setSegments(_ processor: VirtualProcessor, _ mode: Mode, _ cpl: UInt8) {
        let privilege = UInt16(cpl) << 5
        var data = SegmentRegister(
            base: 0, limit: .max, selector: cpl == 0 ? 0x18 : 0x2B, attributes: 0xC093 | privilege)
        var code = SegmentRegister(base: 0, limit: .max, selector: cpl == 0 ? 8 : 0x23, attributes: 0xC09B | privilege)
        switch mode {
        case .real, .virtual8086:
            data = SegmentRegister(base: 0, limit: 0xFFFF, selector: 0, attributes: mode == .real ? 0x93 : 0xF3)
            code = SegmentRegister(
                base: GuestState.code, limit: 0xFFFF, selector: 0x2000, attributes: mode == .real ? 0x9B : 0xF3)
        case .protected16: code.attributes = 0x809B | privilege
        case .long, .longUser:
            code = SegmentRegister(
                base: 0, limit: .max, selector: cpl == 0 ? 0x10 : 0x33, attributes: 0xA09B | privilege)
        default: break
        }
        for index in [0, 2, 3, 4, 5] { processor.state.segments[index] = data }
        processor.state.segments[1] = code
        processor.state.segments[6] = SegmentRegister(base: 0, limit: 0, selector: 0, attributes: 0x182)
        processor.state.segments[7] = SegmentRegister(
            base: GuestState.tss, limit: 0x2067, selector: 0x38, attributes: 0x8B)
        processor.state.gdtr = DescriptorTableRegister(base: GuestState.gdt, limit: 0xFF)
        processor.state.idtr = DescriptorTableRegister(
            base: mode == .real ? 0 : GuestState.idt, limit: mode.rawValue >= 5 ? 0xFFF : mode == .real ? 0x3FF : 0x7FF)
    }

    // MARK: Tables

    private func storeTables(_ machine: FuzzedMachine, isLong: Bool) {
        let descriptors: [UInt64] = [
            0, 0x00CF_9B00_0000_FFFF, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF,
            0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF,
            SegmentDescriptor(base: GuestState.tss, limit: 0x2067, attributes: 0x8B).rawValue,
        ]
        machine.write(descriptors.flatMap { bytes($0) }, at: GuestState.gdt)
        // Each vector's handler halts, and goes back if it goes on.
        for vector in 0..<256 as Range<UInt64> {
            let offset = GuestState.handlers + vector * 16
            machine.write([0xF4, 0xCF], at: offset)
            let far: UInt64 = 0x0800_0000 | vector * 16
            machine.write(UInt32(truncatingIfNeeded: far), at: vector * 4)
            let selector: UInt64 = isLong ? 0x10 : 0x08
            let dpl: UInt64 = vector & 1 == 0 ? 3 : 0
            var gate: UInt64 = offset & 0xFFFF | selector << 16
            gate |= 0x8E << 40 | dpl << 45
            gate |= (offset >> 16) << 48
            let place = GuestState.idt + vector * (isLong ? 16 : 8)
            machine.write(gate, at: place)
        }
        if isLong {
            machine.write(GuestState.stack, at: GuestState.tss + 4)
        } else {
            machine.write(UInt32(GuestState.stack), at: GuestState.tss + 4)
            machine.write(UInt16(0x18), at: GuestState.tss + 8)
        }
        machine.write(UInt16(0x68), at: GuestState.tss + 0x66)
        // One to one: 200 KiB in pages of 4 KiB. Of the last two one is
        // read-only and one the supervisor's.
        machine.write(GuestState.tables + 0x1007, at: GuestState.tables)
        machine.write(GuestState.tables + 0x2007, at: GuestState.tables + 0x1000)
        machine.write(GuestState.tables + 0x3007, at: GuestState.tables + 0x2000)
        machine.write(UInt32(GuestState.tables + 0x5007), at: GuestState.tables + 0x4000)
        for page in 0..<0x32 as Range<UInt64> {
            let rights: UInt64 = page == 0x30 ? 5 : page == 0x31 ? 3 : 7
            let entry = page << 12 | rights
            machine.write(entry, at: GuestState.tables + 0x3000 + page * 8)
            machine.write(UInt32(entry), at: GuestState.tables + 0x5000 + page * 4)
        }
    }
}
