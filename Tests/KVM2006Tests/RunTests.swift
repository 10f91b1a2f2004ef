// Exits other than port accesses, interrupts, breakpoints, several vCPUs.

import Foundation
import KVM2006
import KVMABI
import Synchronization
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct RunTests {
    private typealias MMIO = FirstRun.MMIO

    /// Data at B800:0, where there is no memory.
    private func makeMMIOClient(_ host: Host, _ code: [UInt8]) throws -> FirstClient {
        let client = try FirstClient(host, code)
        var special = try client.specialRegisters()
        special.replaceSubrange(32..<40, with: FirstClient.bytes(UInt64(0xB8000)))
        special.replaceSubrange(44..<46, with: [0x00, 0xB8])
        try client.setSpecialRegisters(special)
        return client
    }

    @Test(arguments: Host.present)
    func mmio(_ host: Host) throws {
        let client = try makeMMIOClient(
            host,
            [
                0xC7, 0x06, 0x10, 0x00, 0x21, 0x07,  // mov word [0x10], 0x0721
                0x66, 0xA1, 0x20, 0x00,  // mov eax, [0x20]
                0xF4,
            ])
        var run = FirstRun()
        try client.run(&run, to: 6)
        #expect(run.mmio == MMIO(address: 0xB8010, data: 0x0721, length: 2, isWrite: true))
        #expect(try client.register(.rip) == 0x1006)
        try client.run(&run, to: 6)
        #expect(run.mmio.address == 0xB8020 && run.mmio.length == 4 && !run.mmio.isWrite)
        #expect(try client.register(.rip) == 0x1006)
        // Without an answer the instruction is met again.
        try client.run(&run, to: 6)
        #expect(run.mmio.address == 0xB8020 && run.mmio.length == 4 && !run.mmio.isWrite)
        run[32] = 0x1234_5678 as UInt32
        run.mmioCompleted = 1
        try client.run(&run, to: 5)
        #expect(run.mmioCompleted == 0)
        #expect(try client.register(.rax) == 0x1234_5678)
    }

    @Test(arguments: Host.present)
    func mmioReadAndWriteOfOneInstruction(_ host: Host) throws {
        let client = try makeMMIOClient(host, [0xFE, 0x06, 0x30, 0x00, 0xF4])  // inc byte [0x30]
        var run = FirstRun()
        try client.run(&run, to: 6)
        #expect(run.mmio.address == 0xB8030 && run.mmio.length == 1 && !run.mmio.isWrite)
        run[32] = 0x41 as UInt8
        run.mmioCompleted = 1
        try client.run(&run, to: 6)
        #expect(run.mmio.address == 0xB8030 && run.mmio.length == 1 && run.mmio.isWrite && run.mmio.data & 0xFF == 0x42)
        try client.run(&run, to: 5)
    }

    /// An MMIO read that the client did itself, or gave up.
    @Test func mmioReadIsSkippedOrLeft() throws {
        let client = try makeMMIOClient(.software, [0xA0, 0x20, 0x00, 0x40, 0xF4])  // mov al, [0x20]; inc ax
        try client.set([.rax: 7])
        var run = FirstRun()
        try client.run(&run, to: 6)
        run.emulated = 1
        try client.run(&run, to: 5)
        #expect(try client.register(.rax) == 8)
        try client.set([.rip: 0x1000])
        try client.run(&run, to: 6)
        try client.set([.rip: 0x1003])
        try client.run(&run, to: 5)
        #expect(try client.register(.rax) == 9)
    }

    @Test func kernelRefusesToSkipAnMMIORead() throws {
        guard Host.present.contains(.kernel) else { return try skip("kernelRefusesToSkipAnMMIORead", "no /dev/kvm") }
        let client = try makeMMIOClient(.kernel, [0xA0, 0x20, 0x00, 0xF4])
        var run = FirstRun()
        try client.run(&run, to: 6)
        run.emulated = 1
        #expect(client.failure { try client.run(&run) } == .invalidArgument)
    }

    /// The client answers CPUID.
    @Test func cpuid() throws {
        let client = try FirstClient(.software, [0x31, 0xC0, 0x0F, 0xA2, 0xF4])
        var run = FirstRun()
        for _ in 0..<2 {
            try client.run(&run, to: 3)
            #expect(run.instructionLength == 2)
            #expect(try client.register(.rip) == 0x1002)
        }
        try client.set([.rax: 0x2006, .rbx: 0x10, .rcx: 0x1027, .rdx: 0xAE])
        run.emulated = 1
        try client.run(&run, to: 5)
        #expect(try client.registers()[0..<4] == [0x2006, 0x10, 0x1027, 0xAE])
    }

    /// `KernelLimit.cpuidHasNoExit`.
    @Test func kernelAnswersCPUIDItself() throws {
        guard Host.present.contains(.kernel) else { return try skip("kernelAnswersCPUIDItself", "no /dev/kvm") }
        let client = try FirstClient(.kernel, [0x31, 0xC0, 0x0F, 0xA2, 0xF4])
        var run = FirstRun()
        try client.run(&run, to: 5)
        #expect(try client.register(.rbx) != 0)
    }

    @Test(arguments: Host.present)
    func hltIsCompleteAtItsExit(_ host: Host) throws {
        let client = try FirstClient(host, [0xF4, 0x40, 0xF4])
        var run = FirstRun()
        try client.run(&run, to: 5)
        #expect(run.instructionLength == 1)
        #expect(try client.register(.rip) == 0x1001)
        // There is nothing left to skip.
        run.emulated = 1
        try client.run(&run, to: 5)
        #expect(try client.register(.rax) == 1)
        #expect(try client.register(.rip) == 0x1003)
    }

    /// The handlers of the vectors 0x20 and 0x30: mov [bx+0x2000], vector; inc bx; iret.
    private func makeInterruptClient(_ host: Host, _ code: [UInt8]) throws -> FirstClient {
        let client = try FirstClient(host, code)
        for vector in [UInt8(0x20), 0x30] {
            client.write([0x00, 0x17 + vector / 16, 0, 0], at: UInt64(vector) * 4)
            client.write(
                [0xC6, 0x87, 0x00, 0x20, vector, 0x43, 0xCF], at: 0x1700 + UInt64(vector / 16) * 256)
        }
        try client.set([.rbx: 0])
        return client
    }

    @Test(arguments: Host.present)
    func interruptsWaitForTheGuest(_ host: Host) throws {
        let client = try makeInterruptClient(host, [0x90, 0xE6, 0x80, 0xFB, 0x90, 0x90, 0xFA, 0xF4])
        try client.interrupt(0x30)
        try client.interrupt(0x20)
        try client.interrupt(0x30)
        #expect(try client.specialRegisters()[288] == 1)
        var run = FirstRun()
        try client.run(&run, to: 2)
        #expect(client[0x2000] == 0)
        run.emulated = 1
        try client.run(&run, to: 5)
        if host == .kernel, client[0x2000] == 0 {
            try skip(
                "interruptsWaitForTheGuest", "it emulates, and looks for a window only when it enters its guest anew")
        }
        #expect(client.bytes(at: 0x2000, 3) == [0x20, 0x30, 0])
        #expect(try client.specialRegisters()[288] == 0)
        #expect(try client.register(.rip) == 0x1008)
    }

    @Test(arguments: Host.present)
    func interruptEndsHLT(_ host: Host) throws {
        let client = try makeInterruptClient(host, [0xFB, 0xF4, 0x40, 0xFA, 0xF4])
        var run = FirstRun()
        try client.run(&run, to: 5)
        #expect(try client.register(.rip) == 0x1002)
        try client.interrupt(0x20)
        try client.run(&run, to: 5)
        #expect(client[0x2000] == 0x20)
        #expect(try client.register(.rip) == 0x1005)
        // A halt with an interrupt to take is no exit at all.
        try client.set([.rip: 0x1000])
        try client.interrupt(0x30)
        try client.run(&run, to: 5)
        #expect(client[0x2001] == 0x30)
        #expect(try client.register(.rip) == 0x1005)
    }

    /// The shadow of STI covers one instruction, which the client executes.
    @Test(arguments: Host.present)
    func skippedInstructionEndsTheShadow(_ host: Host) throws {
        // sti; in al, 0x80; inc ax; cli; hlt
        let client = try makeInterruptClient(host, [0xFB, 0xE4, 0x80, 0x40, 0xFA, 0xF4])
        // mov [0x3000], ax; iret
        client.write([0xA3, 0x00, 0x30, 0xCF], at: 0x1900)
        try client.set([.rax: 0])
        try client.interrupt(0x20)
        var run = FirstRun()
        try client.run(&run, to: 2)
        try client.access(&run) { _ in 0x50 }
        try client.run(&run, to: 5)
        #expect(client.bytes(at: 0x3000, 2) == [0x50, 0])
        #expect(try client.register(.rax) == 0x51)
    }

    @Test(arguments: Host.present)
    func singleSteps(_ host: Host) throws {
        let client = try FirstClient(host, [0x40, 0x40, 0xB3, 0x05, 0x40, 0xF4])
        try client.debug(step: true)
        var run = FirstRun()
        for rip in [UInt64(0x1001), 0x1002, 0x1004, 0x1005] {
            try client.run(&run, to: 4)
            #expect(try client.register(.rip) == rip)
            #expect(try client.register(.rflags) & 0x100 == 0)
        }
        try client.debug(enabled: false)
        try client.run(&run, to: 5)
        #expect(try client.register(.rax) == 3)
    }

    @Test(arguments: Host.present)
    func breakpoints(_ host: Host) throws {
        let client = try FirstClient(host, [0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0xF4])
        try client.debug([0x1001, 0x1003, 0x1004, 0x1006])
        var run = FirstRun()
        for rip in [UInt64(0x1001), 0x1003, 0x1004, 0x1006] {
            try client.run(&run, to: 4)
            #expect(try client.register(.rip) == rip)
            #expect(try client.register(.rax) == rip - 0x1000)
            // A step gets over the breakpoint, as that time's debuggers did it.
            try client.debug([0x1001, 0x1003, 0x1004, 0x1006], step: true)
            guard rip != 0x1006 else { break }
            try client.run(&run, to: 4)
            #expect(try client.register(.rip) == rip + 1)
            try client.debug([0x1001, 0x1003, 0x1004, 0x1006].filter { $0 != rip + 1 || $0 == 0x1004 })
        }
        try client.debug(enabled: false)
        try client.run(&run, to: 5)
        #expect(try client.register(.rip) == 0x1007)
    }

    @Test(arguments: Host.present)
    func tripleFaultIsUnknown(_ host: Host) throws {
        let client = try FirstClient(host, [0x0F, 0x0B])
        try client.enterProtectedMode()
        var special = try client.specialRegisters()
        special.replaceSubrange(216 + 8..<216 + 10, with: [0, 0])  // IDT's limit
        try client.setSpecialRegisters(special)
        var run = FirstRun()
        try client.run(&run)
        #expect(run.exitType == 2 && run.reason == 0, "\(run.bytes)")
        if host == .software { #expect(run[24] == 2 as UInt32) }
    }

    @Test(arguments: Host.present)
    func vcpusByNumber(_ host: Host) throws {
        // mov al, bl; out 0x10, al; inc bl; jmp $-6
        let client = try FirstClient(host, [0x88, 0xD8, 0xE6, 0x10, 0xFE, 0xC3, 0xEB, 0xF8], vcpus: 2)
        try client.set([.rbx: 0x40], vcpu: 1)
        try client.set([.rbx: 0x60], vcpu: 0)
        let outputs = Mutex<[Int: [UInt8]]>([:])
        DispatchQueue.concurrentPerform(iterations: 2) { number in
            do {
                var run = FirstRun(vcpu: UInt32(number))
                var output: [UInt8] = []
                for _ in 0..<16 {
                    try client.run(&run, to: 2)
                    output.append(UInt8(truncatingIfNeeded: run.port.addressOrValue))
                    run.emulated = 1
                }
                outputs.withLock { $0[number] = output }
            } catch {
                Issue.record(error)
            }
        }
        #expect(outputs.withLock { $0 } == [0: Array(0x60..<0x70), 1: Array(0x40..<0x50)])
    }

    /// A kick that comes before the run ends it; what the client had asked for is done once.
    @Test(arguments: Host.present)
    func kick(_ host: Host) throws {
        let client = try FirstClient(host, [0xE6, 0x10, 0x40, 0xF4])
        var run = FirstRun()
        try client.run(&run, to: 2)
        client.interface.kick(vcpu: 0)
        run.emulated = 1
        #expect(client.failure { try client.run(&run) } == .interrupted)
        #expect(run.emulated == 0)
        #expect(try client.register(.rip) == 0x1002)
        try client.run(&run, to: 5)
        #expect(try client.register(.rip) == 0x1004)
        client.interface.kick(vcpu: 7)
    }

    /// A kick ends a guest that never leaves by itself.
    @Test(arguments: Host.present)
    func kickFromAnotherThread(_ host: Host) throws {
        let client = try FirstClient(host, [0xFE, 0x06, 0x00, 0x20, 0xEB, 0xFA])  // inc byte [0x2000]; jmp
        let kicker = Thread {
            while client[0x2000] == 0 { sched_yield() }
            client.interface.kick(vcpu: 0)
        }
        kicker.start()
        var run = FirstRun()
        #expect(client.failure { try client.run(&run) } == .interrupted)
        #expect(client[0x2000] != 0 || run.exitType == 0)
    }
}
