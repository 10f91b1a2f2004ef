import Foundation
import TestLimits
import Testing

@testable import GuestMemory

@Suite(.within(minutes: 20)) struct GuestMemoryTests {
    @Test(arguments: [0, -4096, 1, 4095, 4097]) func sizesArePages(size: Int) {
        #expect(throws: GuestMemory.Failure.badSize(size)) { try GuestMemory(size: size) }
    }

    @Test func whatTheHostCanNotGiveIsRefused() {
        let size = Int.max & ~4095
        do {
            _ = try GuestMemory(size: size)
            Issue.record("the host gave \(size) bytes")
        } catch {
            guard case .notMapped(size, let errno) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(errno != 0)
            #expect("\(error)".contains("give the guest less"))
        }
    }

    @Test func itBeginsAsZeroesAndKeepsWhatIsWritten() throws {
        let memory = try GuestMemory(size: 8192)
        #expect(try memory.read(count: 8192, at: 0).allSatisfy { $0 == 0 })
        try memory.write([1, 2, 3], at: 4095)
        #expect(try memory.read(count: 5, at: 4094) == [0, 1, 2, 3, 0])
        // Values have the guest's byte order, at any alignment.
        try memory.store(0x1122_3344_5566_7788 as UInt64, at: 8184)
        #expect(try memory.read(count: 8, at: 8184) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
        #expect(try memory.load(UInt32.self, at: 8185) == 0x4455_6677)
        try memory.write([], at: 8192)
        #expect(try memory.read(count: 0, at: 8192).isEmpty)
    }

    @Test(
        arguments: [
            (8192, 1), (8191, 2), (0, 8193), (.max, 1), (.max - 1, 4), (UInt64(Int.max), 2), (4096, -1), (4096, .max),
        ] as [(UInt64, Int)])
    func accessesOutsideAreErrors(offset: UInt64, count: Int) throws {
        let memory = try GuestMemory(size: 8192)
        #expect(throws: GuestMemory.Failure.outOfBounds(offset: offset, count: count, size: 8192)) {
            try memory.read(count: count, at: offset)
        }
        guard count > 0, count < 10_000 else { return }
        let bytes = [UInt8](repeating: 1, count: count)
        #expect(throws: GuestMemory.Failure.outOfBounds(offset: offset, count: count, size: 8192)) {
            try memory.write(bytes, at: offset)
        }
        #expect(try memory.read(count: 8192, at: 0).allSatisfy { $0 == 0 })
    }

    @Test func valuesAcrossTheEndAreErrors() throws {
        let memory = try GuestMemory(size: 4096)
        for offset: UInt64 in [4093, 4096, .max - 2, .max] {
            #expect(throws: GuestMemory.Failure.outOfBounds(offset: offset, count: 4, size: 4096)) {
                try memory.load(UInt32.self, at: offset)
            }
            #expect(throws: GuestMemory.Failure.outOfBounds(offset: offset, count: 4, size: 4096)) {
                try memory.store(0 as UInt32, at: offset)
            }
        }
    }
}

/// Loads and stores of what is shared with a guest.
@Suite(.within(minutes: 20)) struct SharedMemoryTests {
    private func exercise<T: FixedWidthInteger & BitwiseCopyable & Sendable>(_: T.Type) throws {
        let memory = try GuestMemory(size: 8192)
        let value = T(truncatingIfNeeded: 0x8877_6655_4433_2211 as UInt64)
        // Aligned, unaligned, across pages and at the end.
        for offset: UInt64 in [0, 8, 1, 3, 4095, 4092, 8192 - UInt64(MemoryLayout<T>.size)] {
            for load in LoadOrdering.allCases {
                for store in StoreOrdering.allCases {
                    try memory.write([UInt8](repeating: 0, count: 8192), at: 0)
                    try memory.store(value, at: offset, ordering: store)
                    #expect(try memory.load(T.self, at: offset, ordering: load) == value)
                    let bytes = (0..<MemoryLayout<T>.size).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
                    #expect(try memory.read(count: bytes.count, at: offset) == bytes)
                    let changed = try memory.read(count: 8192, at: 0).filter { $0 != 0 }
                    #expect(changed == bytes.filter { $0 != 0 }, "and nothing else")
                }
            }
        }
        for offset: UInt64 in [8192 - UInt64(MemoryLayout<T>.size) + 1, 8192, .max] {
            let failure = GuestMemory.Failure.outOfBounds(offset: offset, count: MemoryLayout<T>.size, size: 8192)
            #expect(throws: failure) { try memory.load(T.self, at: offset, ordering: .acquiring) }
            #expect(throws: failure) { try memory.store(value, at: offset, ordering: .releasing) }
        }
    }

    @Test func everyWidthAtEveryPlace() throws {
        try exercise(UInt8.self)
        try exercise(UInt16.self)
        try exercise(UInt32.self)
        try exercise(UInt64.self)
        try exercise(Int16.self)
        try exercise(Int64.self)
        // More than one access can carry.
        try exercise(UInt128.self)
    }

    /// A ring of two threads: what is written before the index is released is there for who has acquired it; and an aligned
    /// word is never half of one store and half of another.
    @Test func aRingBetweenTwoThreads() throws {
        let memory = try GuestMemory(size: 4096)
        let rounds: UInt64 = 20_000
        let ring = try memory.view(at: 64, count: 8 + 16 * 8)
        let writer = Thread {
            for number in 1...rounds {
                // Not ahead of the reader by more than the ring.
                while number - (try! memory.load(UInt64.self, at: 0, ordering: .acquiring)) > 16 { sched_yield() }
                try! ring.store(number &* 0x1_0000_0001, at: 8 + number % 16 * 8)
                try! ring.store(number, at: 0, ordering: .releasing)
            }
        }
        writer.start()
        var wrong = 0
        for number in 1...rounds {
            while try ring.load(UInt64.self, at: 0, ordering: .acquiring) < number { sched_yield() }
            if try ring.load(UInt64.self, at: 8 + number % 16 * 8) != number &* 0x1_0000_0001 { wrong += 1 }
            try memory.store(number, at: 0, ordering: .releasing)
        }
        #expect(wrong == 0)
    }

    @Test func aViewShowsNothingElse() throws {
        let memory = try GuestMemory(size: 8192)
        try memory.write([UInt8](repeating: 0xAA, count: 8192), at: 0)
        let view = try memory.view(at: 100, count: 20)
        try view.write([UInt8](repeating: 1, count: 20))
        #expect(try memory.read(count: 22, at: 99) == [0xAA] + [UInt8](repeating: 1, count: 20) + [0xAA])
        #expect(try view.read(count: 20) == [UInt8](repeating: 1, count: 20))
        for (offset, count) in [(0, 21), (20, 1), (21, 0), (19, 2), (.max, 1), (.max, .max), (0, -1)] as [(UInt64, Int)]
        {
            let failure = GuestMemory.Failure.outOfBounds(offset: offset, count: count, size: 20)
            #expect(throws: failure) { try view.read(count: count, at: offset) }
            #expect(throws: failure) { try view.view(at: offset, count: count) }
            if count >= 0, count < 100 {
                #expect(throws: failure) { try view.write([UInt8](repeating: 2, count: count), at: offset) }
            }
        }
        #expect(throws: GuestMemory.Failure.outOfBounds(offset: 17, count: 4, size: 20)) {
            try view.load(UInt32.self, at: 17)
        }
        #expect(throws: GuestMemory.Failure.outOfBounds(offset: 17, count: 4, size: 20)) {
            try view.store(0 as UInt32, at: 17)
        }
        // A part of a part reaches no further.
        let part = try view.view(at: 4, count: 8)
        try part.store(0x0807_0605_0403_0201 as UInt64, at: 0)
        #expect(try memory.read(count: 8, at: 104) == [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(throws: GuestMemory.Failure.outOfBounds(offset: 8, count: 1, size: 8)) {
            try part.read(count: 1, at: 8)
        }
        #expect(try view.view(at: 20, count: 0).read(count: 0).isEmpty)
        for (offset, count) in [(8192, 1), (8000, 193), (.max, 1), (0, -1)] as [(UInt64, Int)] {
            #expect(throws: GuestMemory.Failure.outOfBounds(offset: offset, count: count, size: 8192)) {
                try memory.view(at: offset, count: count)
            }
        }
    }

    @Test func regionsByGuestPhysicalAddress() throws {
        let low = try GuestMemory(size: 8192), high = try GuestMemory(size: 4096)
        let lower = try #require(GuestRegions.Region(base: 0, memory: low))
        let upper = try #require(GuestRegions.Region(base: 1 << 32, memory: high))
        #expect(GuestRegions.Region(base: .max - 4095, memory: high) == nil, "it ends beyond the last address")
        #expect(GuestRegions([lower, try #require(GuestRegions.Region(base: 4096, memory: high))]) == nil)
        let regions = try #require(GuestRegions([upper, lower]))
        #expect(regions.regions.map(\.base) == [0, 1 << 32])
        try #require(regions.view(at: 1 << 32 + 8, count: 4)).store(7 as UInt32, at: 0)
        #expect(try high.load(UInt32.self, at: 8) == 7)
        #expect(regions.view(at: 8191, count: 1) != nil)
        // Not from one into the next, nor between them.
        for (address, count) in [
            (8191, 2), (8192, 0), (8192, 1), (1 << 32 - 1, 2), (1 << 32 + 4095, 2), (.max, 1), (0, -1), (0, .max),
        ] as [(UInt64, Int)] {
            #expect(regions.view(at: address, count: count) == nil, "\(count) bytes at \(address)")
        }
    }
}

@Suite(.within(minutes: 20)) struct AddressSpaceTests {
    let memory: GuestMemory
    let space = AddressSpace()

    /// Three regions, given out of order: pages 0 and 1, page 4, and the last page below 2^64.
    init() throws {
        memory = try GuestMemory(size: 4 * 4096)
        let places: [(base: UInt64, pages: Int, offset: Int)] = [
            (0x4000, 1, 2 * 4096), (.max & ~4095, 1, 3 * 4096), (0, 2, 0),
        ]
        space.replaceRegions(
            places.enumerated().map { index, place in
                unsafe MemoryRegion(
                    base: place.base, size: UInt64(place.pages) * 4096, host: memory.hostAddress + place.offset,
                    readOnly: index == 1, slot: UInt32(index), pages: PageRecords(pageCount: place.pages)!)
            })
    }

    private func slot(at address: UInt64) -> UInt32? { unsafe space.region(at: address)?.pointee.slot }

    @Test func regionsAreFoundByTheirAddresses() {
        #expect(space.count == 3)
        #expect(space.regions.map(\.base) == [0, 0x4000, .max & ~4095])
        for address: UInt64 in [0, 1, 4096, 8191] { #expect(slot(at: address) == 2) }
        for address: UInt64 in [0x4000, 0x4fff] { #expect(slot(at: address) == 0) }
        for address: UInt64 in [.max & ~4095, .max] { #expect(slot(at: address) == 1) }
        for address: UInt64 in [8192, 0x3fff, 0x5000, 1 << 40, .max & ~4095 - 1] { #expect(slot(at: address) == nil) }
    }

    @Test func regionsComeAndGo() {
        let version = space.version
        for index in (0..<40).reversed() {
            space.insert(
                unsafe MemoryRegion(
                    base: UInt64(0x10_0000 + index * 0x2000), size: 4096, host: memory.hostAddress, readOnly: false,
                    slot: UInt32(100 + index), pages: PageRecords(pageCount: 1)!))
        }
        #expect(space.version == version, "what was kept of the others is true")
        #expect(space.count == 43 && slot(at: 0x10_2fff) == 101 && slot(at: 0x10_3000) == nil && slot(at: 0) == 2)
        space.remove(at: 0x10_2000)
        space.remove(at: 0x10_2000)
        #expect(space.count == 42 && slot(at: 0x10_2000) == nil && slot(at: 0x10_4000) == 102)
        #expect(space.version != version)
        for index in 0..<40 { space.remove(at: UInt64(0x10_0000 + index * 0x2000)) }
        #expect(space.regions.map(\.base) == [0, 0x4000, .max & ~4095])
    }

    @Test func hostAddressesAreFoundToo() {
        let start = unsafe UInt(bitPattern: memory.hostAddress)
        #expect(space.holds(hostAddress: start) && space.holds(hostAddress: start + 4 * 4096 - 1))
        #expect(!space.holds(hostAddress: start - 1) && !space.holds(hostAddress: start + 4 * 4096))
        space.replaceRegions([])
        #expect(space.count == 0 && slot(at: 0) == nil && !space.holds(hostAddress: start))
    }
}

@Suite(.within(minutes: 20)) struct PageRecordsTests {
    @Test func theDirtyLogTellsOfEachPageOnce() {
        let records = PageRecords(pageCount: 130)!
        #expect(records.dirtyWordCount == 3)
        #expect(!records.markDirty(129), "nothing is logged until it is asked for")
        #expect(!records.isDirty(129) && records.allowsFastWrites(129))
        records.isLogging = true
        #expect(!records.allowsFastWrites(129))
        #expect(records.markDirty(129) && !records.markDirty(129))
        #expect(records.isDirty(129) && records.allowsFastWrites(129) && !records.isDirty(128))
        #expect(records.markDirty(128))
        #expect(records.dirtyWord(2) == 3)
        #expect(records.takeDirty(word: 2, mask: 2) == 2)
        #expect(records.dirtyWord(2) == 1 && records.dirtyWord(0) == 0)
        #expect(records.takeDirty(word: 2) == 1 && records.dirtyWord(2) == 0)
        #expect(records.markDirty(129), "it is logged anew")
    }

    @Test func linesOfCodeForbidFastWrites() {
        let records = PageRecords(pageCount: 2)!
        #expect(records.addCodeLines(1, 0b0110), "the page had none")
        #expect(!records.addCodeLines(1, 0b1000))
        #expect(records.codeLines(1) == 0b1110 && records.codeLines(0) == 0)
        #expect(!records.allowsFastWrites(1) && records.allowsFastWrites(0))
        records.removeCodeLines(1, 0b0110)
        #expect(records.codeLines(1) == 0b1000 && !records.allowsFastWrites(1))
        records.removeCodeLines(1, 0b1000)
        #expect(records.allowsFastWrites(1))
    }
}
