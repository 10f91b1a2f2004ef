// The machine's ACPI tables (ACPI 6.5, 5.2): RSDP, XSDT, FADT, FACS, MADT and DSDT.
//
// Contract: all tables lie in the reserved part of the first megabyte from 0xE0000, where the RSDP is also found by
// scanning. The FADT names the fixed hardware of `ACPIPMBlock` and the reset register of `ResetControl`; the MADT's
// overrides come from the same `InterruptWiring` as the hypervisor's routes.

internal import Devices

/// Builds the tables of a machine.
public struct ACPITables: Sendable {
    /// Where the PM1a and timer ports begin.
    public static let pmBlock: UInt16 = 0x600

    public let cpus: Int
    public let wiring: InterruptWiring

    public init(cpus: Int, wiring: InterruptWiring) {
        self.cpus = cpus
        self.wiring = wiring
    }

    /// Tables at their addresses, ready to be written.
    public struct Image: Sendable {
        /// Guest-physical address of the RSDP.
        public let rsdp: UInt64
        /// Everything from `base`.
        public let bytes: [UInt8]
        public let base: UInt64
    }

    /// Lays the tables out from a guest-physical address, a multiple of 64.
    public func image(at base: UInt64 = 0xe_0000) -> Image {
        var bytes = [UInt8](repeating: 0, count: 64)  // The RSDP comes last, once addresses are known.
        func place(_ table: [UInt8], alignment: Int = 16) -> UInt64 {
            while bytes.count % alignment != 0 { bytes.append(0) }
            bytes += table
            return base + UInt64(bytes.count - table.count)
        }
        let facs = place(self.facs, alignment: 64)
        let dsdt = place(self.dsdt)
        let fadt = place(self.fadt(facs: facs, dsdt: dsdt))
        let madt = place(self.madt)
        let xsdt = place(ACPITables.table("XSDT", revision: 1, [fadt, madt].flatMap { littleEndianBytes($0) }))
        bytes.replaceSubrange(0..<36, with: rsdp(xsdt: xsdt))
        return Image(rsdp: base, bytes: bytes, base: base)
    }

    private static let oem = Array("MARTLT".utf8)

    /// A table with its header and checksum (ACPI 6.5, 5.2.6).
    private static func table(_ signature: String, revision: UInt8, _ body: [UInt8]) -> [UInt8] {
        var table = Array(signature.utf8)
        table += littleEndianBytes(UInt32(36 + body.count))
        table += [revision, 0]
        table += oem
        table += Array("MARTLET ".utf8)
        table += littleEndianBytes(1 as UInt32)
        table += Array("MRTL".utf8)
        table += littleEndianBytes(1 as UInt32)
        table += body
        table[9] = checksum(table)
        return table
    }

    /// What makes the sum of all bytes zero.
    static func checksum(_ bytes: some Sequence<UInt8>) -> UInt8 { 0 &- bytes.reduce(0, &+) }

    private func rsdp(xsdt: UInt64) -> [UInt8] {
        var bytes = Array("RSD PTR ".utf8) + [0] + ACPITables.oem + [2]
        bytes += littleEndianBytes(0 as UInt32)  // no RSDT
        bytes += littleEndianBytes(36 as UInt32)
        bytes += littleEndianBytes(xsdt)
        bytes += [0, 0, 0, 0]
        bytes[8] = ACPITables.checksum(bytes.prefix(20))
        bytes[32] = ACPITables.checksum(bytes)
        return bytes
    }

    /// Firmware control structure, version 2: no global lock holder, no waking vector.
    private var facs: [UInt8] {
        var bytes = Array("FACS".utf8) + littleEndianBytes(64 as UInt32)
        bytes += [UInt8](repeating: 0, count: 56)
        bytes[32] = 2
        return bytes
    }

    /// A generic address in port space (ACPI 6.5, 5.2.3.2).
    private func port(_ address: UInt16, bits: UInt8, accessSize: UInt8) -> [UInt8] {
        [1, bits, 0, accessSize] + littleEndianBytes(UInt64(address))
    }

    private func fadt(facs: UInt64, dsdt: UInt64) -> [UInt8] {
        typealias Block = ACPIPMBlock
        let event = Self.pmBlock + Block.eventOffset
        let control = Self.pmBlock + Block.controlOffset
        let timer = Self.pmBlock + Block.timerOffset
        var table = [UInt8](repeating: 0, count: 276)
        func put(_ bytes: [UInt8], at offset: Int) { table.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
        func put32(_ value: UInt64, at offset: Int) {
            put(littleEndianBytes(UInt32(truncatingIfNeeded: value)), at: offset)
        }
        put32(facs, at: 36)
        put32(dsdt, at: 40)
        put(littleEndianBytes(UInt16(InterruptWiring.IRQ.sci)), at: 46)
        put32(UInt64(event), at: 56)
        put32(UInt64(control), at: 64)
        put32(UInt64(timer), at: 76)
        put([Block.eventLength, Block.controlLength], at: 88)
        put([Block.timerLength], at: 91)
        put(littleEndianBytes(0xffff as UInt16), at: 96)  // no C2
        put(littleEndianBytes(0xffff as UInt16), at: 98)  // no C3
        put([0x32], at: 108)  // century
        // Boot architecture: legacy devices, an 8042, no VGA.
        put(littleEndianBytes(0x0007 as UInt16), at: 109)
        // WBINVD, C1, no sleep button, RTC wake not in the fixed registers, 32-bit timer, reset register.
        put32(0x0000_0565, at: 112)
        put(port(ResetControl.firstPort + 1, bits: 8, accessSize: 1), at: 116)
        put([ResetControl.fullReset], at: 128)
        put([5], at: 131)  // minor version: 6.5
        put(littleEndianBytes(dsdt), at: 140)  // X_FIRMWARE_CTRL stays 0: one of the two names the FACS.
        put(port(event, bits: 32, accessSize: 2), at: 148)
        put(port(control, bits: 16, accessSize: 2), at: 172)
        put(port(timer, bits: 32, accessSize: 3), at: 208)
        return ACPITables.table("FACP", revision: 6, Array(table[36...]))
    }

    private var madt: [UInt8] {
        var body = littleEndianBytes(InterruptWiring.localAPICAddress)
        body += littleEndianBytes(1 as UInt32)  // There are 8259s as well.
        for id in 0..<cpus {
            body += [0, 8, UInt8(truncatingIfNeeded: id), UInt8(truncatingIfNeeded: id)]
            body += littleEndianBytes(1 as UInt32)
        }
        body += [1, 12, 0, 0]
        body += littleEndianBytes(InterruptWiring.ioapicAddress)
        body += littleEndianBytes(0 as UInt32)
        for irq in 0..<16 as Range<UInt32> {
            // Edge and active-high are ISA's own; the SCI is level and active-high.
            let flags: UInt16 = irq == InterruptWiring.IRQ.sci ? 0x000d : 0
            let pin = wiring.pin(ofIRQ: irq)
            guard pin != irq || flags != 0 else { continue }
            body += [2, 10, 0, UInt8(irq)]
            body += littleEndianBytes(pin)
            body += littleEndianBytes(flags)
        }
        // NMI on LINT1 of every local APIC.
        body += [4, 6, 0xff, 0, 0, 1]
        return ACPITables.table("APIC", revision: 5, body)
    }

    private var dsdt: [UInt8] {
        let sleepType = UInt64(ACPIPMBlock.softOffSleepType)
        let aml = AML.encode { root in
            root.scope("\\_SB_") { bus in
                bus.device("COM1") {
                    $0.name("_HID", eisaID: "PNP0501")
                    $0.name("_UID", 1)
                    $0.name("_STA", 0x0f)
                    $0.name(
                        "_CRS",
                        buffer: AMLResource.ports(0x3f8, 8)
                            + AMLResource.interrupt(InterruptWiring.IRQ.com1) + AMLResource.end)
                }
                bus.device("RTC_") {
                    $0.name("_HID", eisaID: "PNP0B00")
                    $0.name("_STA", 0x0f)
                    $0.name(
                        "_CRS",
                        buffer: AMLResource.ports(0x70, 2)
                            + AMLResource.interrupt(InterruptWiring.IRQ.rtc) + AMLResource.end)
                }
                bus.device("KBD_") {
                    $0.name("_HID", eisaID: "PNP0303")
                    $0.name("_STA", 0x0f)
                    $0.name(
                        "_CRS",
                        buffer: AMLResource.ports(0x60, 1) + AMLResource.ports(0x64, 1)
                            + AMLResource.interrupt(InterruptWiring.IRQ.keyboard) + AMLResource.end)
                }
            }
            root.name("\\_S5_", package: [sleepType, sleepType, 0, 0])
        }
        return ACPITables.table("DSDT", revision: 2, aml)
    }
}
