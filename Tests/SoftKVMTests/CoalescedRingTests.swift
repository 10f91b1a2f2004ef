// The ring of coalesced writes, from empty to full and round its end. Documentation/virt/kvm/api.rst, section 4.116.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct CoalescedRingTests {
    /// Writes one value after the other, from 0 on.
    private func machine(_ hypervisor: Hypervisor) throws -> TestMachine {
        let machine = try TestMachine(
            hypervisor, source: "mov ebx, 0xd0000000\nxor ecx, ecx\nnext: mov [rbx], ecx\ninc ecx\njmp next")
        try machine.machine.coalesce(.memory(0xd000_0000), size: 4)
        return machine
    }

    /// 170 entries, of which one stays free; the write that finds no room is an exit.
    @Test(arguments: hypervisors)
    func aRingIsFullButForOne(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        var cpu = try machine.makeCPU()
        var next: UInt32 = 0
        // Often enough for the ring to begin at many of its places.
        for _ in 0..<40 {
            try cpu.run()
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            let value = write.bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
            let writes = cpu.coalescedWrites()
            #expect(writes.count == 169)
            let values = writes.map { UInt32($0.data.0) | UInt32($0.data.1) << 8 | UInt32($0.data.2) << 16 }
            #expect(values == Array(next..<next + 169) && value == next + 169)
            next += 170
        }
    }

    /// The client takes some of the oldest away: so many find room, and none is lost.
    @Test(arguments: hypervisors)
    func whatIsTakenAwayIsRoom(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        var cpu = try machine.makeCPU()
        try cpu.run()
        var first: UInt32 = 0
        for room: UInt32 in [1, 84, 85, 86, 168, 2, 169] {
            first = (first + room) % 170
            let last = setFirst(first, of: cpu)
            try cpu.run()
            // From one full ring to the next, by as much as there was room.
            #expect(indices(of: cpu) == [first, (last + room) % 170])
        }
    }

    /// Indices are memory of the client's: whatever stands there, a write is an exit or finds a place in the ring.
    @Test(arguments: hypervisors)
    func anyIndicesAreBorne(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        var cpu = try machine.makeCPU()
        for last: UInt32 in [170, 171, 1 << 31, .max] {
            for first: UInt32 in [0, 169, 170, .max] {
                setFirst(first, of: cpu)
                setLast(last, of: cpu)
                try cpu.run()
                guard case .mmioWrite = cpu.exit else { throw Unexpected(cpu.exit) }
                #expect(indices(of: cpu) == [first, last])
            }
        }
    }

    // MARK: Zones

    /// Each bus has room for a thousand; which of them holds a write is found at both ends and between them.
    @Test(arguments: hypervisors)
    func eachBusHasRoomForAThousandZones(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov dx, 0x100
                out dx, al
                mov dx, 0x8cb
                out dx, al
                mov ebx, 0xd0000000
                mov [rbx], ecx
                mov [rbx + 999 * 16], ecx
                mov [rbx + 500 * 16], ecx
                mov [rbx + 500 * 16 + 4], ecx
                """)
        for number in UInt64(0)..<1000 {
            try machine.machine.coalesce(.memory(0xd000_0000 + number * 16), size: 4)
            try machine.machine.coalesce(.port(0x100 + UInt16(number) * 2), size: 1)
        }
        for _ in 0..<2 {
            #expect(throws: KVMError.failed(.registerCoalescedMMIO, .noSpace)) {
                try machine.machine.coalesce(.memory(0xe000_0000), size: 4)
            }
            #expect(throws: KVMError.failed(.registerCoalescedMMIO, .noSpace)) {
                try machine.machine.coalesce(.port(0), size: 1)
            }
            // What goes makes room for another.
            try machine.machine.stopCoalescing(.memory(0xd000_0000 + 600 * 16), size: 4)
            try machine.machine.coalesce(.memory(0xd000_0000 + 600 * 16), size: 4)
            try machine.machine.stopCoalescing(.port(0x300), size: 1)
            try machine.machine.coalesce(.port(0x300), size: 1)
        }
        var cpu = try machine.makeCPU()
        try cpu.run()
        // Between zones, of ports and of memory.
        do {
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.port == 0x8cb)
        }
        try cpu.run()
        do {
            guard case .mmioWrite(let write) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(write.address == 0xd000_0000 + 500 * 16 + 4)
        }
        let places: [UInt64] = [0x100, 0xd000_0000, 0xd000_0000 + 999 * 16, 0xd000_0000 + 500 * 16]
        #expect(cpu.coalescedWrites().map(\.phys_addr) == places)
    }

    // MARK: struct kvm_coalesced_mmio_ring, at page 2 of the run area

    private func indices(of cpu: borrowing VirtualCPU) -> [UInt32] {
        unsafe cpu.withRunArea { area in
            [8192, 8196].map { unsafe area.load(fromByteOffset: $0, as: UInt32.self) }
        }
    }

    /// - Returns: the other index.
    @discardableResult
    private func setFirst(_ first: UInt32, of cpu: borrowing VirtualCPU) -> UInt32 {
        unsafe cpu.withRunArea { unsafe $0.storeBytes(of: first, toByteOffset: 8192, as: UInt32.self) }
        return indices(of: cpu)[1]
    }

    private func setLast(_ last: UInt32, of cpu: borrowing VirtualCPU) {
        unsafe cpu.withRunArea { unsafe $0.storeBytes(of: last, toByteOffset: 8196, as: UInt32.self) }
    }
}
