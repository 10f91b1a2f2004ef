import Foundation
import KVM
import TestLimits
import Testing

@testable import VMM

@Suite(.within(minutes: 20)) struct ACPITablesTests {
    let image = ACPITables(cpus: 3, wiring: .pc).image()

    func slice(_ address: UInt64, _ count: Int) -> [UInt8] {
        let start = Int(address - image.base)
        return Array(image.bytes[start..<start + count])
    }
    func word<T: FixedWidthInteger & UnsignedInteger>(_ address: UInt64, as type: T.Type = T.self) throws -> T {
        try #require(ByteReader(slice(address, T.bitWidth / 8)).load(0))
    }
    func table(_ address: UInt64) throws -> [UInt8] { slice(address, Int(try word(address + 4, as: UInt32.self))) }
    func sum(_ bytes: [UInt8]) -> UInt8 { bytes.reduce(0, &+) }
    var tables: [String: UInt64] {
        get throws {
            let xsdt: UInt64 = try word(image.rsdp + 24)
            var found = ["XSDT": xsdt]
            for entry in stride(from: 36, to: try table(xsdt).count, by: 8) {
                let address: UInt64 = try word(xsdt + UInt64(entry))
                found[String(decoding: slice(address, 4), as: UTF8.self)] = address
            }
            if let fadt = found["FACP"] {
                found["DSDT"] = try word(fadt + 140)
                found["FACS"] = UInt64(try word(fadt + 36, as: UInt32.self))
            }
            return found
        }
    }

    @Test func checksumsAreRight() throws {
        #expect(slice(image.rsdp, 8) == Array("RSD PTR ".utf8))
        #expect(sum(slice(image.rsdp, 20)) == 0)
        #expect(sum(slice(image.rsdp, 36)) == 0)
        for name in ["XSDT", "FACP", "APIC", "DSDT"] {
            let address = try #require(try tables[name])
            #expect(sum(try table(address)) == 0, "\(name)")
        }
    }

    /// The reference disassembler has nothing to complain of, where it is installed.
    @Test(arguments: ["FACP", "APIC", "DSDT", "XSDT"]) func disassembles(name: String) throws {
        let iasl = "/usr/bin/iasl"
        guard FileManager.default.isExecutableFile(atPath: iasl) else { try Test.cancel("iasl is not installed") }
        let file = try TemporaryFile(try table(try #require(try tables[name])))
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: iasl)
        process.arguments = ["-d", file.path]
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        defer { try? FileManager.default.removeItem(atPath: file.path + ".dsl") }
        let source = (try? String(contentsOfFile: file.path + ".dsl", encoding: .utf8)) ?? ""
        #expect(process.terminationStatus == 0, "\(said)")
        for trouble in ["Error", "Warning", "Incorrect checksum", "Invalid"] {
            #expect(!said.contains(trouble) && !source.contains(trouble), "\(said)\(source)")
        }
        if name == "DSDT" {
            for word in ["PNP0501", "PNP0B00", "PNP0303", "_S5", "0x03F8"] {
                #expect(source.contains(word), "\(source)")
            }
        }
    }

    @Test func fitsItsPlace() {
        #expect(image.base == 0xe0000 && image.bytes.count <= 0x20000)
        #expect(ACPITables(cpus: 254, wiring: .pc).image().bytes.count <= 0x20000)
    }

    @Test func fadtNamesTheFixedHardware() throws {
        let fadt = try #require(try tables["FACP"])
        #expect(try word(fadt + 46, as: UInt16.self) == 9)
        #expect(try word(fadt + 56, as: UInt32.self) == 0x600)
        #expect(try word(fadt + 64, as: UInt32.self) == 0x604)
        #expect(try word(fadt + 76, as: UInt32.self) == 0x608)
        #expect(try word(fadt + 48, as: UInt32.self) == 0)  // no SMI command: always in ACPI mode
        let flags: UInt32 = try word(fadt + 112)
        #expect(flags & 1 << 10 != 0 && flags & 1 << 8 != 0)
        #expect(flags & 1 << 20 == 0, "hardware-reduced")
        #expect(try word(fadt + 120, as: UInt64.self) == 0xcf9)
        #expect(try word(fadt + 128, as: UInt8.self) == 6)
        #expect(try #require(try tables["FACS"]) % 64 == 0)
    }

    /// Type, and the fields after type and length, of each MADT entry.
    func madtEntries(_ wiring: InterruptWiring) throws -> [(UInt8, [UInt8])] {
        let image = ACPITables(cpus: 3, wiring: wiring).image()
        let bytes = image.bytes
        let start = try #require((0..<bytes.count - 4).first { Array(bytes[$0..<$0 + 4]) == Array("APIC".utf8) })
        let length = try #require(ByteReader(bytes).load(UInt64(start + 4), as: UInt32.self))
        var offset = start + 44
        var entries: [(UInt8, [UInt8])] = []
        while offset < start + Int(length) {
            entries.append((bytes[offset], Array(bytes[offset + 2..<offset + Int(bytes[offset + 1])])))
            offset += Int(bytes[offset + 1])
        }
        return entries
    }

    @Test func madtAgreesWithTheRoutes() throws {
        let entries = try madtEntries(.pc)
        #expect(entries.filter { $0.0 == 0 }.map { $0.1[1] } == [0, 1, 2])
        #expect(entries.filter { $0.0 == 1 }.count == 1)
        let routes = try #require(InterruptWiring.pc.routes)
        for (_, fields) in entries.filter({ $0.0 == 2 }) {
            let (irq, pin) = (UInt32(fields[1]), UInt32(fields[2]))
            #expect(routes.contains(.irqchip(gsi: irq, chip: 2, pin: pin)))
        }
        #expect(entries.filter { $0.0 == 2 }.map { [$0.1[1], $0.1[2], $0.1[6]] } == [[0, 2, 0], [9, 9, 0x0d]])
        #expect(try madtEntries(.straight).filter { $0.0 == 2 }.map { $0.1[1] } == [9])
        #expect(!routes.contains(.irqchip(gsi: 0, chip: 2, pin: 0)))
        #expect(routes.contains(.irqchip(gsi: 0, chip: 0, pin: 0)))
    }

    @Test func encodesAML() {
        #expect(AML.compressed("PNP0501") == 0x0105_d041)
        #expect(
            AML.encode { $0.name("_S5_", package: [5, 5, 0, 0]) } == [
                0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x08, 0x04, 0x0a, 0x05, 0x0a, 0x05, 0x00, 0x00,
            ])
        #expect(AML.withLength([UInt8](repeating: 0, count: 62)).prefix(1) == [63])
        #expect(AML.withLength([UInt8](repeating: 0, count: 63)).prefix(2) == [0x41, 0x04])
        #expect(AML.withLength([UInt8](repeating: 0, count: 4093)).prefix(2) == [0x4f, 0xff])
        #expect(AML.withLength([UInt8](repeating: 0, count: 4094)).prefix(3) == [0x81, 0x00, 0x01])
    }
}
