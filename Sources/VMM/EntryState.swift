// How the first vCPU begins under each boot protocol (Linux, Documentation/arch/x86/boot.rst; Xen,
// docs/misc/pvh.pandoc, "Hypervisor and domain initial state").

internal import KVM
internal import KVMABI

/// Where and in which mode the kernel is entered.
public enum EntryState: Equatable, Sendable {
    /// Long mode, paging on with the first 4 GiB mapped to themselves, RSI at the boot parameters.
    case linux64(rip: UInt64, bootParameters: UInt64)
    /// Protected mode, flat, paging off, ESI at the boot parameters.
    case linux32(eip: UInt32, bootParameters: UInt64)
    /// Protected mode, flat, paging off, EBX at the start information.
    case pvh(eip: UInt32, startInfo: UInt64)
}

extension EntryState {
    private enum Selector {
        static let code: UInt16 = 0x10
        static let data: UInt16 = 0x18
        static let task: UInt16 = 0x20
    }

    private var isLong: Bool {
        if case .linux64 = self { true } else { false }
    }

    /// Descriptors at the selectors that the boot protocol names (`__BOOT_CS`, `__BOOT_DS`), and a task segment, which
    /// processors with VMX insist on.
    private var descriptors: [UInt64] {
        [0, 0, isLong ? 0x00af_9b00_0000_ffff : 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067, 0]
    }

    /// Puts descriptor table and, for long mode, page tables into memory.
    func storeTables(into memory: MachineMemory) throws(BootError) {
        try memory.write(descriptors.flatMap { littleEndianBytes($0) }, at: LowMemory.gdt)
        guard isLong else { return }
        let present: UInt64 = 0x03
        let large: UInt64 = 0x80
        let directories = LowMemory.pageTables + 0x2000
        try memory.write(littleEndianBytes(LowMemory.pageTables + 0x1000 | present), at: LowMemory.pageTables)
        for gigabyte in 0..<4 as Range<UInt64> {
            let directory = directories + gigabyte << 12
            try memory.write(
                littleEndianBytes(directory | present), at: LowMemory.pageTables + 0x1000 + gigabyte * 8)
            let entries = (0..<512 as Range<UInt64>).flatMap {
                littleEndianBytes(gigabyte << 30 | $0 << 21 | large | present)
            }
            try memory.write(entries, at: directory)
        }
    }

    /// The registers at entry, from those after reset.
    func apply(to registers: inout Registers) {
        var general = kvm_regs()
        general.rflags = 0x2
        general.rsp = LowMemory.stackTop
        switch self {
        case .linux64(let rip, let bootParameters):
            general.rip = rip
            general.rsi = bootParameters
        case .linux32(let eip, let bootParameters):
            general.rip = UInt64(eip)
            general.rsi = bootParameters
        case .pvh(let eip, let startInfo):
            general.rip = UInt64(eip)
            general.rbx = startInfo
        }
        registers.general = general

        var special = registers.special
        let code = segment(Selector.code, type: 0xb)
        let data = segment(Selector.data, type: 0x3)
        special.cs = code
        special.ds = data
        special.es = data
        special.fs = data
        special.gs = data
        special.ss = data
        special.tr = kvm_segment()
        special.tr.selector = Selector.task
        special.tr.limit = 0x67
        special.tr.type = 0xb
        special.tr.present = 1
        special.ldt = kvm_segment()
        special.ldt.unusable = 1
        special.gdt.base = LowMemory.gdt
        special.gdt.limit = UInt16(descriptors.count * 8 - 1)
        special.idt.base = 0
        special.idt.limit = 0
        special.cr0 = 0x11  // PE and ET
        special.cr4 = 0
        special.efer = 0
        if isLong {
            special.cr0 = 0x8000_0011
            special.cr3 = LowMemory.pageTables
            special.cr4 = 0x20  // PAE
            special.efer = 0x500  // LME and LMA
        }
        registers.special = special
    }

    /// A flat segment.
    private func segment(_ selector: UInt16, type: UInt8) -> kvm_segment {
        var segment = kvm_segment()
        segment.selector = selector
        segment.limit = 0xffff_ffff
        segment.type = type
        segment.present = 1
        segment.s = 1
        segment.g = 1
        let isLongCode = isLong && type & 8 != 0
        segment.l = isLongCode ? 1 : 0
        segment.db = isLongCode ? 0 : 1
        return segment
    }
}
