// A guest's time is the host's counter with an offset, to the tick: a client may set its own RDTSC against it.
// Documentation/virt/kvm/api.rst, sections 4.29, 4.30; devices/vcpu.rst, 4.1; Linux, virt/kvm/x86/msr.rst.

import Chipset
import Dispatch
import Glibc
import GuestMemory
import KVM
import KVMABI
import Locking
import Processor
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct HostTimeTests {
    private static let source = """
        next: rdtsc
        mov [0x8000], eax
        mov [0x8004], edx
        rdtscp
        mov [0x8008], eax
        mov [0x800c], edx
        mov ecx, 0x10
        rdmsr
        mov [0x8010], eax
        mov [0x8014], edx
        out 0x80, al
        jmp next
        """

    private func hostsCounter() throws -> UInt64 {
        guard HostTSC.shared.isRDTSC, let now = HostProcessor.timeStampCounter else {
            try Test.cancel("this host's counter is not to be relied on")
        }
        return now
    }

    /// The guest's readings, all of a run, with the host's before and behind.
    private func readings(_ machine: TestMachine, _ cpu: inout KVM.VirtualCPU) throws -> [UInt64] {
        let before = try hostsCounter()
        try cpu.run()
        switch cpu.exit {
        case .portOut: break
        case .internalError: try skip("RDTSCP", "its emulator gives up")
        default: throw Unexpected(cpu.exit)
        }
        let client = try cpu.msr(0x10)
        let after = try hostsCounter()
        let guests = try (0..<3).map { try machine.memory.load(UInt64.self, at: 0x8000 + 8 * $0) }
        return [before] + guests + [client, after]
    }

    /// By every way that a counter is moved.
    enum Way: CaseIterable {
        case none, attribute, client, adjustment
    }

    @Test(arguments: Way.allCases, hypervisors)
    func theCounterIsTheHostsWithAnOffset(_ way: Way, _ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: Self.source)
        var cpu = try machine.makeCPU()
        let isMovable = hypervisor == .software
        if !isMovable, way != .none { try skip("\(way)", "kvm_pvm can't offset the counter") }
        switch way {
        case .none: break
        case .attribute: try cpu.setAttribute(group: 0, 0, to: 0x1234_5678_9abc)
        case .client: try cpu.setMSR(0x10, to: 1 << 60)
        case .adjustment:
            // The guest's own write moves both.
            let mover = try TestMachine(
                hypervisor, source: "mov ecx, 0x3b\nmov edx, 0x100\nxor eax, eax\nwrmsr\nout 0x80, al\n\(Self.source)")
            var moved = try mover.makeCPU()
            let offset = try moved.attribute(group: 0, 0)
            try moved.run()
            #expect(try moved.msr(0x3b) == 0x100_0000_0000)
            #expect(try moved.attribute(group: 0, 0) == offset &+ 0x100_0000_0000)
            try expectHostsTime(mover, &moved)
            return
        }
        try expectHostsTime(machine, &cpu)
        if way == .attribute { #expect(try cpu.attribute(group: 0, 0) == 0x1234_5678_9abc) }
    }

    private func expectHostsTime(_ machine: TestMachine, _ cpu: inout KVM.VirtualCPU) throws {
        let offset = try cpu.attribute(group: 0, 0)
        let readings = try readings(machine, &cpu)
        var hosts = readings
        for index in 1..<5 { hosts[index] &-= offset }
        #expect(hosts == hosts.sorted(), "\(hosts)")
    }

    /// Of another rate: the host's counter by the ratio of the two, whenever it is read.
    @Test func aCounterOfAnotherRateIsTheHostsScaled() throws {
        let machine = try TestMachine(.software, source: Self.source)
        for kilohertz in [HostTSC.kilohertz / 2 + 1, HostTSC.kilohertz + 12_345, 1_000_000] {
            var cpu = try machine.makeCPU()
            try cpu.setTSCKHz(kilohertz)
            let offset = try cpu.attribute(group: 0, 0)
            let readings = try readings(machine, &cpu)
            func scaled(_ host: UInt64) -> UInt64 { HostTSC.scale(host, by: kilohertz, over: HostTSC.kilohertz) }
            var all = readings
            for index in 1..<5 { all[index] &-= offset }
            for index in [0, 5] { all[index] = scaled(all[index]) }
            #expect(all == all.sorted(), "\(all)")
        }
    }

    /// KVM_GET_CLOCK's pair: the host's counter and what a guest's clock reads by it.
    @Test func theClockIsWhatAGuestReckons() throws {
        let machine = try TestMachine(.software, source: Self.source)
        var cpu = try machine.makeCPU()
        try cpu.setMSR(0x4b56_4d01, to: 0x4001)
        for setting: UInt64? in [nil, 1_000_000_000_000] {
            if let setting {
                var data = kvm_clock_data()
                data.clock = setting
                try machine.machine.setClock(data)
            }
            try cpu.run()
            let before = try hostsCounter()
            let clock = try machine.machine.clock()
            let after = try hostsCounter()
            // KVM_CLOCK_TSC_STABLE, _REALTIME, _HOST_TSC.
            #expect(clock.flags == 14)
            #expect(before <= clock.host_tsc && clock.host_tsc <= after)
            let stamp = try machine.memory.load(UInt64.self, at: 0x4008)
            let time = try machine.memory.load(UInt64.self, at: 0x4010)
            let multiplier = try machine.memory.load(UInt32.self, at: 0x4018)
            let shift = try machine.memory.load(Int8.self, at: 0x401c)
            let ticks = clock.host_tsc &+ (try cpu.attribute(group: 0, 0)) &- stamp
            let shifted = shift < 0 ? ticks >> UInt64(-Int(shift)) : ticks << UInt64(shift)
            let product = shifted.multipliedFullWidth(by: UInt64(multiplier))
            #expect(clock.clock == time &+ (product.high << 32 | product.low >> 32))
        }
    }

    /// When the timer of a deadline has fired, the counter has come there.
    @Test func aDeadlineIsNotBeforeItsTime() throws {
        let machine = try TestMachine(
            .software,
            source: """
                handlers
                mov word [0x6d000 + 0x31 * 16], fired
                mov r12d, 0xfee00000
                mov dword [r12 + 0xf0], 0x1ff
                mov dword [r12 + 0x320], 0x40031
                mov ebp, 500
                next: rdtsc
                shl rdx, 32
                or rax, rdx
                lea rbx, [rax + rbp * 8 + 3001]
                mov eax, ebx
                mov rdx, rbx
                shr rdx, 32
                mov ecx, 0x6e0
                wrmsr
                sti
                hlt
                cli
                dec ebp
                jnz next
                xor eax, eax
                out 0x80, eax
                fired: rdtsc
                shl rdx, 32
                or rax, rdx
                cmp rax, rbx
                mov eax, 1
                jb early
                mov dword [r12 + 0xb0], 0
                iretq
                early: out 0x80, eax
                """
        ) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        #expect(out.port == 0x80 && out.value == 0)
    }

    /// The first value that a client writes is that vCPU's, however small; from then on near ones agree.
    @Test func theFirstWriteCounts() {
        var machine = SoftKVM.VirtualMachine.Configuration()
        let rate = machine.tscKilohertz
        let second = UInt64(rate) * 1000
        let start: UInt64 = 1 << 40
        let new = machine.newTSC(at: start)
        #expect(new.value(at: start) == 0)
        #expect(machine.newTSC(at: start + 7 * second) == new)
        func write(_ value: UInt64, at time: UInt64, rate other: UInt32? = nil) -> UInt64 {
            machine.clientsTSC(value, kilohertz: other ?? rate, at: start + time).value(at: start + time)
        }
        #expect(write(second / 2, at: 0) == second / 2)
        // From here on the first one's, less than a second before or behind.
        #expect(write(second / 2 + second - 1, at: 0) == second / 2)
        #expect(write(3 * second, at: 3 * second) == second / 2 + 3 * second)
        #expect(write(second / 2 + second, at: 0) == second / 2 + second)
        #expect(write(0, at: second) == second / 2 + 2 * second)
        // One of another rate is itself.
        #expect(write(1000, at: 0, rate: rate / 2) == 1000)
    }

    /// Two vCPUs that nobody has written to read the same, and one that the client moves takes later ones along.
    @Test func vCPUsAgree() throws {
        let machine = try TestMachine(.software, source: "hlt")
        let first = try machine.makeCPU(id: 0)
        #expect(try machine.makeCPU(id: 1).attribute(group: 0, 0) == first.attribute(group: 0, 0))
        try first.setAttribute(group: 0, 0, to: 1 << 50)
        #expect(try machine.makeCPU(id: 2).attribute(group: 0, 0) == 1 << 50)
        let before = HostTSC.now
        try first.setMSR(0x10, to: 1 << 55)
        let after = HostTSC.now
        let host = (1 << 55) &- (try first.attribute(group: 0, 0))
        #expect(before <= host && host <= after)
    }

    // MARK: Hosts

    /// What the host states of its counter is what is counted; and where none is to be relied on, a clock stands for it.
    @Test func theRateIsTheHosts() throws {
        guard let counted = HostTSC.countedKilohertz else { try Test.cancel("no code can be made here") }
        if let stated = HostTSC.statedKilohertz {
            let difference = abs(Int(counted) - Int(stated))
            #expect(difference * 200 < Int(stated), "\(counted) counted, \(stated) stated")
        }
        let other = HostTSC(isRDTSC: false, kilohertz: 2_000_000)
        let clock = HostTSC.read(CLOCK_MONOTONIC)
        let first = other.now
        let second = other.now
        #expect(clock * 2 <= first && first <= second)
        #expect(second <= HostTSC.read(CLOCK_MONOTONIC) * 2)
    }

    @Test func countersAreModulo64Bits() {
        #expect(HostTSC.scale(.max, by: 3, over: 1) == .max &* 3)
        let half: UInt64 = 1 << 63
        #expect(HostTSC.scale(half, by: 2_000_001, over: 1_000_000) == half / 1_000_000)
        #expect(HostTSC.scale(10, by: 1, over: 3) == 3)
    }

    // MARK: Standing still

    /// PVCLOCK_GUEST_STOPPED is shown to every guest with a clock, once.
    @Test func aMachineThatStoodStillTellsItsGuests() throws {
        let machine = try SystemHandle().createVirtualMachine(type: 0)
        let pages = Pages(8)
        pages.write([0xe6, 0x80, 0xeb, 0xfc], at: 0x1000)  // again: out 80H, al; jmp again
        var region = kvm_userspace_memory_region()
        region.memory_size = 8 * 4096
        region.userspace_addr = pages.address
        try pass(&region) { _ = try machine.ioctl(.setUserMemoryRegion, $0) }
        try machine.createChipset(.full)
        let vcpu = try machine.createVirtualCPU(0)
        var sregs = kvm_sregs()
        try pass(&sregs) { _ = try vcpu.ioctl(.getSREGS, $0) }
        (sregs.cs.base, sregs.cs.selector) = (0, 0)
        try pass(&sregs) { _ = try vcpu.ioctl(.setSREGS, $0) }
        var regs = kvm_regs()
        (regs.rip, regs.rflags) = (0x1000, 2)
        try pass(&regs) { _ = try vcpu.ioctl(.setRegs, $0) }
        let clocks = VariableLengthBuffer(.msrs, [kvm_msr_entry(index: 0x4b56_4d01, reserved: 0, data: 0x4001)])
        #expect(try vcpu.ioctl(.setMSRS, ClientArgument(clocks.address)) == 1)
        func isTold() throws -> Bool {
            _ = try vcpu.run(nil)
            return pages[0x4000 + 29] & 2 != 0
        }
        #expect(try !isTold())
        machine.controllers.withLock { $0?.bells.timeStoodStill() }
        #expect(try isTold())
        pages[0x4000 + 29] = 0
        #expect(try !isTold())
    }

    /// A deadline of more than a second ago was reckoned before the guest stood still: it is told before the timer's interrupt.
    @Test func aDeadlineOfLongAgoTellsOfIt() throws {
        let machine = try TestMachine(
            .software,
            source: """
                handlers
                mov word [0x6d000 + 0x31 * 16], fired
                mov r12d, 0xfee00000
                mov dword [r12 + 0xf0], 0x1ff
                mov dword [r12 + 0x320], 0x40031
                mov ecx, 0x10
                mov edx, 0x10000
                xor eax, eax
                wrmsr
                out 0x80, al
                mov ecx, 0x6e0
                mov edx, 0xff00
                sti
                wrmsr
                hlt
                fired: mov ecx, 100     ; as soon as a system's handler would look
                .next: dec ecx
                jnz .next
                mov al, [0x4000 + 29]
                out 0x81, al
                """
        ) { try $0.createInterruptControllers() }
        var cpu = try machine.makeCPU()
        try cpu.setMSR(0x4b56_4d01, to: 0x4001)
        for (port, flags): (UInt16, UInt32) in [(0x80, 0), (0x81, 2)] {
            try cpu.run()
            guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
            #expect(out.port == port && out.value & 2 == flags)
        }
    }

    private func pass<T>(_ value: inout T, _ body: (ClientArgument) throws -> Void) throws {
        try unsafe withUnsafeMutablePointer(to: &value) { try body(ClientArgument(UInt(bitPattern: $0))) }
    }

    /// A timer that is due since long ago: that nothing ran is told before it fires.
    @Test func aTimerThatIsServedLateTellsOfIt() throws {
        let heard = Lock<[String]>([])
        let fired = DispatchSemaphore(value: 0)
        let loop = try EventLoop { heard.withLock { $0.append("stood still") } }
        let chipset = Chipset(
            mode: .full, clock: { 1000 },
            wake: { _ in
                heard.withLock { $0.append("fired") }
                fired.signal()
            }, deadlineChanged: { [weak loop] in loop?.deadlineChanged() }, endOfInterrupt: { _ in })
        _ = chipset.addVirtualCPU(0)
        try loop.start(chipset)
        for (offset, value): (UInt32, UInt64) in [(0xf0, 0x1ff), (0x320, 0x31), (0x380, 1000)] {
            _ = chipset.writeAPIC(0, offset: offset, size: 4, value: value)
        }
        fired.wait()
        loop.end()
        #expect(heard.withLock { $0 } == ["stood still", "fired"])
    }
}
