// Dirty rings (KVM_CAP_DIRTY_LOG_RING): the exit when one is full, what is lost (nothing), what a client can do to one.

import GuestMemory
import KVM
import KVMABI
import SoftKVM
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct DirtyRingTests {
    /// 250 pages through a ring of 256 entries, which counts as full with 192.
    @Test(arguments: hypervisors.filter { (try? System($0).check(.dirtyLogRingAcqRel)) ?? 0 > 0 })
    func aFullRingIsAnExitAndLosesNothing(_ hypervisor: Hypervisor) throws {
        let source = """
            mov edi, 0x100000
            mov ecx, 250
            next:
            mov byte [edi], 1
            add edi, 4096
            loop next
            hlt
            """
        let machine: TestMachine
        do {
            machine = try TestMachine(hypervisor, source: source) { try $0.enable(.dirtyLogRing(bytes: 4096)) }
        } catch {
            return try skip("a ring of a page", "this processor's own log needs a larger one")
        }
        try machine.machine.setFlags(.logDirtyPages, of: machine.high)
        var cpu = try machine.makeCPU()
        var ring = try cpu.dirtyRing(bytes: 4096)
        var pages: [UInt64] = []
        var full = 0
        while try endsFull(&cpu) {
            full += 1
            // Once more without harvesting, it is full still.
            #expect(try endsFull(&cpu))
            let harvest = ring.harvest()
            #expect(harvest.count >= 192 && harvest.allSatisfy { $0.slot == 1 })
            #expect(try machine.machine.resetDirtyRings() == harvest.count)
            #expect(try machine.machine.resetDirtyRings() == 0)
            pages += harvest.map(\.page)
        }
        pages += ring.harvest().map(\.page)
        #expect(Set(pages) == Set(0..<250))
        if hypervisor == .kernel, full == 0 {
            return try skip("a full ring", "its emulator goes on past a full ring until it halts")
        }
        #expect(full >= 1)
        if hypervisor == .software { #expect(pages.count == 250) }
    }

    /// True at a full ring, false at HLT.
    private func endsFull(_ cpu: inout VirtualCPU) throws -> Bool {
        try cpu.run()
        switch cpu.exit {
        case .dirtyRingFull: return true
        case .halt: return false
        default: throw Unexpected(cpu.exit)
        }
    }

    /// The bitmap's requests, sizes, and the order in which things are asked for.
    @Test func ringsAreInsteadOfBitmaps() throws {
        let client = try EndpointClient()
        func refusal(_ size: UInt64) -> Errno? {
            client.failure { try client.enable(client.machine, .dirtyLogRing, size) }
        }
        #expect(refusal(0) == .invalidArgument)
        #expect(refusal(2048) == .invalidArgument)
        #expect(refusal(12288) == .invalidArgument)
        #expect(refusal(1 << 21) == .argumentListTooLong)
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.machine, .resetDirtyRings, 0) } == .invalidArgument)
        try client.enable(client.machine, .dirtyLogRingAcqRel, 65536)
        #expect(refusal(65536) == .invalidArgument)
        let pages = Pages(4)
        try client.setSlot(0, flags: 1, at: 0, size: 16384, from: pages.address)
        for (request, size) in [(Request.getDirtyLog, 16), (.clearDirtyLog, 24)] {
            let argument = [UInt8](repeating: 0, count: size)
            #expect(
                client.failure { try client.setBytes(client.machine, request, argument) } == .noSuchDeviceOrAddress)
        }
        #expect(try client.endpoint.ioctl(client.machine, .resetDirtyRings, 0) == 0)

        let late = try EndpointClient()
        _ = try late.makeVCPU()
        #expect(late.failure { try late.enable(late.machine, .dirtyLogRing, 65536) } == .invalidArgument)
    }

    /// Whatever a client writes into its ring, the hypervisor takes back what it has pushed, and touches nothing else.
    @Test func aHostileRingHarmsNobody() throws {
        let client = try EndpointClient()
        try client.enable(client.machine, .dirtyLogRing, 4096)
        let pages = Pages(16)
        // inc byte [bx]; add bx, 1000h; cmp bx, e000h; jne f000h; hlt.
        pages.write([0xFE, 0x07, 0x81, 0xC3, 0x00, 0x10, 0x81, 0xFB, 0x00, 0xE0, 0x75, 0xF4, 0xF4], at: 0xF000)
        try client.setSlot(0, flags: 1, at: 0, size: 0x10000, from: pages.address)
        let vcpu = try client.makeVCPU()
        var sregs = try client.get(vcpu, .getSREGS, kvm_sregs())
        sregs.cs.base = 0
        sregs.cs.selector = 0
        try client.set(vcpu, .setSREGS, sregs)
        var regs = kvm_regs()
        regs.rip = 0xF000
        regs.rflags = 2
        try client.set(vcpu, .setRegs, regs)
        let ring = unsafe try client.endpoint.map(vcpu, length: 4096, offset: 64 * 4096)
        defer { unsafe client.endpoint.unmap(ring, length: 4096) }
        #expect(try client.endpoint.ioctl(vcpu, .run, 0) == 0)
        let count = (0..<256).filter { unsafe ring.load(fromByteOffset: $0 * 16, as: UInt32.self) == 1 }.count
        #expect(count == 14)
        // Every entry, pushed or not, as if it were harvested, of slots and pages that there are not.
        for index in 0..<256 {
            unsafe ring.storeBytes(of: 0xFFFF_FFFE, toByteOffset: index * 16, as: UInt32.self)
            unsafe ring.storeBytes(of: UInt32(index) &* 0x1357_9BDF, toByteOffset: index * 16 + 4, as: UInt32.self)
            unsafe ring.storeBytes(of: UInt64.max - UInt64(index), toByteOffset: index * 16 + 8, as: UInt64.self)
        }
        #expect(try client.endpoint.ioctl(client.machine, .resetDirtyRings, 0) == 14)
        #expect(try client.endpoint.ioctl(client.machine, .resetDirtyRings, 0) == 0)
        // The kernel makes longer mappings, and such as begin behind the ring, too; only what they show matters.
        for (length, page) in [(8192, 64), (4096, 65)] {
            let mapping = unsafe try client.endpoint.map(vcpu, length: length, offset: page * 4096)
            if page == 64 {
                #expect(
                    unsafe mapping.load(fromByteOffset: 8, as: UInt64.self)
                        == ring.load(fromByteOffset: 8, as: UInt64.self))
            }
            unsafe client.endpoint.unmap(mapping, length: length)
        }
        let refusal = client.failure { _ = unsafe try client.endpoint.map(vcpu, length: 0, offset: 64 * 4096) }
        #expect(refusal == .invalidArgument)
    }
}
