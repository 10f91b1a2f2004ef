// Memory slots and the dirty log. Documentation/virt/kvm/api.rst, sections 4.35, 4.8, 4.117.

import KVMABI
import SoftKVM
import TestLimits
import TestSupport
import Testing

@Suite(.within(minutes: 20)) struct EndpointMemoryTests {
    let client = try! EndpointClient()
    let pages = Pages(16)

    @Test func slotsAreChecked() throws {
        let user = pages.address
        func error(_ slot: UInt32, _ flags: UInt32, _ address: UInt64, _ size: UInt64, _ from: UInt64) -> Errno? {
            client.failure { try client.setSlot(slot, flags: flags, at: address, size: size, from: from) }
        }
        #expect(error(0, 4, 0, 4096, user) == .invalidArgument)
        #expect(error(0, 0, 1, 4096, user) == .invalidArgument)
        #expect(error(0, 0, 0, 4095, user) == .invalidArgument)
        #expect(error(0, 0, 0, 4096, user + 1) == .invalidArgument)
        #expect(error(0, 0, 0, 4096, 0x7FFF_FFFF_F000) == .invalidArgument)
        #expect(error(0, 0, .max - 4095, 8192, user) == .invalidArgument)
        #expect(error(0, 0, 1 << 60, 4096, user) == .invalidArgument)
        #expect(error(32764, 0, 0, 4096, user) == .invalidArgument)
        #expect(error(1 << 16, 0, 0, 4096, user) == .invalidArgument)
        // Deleting what is not there.
        #expect(error(0, 0, 0, 0, 0) == .invalidArgument)

        #expect(error(0, 0, 0, 16384, user) == nil)
        #expect(error(1, 0, 12288, 8192, user) == .fileExists)
        #expect(error(1, 0, 16384, 8192, user) == nil)
        // The same again, flags, move.
        #expect(error(0, 0, 0, 16384, user) == nil)
        #expect(error(0, 1, 0, 16384, user) == nil)
        #expect(error(0, 2, 0, 16384, user) == .invalidArgument)
        #expect(error(0, 0, 0, 8192, user) == .invalidArgument)
        #expect(error(0, 0, 0, 16384, user + 4096) == .invalidArgument)
        #expect(error(0, 1, 8192, 16384, user) == .fileExists)
        #expect(error(0, 1, 65536, 16384, user) == nil)
        #expect(error(2, 0, 0, 16384, user) == nil)
        #expect(error(0, 0, 0, 0, 0) == nil)
        #expect(error(0, 0, 0, 0, 0) == .invalidArgument)
    }

    /// Many changes in a row, against a table that looks at every slot each time.
    @Test func manyChangesAgainstAPlainTable() throws {
        struct Slot {
            var guest: UInt64
            var size: UInt64
            var user: UInt64
            var flags: UInt32
        }
        var table: [UInt32: Slot] = [:]
        var random = SplitMix64(seed: 0x51075)
        var outcomes: [Errno?: Int] = [:]
        for step in 0..<4000 {
            let id = UInt32(random.next() % 24)
            let old = table[id]
            var new = Slot(
                guest: random.next() % 64 * 4096, size: random.next() % 4 * 4096,
                user: pages.address + random.next() % 12 * 4096, flags: UInt32(random.next() % 2))
            if let old, random.next() % 4 != 0, new.size != 0 { (new.size, new.user) = (old.size, old.user) }
            let collides = table.contains {
                $0.key != id && new.guest < $0.value.guest + $0.value.size && $0.value.guest < new.guest + new.size
            }
            var expected: Errno?
            if new.size == 0 {
                expected = old == nil ? .invalidArgument : nil
            } else if let old, old.size != new.size || old.user != new.user {
                expected = .invalidArgument
            } else if old?.guest != new.guest, collides {
                expected = .fileExists
            }
            let failure = client.failure {
                try client.setSlot(id, flags: new.flags, at: new.guest, size: new.size, from: new.user)
            }
            guard failure == expected else {
                Issue.record("step \(step): \(String(describing: failure)), not \(String(describing: expected))")
                return
            }
            outcomes[failure, default: 0] += 1
            if failure == nil { table[id] = new.size == 0 ? nil : new }
        }
        #expect(outcomes.values.allSatisfy { $0 > 100 } && outcomes.count == 3, "\(outcomes)")
    }

    @Test func secondForm() throws {
        var region = kvm_userspace_memory_region2()
        region.memory_size = 4096
        region.userspace_addr = pages.address
        try client.set(client.machine, .setUserMemoryRegion2, region)
        region.flags = KVM_MEM_GUEST_MEMFD
        #expect(client.failure { try client.set(client.machine, .setUserMemoryRegion2, region) } == .invalidArgument)
    }

    private func log(_ slot: UInt32) throws -> UInt64 {
        var bitmap: UInt64 = .max
        try unsafe withUnsafeMutablePointer(to: &bitmap) { target in
            var log = unsafe kvm_dirty_log()
            unsafe log.slot = slot
            unsafe log.dirty_bitmap = UnsafeMutableRawPointer(target)
            try unsafe withUnsafeMutablePointer(to: &log) {
                _ = try client.endpoint.ioctl(client.machine, .getDirtyLog, UInt(bitPattern: $0))
            }
        }
        return bitmap
    }

    @Test func dirtyLog() throws {
        #expect(client.failure { _ = try log(0) } == .noSuchFile)
        try client.setSlot(0, at: 0, size: 65536, from: pages.address)
        #expect(client.failure { _ = try log(0) } == .noSuchFile)
        #expect(client.failure { _ = try log(40000) } == .invalidArgument)
        try client.setSlot(0, flags: 1, at: 0, size: 65536, from: pages.address)
        #expect(try log(0) == 0)
    }

    @Test func manualClearing() throws {
        #expect(client.failure { try client.enable(client.machine, .manualDirtyLogProtect2, 2) } == .invalidArgument)
        try client.enable(client.machine, .manualDirtyLogProtect2, 3)
        try client.setSlot(0, flags: 1, at: 0, size: 65536, from: pages.address)
        // Initially set, and a look does not clear.
        #expect(try log(0) == 0xFFFF)
        #expect(try log(0) == 0xFFFF)
        var bits: UInt64 = 0x00F0
        func clear(first: UInt64, count: UInt32) throws {
            try unsafe withUnsafeMutablePointer(to: &bits) { source in
                var clear = unsafe kvm_clear_dirty_log()
                unsafe clear.first_page = first
                unsafe clear.num_pages = count
                unsafe clear.dirty_bitmap = UnsafeMutableRawPointer(source)
                try unsafe withUnsafeMutablePointer(to: &clear) {
                    _ = try client.endpoint.ioctl(client.machine, .clearDirtyLog, UInt(bitPattern: $0))
                }
            }
        }
        #expect(client.failure { try clear(first: 1, count: 15) } == .invalidArgument)
        #expect(client.failure { try clear(first: 0, count: 15) } == .invalidArgument)
        #expect(client.failure { try clear(first: 64, count: 1) } == .invalidArgument)
        try clear(first: 0, count: 16)
        #expect(try log(0) == 0xFF0F)
    }
}
