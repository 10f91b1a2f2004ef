import TestLimits
import TestSupport
import Testing

@testable import VMM

@Suite(.within(minutes: 20)) struct KernelImageTests {
    static let sound: [[UInt8]] = [
        GuestBuilder.elf([0xf4], pvhEntry: 0x10_0000),
        GuestBuilder.elf([0xf4], machine: 3, is64Bit: false, pvhEntry: 0x10_0000),
        GuestBuilder.bzImage([0xf4], code64: [0xf4]),
        GuestBuilder.bzImage([0xf4]),
    ]

    /// Parses and, if that succeeds, loads by every protocol; errors are fine, traps are not.
    private func exercise(_ bytes: [UInt8], _ memory: MachineMemory) -> Bool {
        guard let image = try? KernelImage(bytes, file: "test") else { return false }
        var loaded = false
        for wanted in [nil] + BootProtocol.allCases.map(Optional.some) {
            if (try? image.load(into: memory, BootMaterial(commandLine: "x"), by: wanted)) != nil { loaded = true }
        }
        return loaded
    }

    @Test func soundImagesLoad() throws {
        let memory = try MachineMemory(size: 4 << 20)
        for bytes in Self.sound { #expect(exercise(bytes, memory)) }
    }

    @Test func truncatedAtEveryLengthIsAnError() throws {
        for bytes in Self.sound {
            for length in 0..<bytes.count {
                // A note's last bytes may be missing: then there is no PVH entry, and that is all.
                guard (try? KernelImage(Array(bytes[..<length]), file: "test")) != nil else { continue }
                #expect(length >= bytes.count - 20, "\(length) of \(bytes.count) bytes were taken for a kernel")
            }
        }
    }

    @Test(arguments: 0..<4) func corruptImagesNeverTrap(which: Int) throws {
        let memory = try MachineMemory(size: 4 << 20)
        var random = SplitMix64(seed: UInt64(which) + 1)
        let sound = Self.sound[which]
        for _ in 0..<3000 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                // Headers are where the damage is interesting.
                let place =
                    Bool.random(using: &random)
                    ? Int.random(in: 0..<min(0x270, bytes.count), using: &random)
                    : Int.random(in: 0..<bytes.count, using: &random)
                bytes[place] =
                    [0, 0xff, 0x7f, 0x80, .random(in: 0...255, using: &random)]
                    .randomElement(using: &random) ?? 0
            }
            _ = exercise(bytes, memory)
        }
    }

    @Test func randomBytesNeverTrap() throws {
        let memory = try MachineMemory(size: 2 << 20)
        var random = SplitMix64(seed: 99)
        for _ in 0..<500 {
            let count = Int.random(in: 0..<2000, using: &random)
            _ = exercise((0..<count).map { _ in .random(in: 0...255, using: &random) }, memory)
        }
    }

    @Test func refusalsNameWhatTheFileIs() {
        func refusal(_ bytes: [UInt8]) -> String {
            do {
                _ = try KernelImage(bytes, file: "f")
                return "taken"
            } catch { return error.description }
        }
        let padding = [UInt8](repeating: 0, count: 1000)
        #expect(refusal([]).contains("empty"))
        #expect(refusal([0x1f, 0x8b, 8, 0] + padding).contains("gzip"))
        #expect(refusal(Array("070701".utf8) + padding).contains("initrd"))
        #expect(refusal(Array("#!/bin/sh\n".utf8) + padding).contains("script"))
        #expect(refusal(Array("hello".utf8)).contains("too few"))
        #expect(refusal(padding).contains("neither"))
        #expect(refusal([UInt8](repeating: 0, count: 0x38) + Array("ARMd".utf8) + padding).contains("AArch64"))
        #expect(refusal(GuestBuilder.elf([0xf4], machine: 183)).contains("AArch64"))
        #expect(refusal(GuestBuilder.elf([0xf4], machine: 243)).contains("RISC-V"))
        #expect(refusal(GuestBuilder.elf([0xf4], machine: 9999)).contains("9999"))
        #expect(refusal(GuestBuilder.bzImage([0xf4], version: 0x0203)).contains("older"))
        #expect(refusal(GuestBuilder.bzImage([0xf4], code32Start: 0)).contains("calls a BIOS"))
        #expect(refusal(GuestBuilder.bzImage([0xf4], loadFlags: 0)).contains("calls a BIOS"))
        #expect(refusal(Array(GuestBuilder.bzImage([0xf4])[..<0x220])).contains("truncated"))
        #expect(refusal(Array(GuestBuilder.bzImage([0xf4])[..<0x500])).contains("truncated"))
    }

    /// Headers by the ten thousand that name the same bytes: what a file can ask for is bounded by what it has.
    @Test func segmentsThatOverlapAreRefused() throws {
        func load(_ segments: [GuestBuilder.Part]) throws -> EntryState {
            try KernelImage(GuestBuilder.elf(parts: segments, contents: [UInt8](0..<128)), file: "test")
                .load(into: MachineMemory(size: 4 << 20), BootMaterial(commandLine: ""))
        }
        func part(_ address: UInt64, _ memorySize: UInt64, isNote: Bool = false) -> GuestBuilder.Part {
            .init(isNote: isNote, address: address, offset: 0, size: 64, memorySize: memorySize)
        }
        #expect(throws: Never.self) { try load([part(0x10_1000, 0x1000), part(0x10_0000, 0x1000)]) }
        #expect(throws: BootError.malformed(file: "test", what: "two of its segments lie at 0x100fff")) {
            try load([part(0x10_0fff, 0x1000), part(0x10_0000, 0x1000)])
        }
        let notes = [GuestBuilder.Part](repeating: part(0, 64, isNote: true), count: 60_000)
        #expect(throws: BootError.malformed(file: "test", what: "its notes are longer than the file")) {
            try load([part(0x10_0000, 0x1000)] + notes)
        }
    }

    /// As many segments as a header can count, each of its own bytes.
    @Test func everySegmentIsLoaded() throws {
        let count = 65_535, size = 64
        let parts = (0..<count).map {
            GuestBuilder.Part(
                isNote: false, address: 0x10_0000 + UInt64((count - 1 - $0) * size), offset: $0 * size, size: size,
                memorySize: UInt64(size))
        }
        let contents = (0..<count).flatMap { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: size) }
        let memory = try MachineMemory(size: 8 << 20)
        let image = try KernelImage(GuestBuilder.elf(parts: parts, contents: contents), file: "test")
        _ = try image.load(into: memory, BootMaterial(commandLine: ""))
        for part in [0, 1, 255, 256, count - 1] {
            #expect(try memory.read(count: size, at: parts[part].address).allSatisfy { $0 == UInt8(part & 0xff) })
        }
    }

    @Test func filesThatAreNoneAreRefused() throws {
        func refusal(_ path: String) -> BootError? {
            do {
                _ = try ImageFile(path)
                return nil
            } catch { return error }
        }
        #expect(refusal("/nonexistent/kernel")?.description.contains("no such file") == true)
        #expect(refusal("/tmp") == .notAFile(file: "/tmp"))
        #expect(refusal("/dev/zero") == .notAFile(file: "/dev/zero"))
        let empty = try TemporaryFile([])
        #expect(refusal(empty.path) == .empty(file: empty.path))
    }
}
