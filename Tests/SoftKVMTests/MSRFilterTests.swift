// Where the ranges of an MSR filter end. Documentation/virt/kvm/api.rst, section 4.97.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct MSRFilterTests {
    /// Which of some MSRs in a row the guest is denied, reading.
    private func denied(
        _ hypervisor: Hypervisor, _ filter: MSRFilter, from first: UInt32, count: Int
    ) throws -> [UInt32] {
        let machine = try TestMachine(
            hypervisor,
            source: """
                mov ebx, \(first)
                mov ebp, \(count)
                next: mov ecx, ebx
                rdmsr
                inc ebx
                dec ebp
                jnz next
                out 0x80, al
                """)
        // What is not there is an exit as well, with another reason.
        try machine.machine.enable(.userSpaceMSR([.filter, .unknown, .invalid]))
        try machine.machine.setMSRFilter(filter)
        var cpu = try machine.makeCPU()
        var denied: [UInt32] = []
        while true {
            try cpu.run()
            switch cpu.exit {
            case .rdmsr(let read):
                if read.cause == .filter { denied.append(read.index) }
                read.answer(0)
            case .portOut: return denied
            default: throw Unexpected(cpu.exit)
            }
        }
    }

    /// The MTRRs from 200H on: a range with a bit for each, from its first MSR to its last, and nothing of its neighbours.
    @Test(arguments: hypervisors, [1, 3, 7, 8, 9])
    func aRangeEndsBehindItsLastMSR(_ hypervisor: Hypervisor, _ count: Int) throws {
        let base: UInt32 = 0x202
        let inside = Array(base..<base + UInt32(count))
        let denying = MSRFilter.Range(base: base, allowed: [Bool](repeating: false, count: count))
        #expect(try denied(hypervisor, MSRFilter([denying]), from: 0x200, count: 16) == inside)
        let allowing = MSRFilter.Range(base: base, allowed: [Bool](repeating: true, count: count))
        let others = (0x200..<0x210 as Range<UInt32>).filter { !inside.contains($0) }
        #expect(
            try denied(hypervisor, MSRFilter([allowing], deniesByDefault: true), from: 0x200, count: 16) == others)
        // The last bit alone, and the first.
        for which in [0, count - 1] {
            var one = denying
            one.allowed = (0..<count).map { $0 != which }
            #expect(
                try denied(hypervisor, MSRFilter([one]), from: 0x200, count: 16) == [base + UInt32(which)])
        }
    }

    /// The first range with the operation decides, and one that is for writes alone says nothing of reads.
    @Test(arguments: hypervisors)
    func theFirstRangeDecides(_ hypervisor: Hypervisor) throws {
        let ranges: [MSRFilter.Range] = [
            .init(base: 0x200, allowed: [false, false, false, false], reads: false),
            .init(base: 0x201, allowed: [true, false]), .init(base: 0x200, allowed: [false, false, false, true]),
        ]
        #expect(try denied(hypervisor, MSRFilter(ranges), from: 0x200, count: 5) == [0x200, 0x202])
    }

    /// A range that would reach beyond the last number is none: its end is a number, too.
    @Test(arguments: hypervisors)
    func aRangeAtTheEndOfNumbers(_ hypervisor: Hypervisor) throws {
        let first: UInt32 = 0xffff_fff8
        for (count, seen) in [(4, 4), (7, 7), (8, 0), (16, 0)] {
            let range = MSRFilter.Range(base: first, allowed: [Bool](repeating: false, count: count))
            let wanted = Array(first..<first + UInt32(seen))
            #expect(try denied(hypervisor, MSRFilter([range]), from: first, count: 8) == wanted, "\(count)")
            // Nor does it reach numbers from 0 on.
            #expect(try denied(hypervisor, MSRFilter([range]), from: 0x10, count: 2) == [])
        }
    }
}
