// KVM_GET_STATS_FD: a file that describes itself, and counters that go on while it is open.

import Glibc
import GuestMemory
import KVM
import KVMABI
import SoftKVM
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct StatisticsTests {
    private func counter(_ name: String, of cpu: borrowing VirtualCPU) throws -> UInt64? {
        try cpu.statistics().first { $0.name == name }?.values.first
    }

    @Test func countersFollowTheGuest() throws {
        let machine = try TestMachine(
            .software,
            source: """
                out 0x10, al
                out 0x10, al
                in al, 0x11
                mov [0xb0000], al
                hlt
                """)
        var cpu = try machine.makeCPU()
        #expect(try counter("io_exits", of: cpu) == 0)
        for _ in 0..<5 { try cpu.run() }
        do { guard case .halt = cpu.exit else { throw Unexpected(cpu.exit) } }
        #expect(try counter("io_exits", of: cpu) == 3)
        #expect(try counter("mmio_exits", of: cpu) == 1)
        #expect(try counter("halt_exits", of: cpu) == 1)
        #expect(try counter("exits", of: cpu) == 5)
        #expect(try counter("blocking", of: cpu) == 0)
        let flushes = try machine.machine.statistics().first { $0.name == "remote_tlb_flush" }?.values.first
        #expect(flushes == 2)  // one for each slot
    }

    /// Each name that is counted here is one of the kernel's, of the same kind, but for our translator's.
    @Test(.enabled(if: hypervisors.contains(.kernel), "/dev/kvm can't be opened"))
    func theKernelHasTheSameCounters() throws {
        let ours = try System(.software).makeVirtualMachine()
        let theirs = try System(.kernel).makeVirtualMachine()
        let ourCPU = try ours.makeVirtualCPU()
        let theirCPU = try theirs.makeVirtualCPU()
        let pairs = try [(ours.statistics(), theirs.statistics()), (ourCPU.statistics(), theirCPU.statistics())]
        for (mine, kernels) in pairs {
            for statistic in mine where !statistic.name.hasPrefix("translator_") {
                let same = kernels.first { $0.name == statistic.name }
                #expect(same?.flags == statistic.flags && same?.values.count == 1, "\(statistic.name)")
            }
        }
    }

    /// The descriptor is the client's, can be read again and again, and not written.
    @Test func theFileIsReadAlone() throws {
        let client = try EndpointClient()
        let vcpu = try client.makeVCPU()
        let file = try client.endpoint.ioctl(vcpu, .getStatsFD, 0)
        var header = [UInt32](repeating: 0, count: 6)
        #expect(unsafe pread(file, &header, 24, 0) == 24)
        #expect(header[0] == 0 && header[1] == 48 && header[2] == 21)
        var id = [CChar](repeating: 0, count: 48)
        #expect(unsafe pread(file, &id, 48, Int(header[3])) == 48)
        #expect(
            String(decoding: id.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                == "kvm-\(getpid())/vcpu-0")
        #expect(unsafe write(file, &header, 24) == -1 && errno == EBADF)
        let again = try client.endpoint.ioctl(vcpu, .getStatsFD, 0)
        #expect(again != file)
        var identity = stat()
        #expect(unsafe fstat(file, &identity) == 0)
        close(again)
        close(file)
        // The file itself stays with the vCPU.
        #expect(openDescriptors(of: identity) == 1)
    }
}
