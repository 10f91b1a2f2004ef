// Exits that neither hypervisor gives here, but that 2006 had words for: what an endpoint says is passed on.

import Glibc
import KVM2006
import KVMABI
import SoftKVM
import Synchronization
import TestLimits
import Testing

/// A hypervisor whose KVM_RUN ends as it is told.
@safe private final class ScriptedEndpoint: Endpoint {
    private let under = SoftwareEndpoint()
    private let area = Mutex<UInt>(0)
    /// Words of `struct kvm_run`, by their offsets.
    let words = Mutex<[Int: UInt64]>([:])

    func open() throws(Errno) -> Handle { try under.open() }
    func close(_ handle: Handle) { under.close(handle) }
    func kick(_ vcpu: Handle) { under.kick(vcpu) }
    func unmap(_ address: UnsafeMutableRawPointer, length: Int) { unsafe under.unmap(address, length: length) }

    func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer {
        let address = unsafe try under.map(handle, length: length, offset: offset)
        area.withLock { $0 = UInt(bitPattern: address) }
        return unsafe address
    }

    func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        guard request == .run else { return try under.ioctl(handle, request, argument) }
        let base = unsafe UnsafeMutableRawPointer(bitPattern: area.withLock { $0 })
        for (offset, word) in words.withLock({ $0 }) {
            // SAFETY: the run area, which is mapped while its vCPU is there.
            unsafe base?.storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
        }
        return 0
    }
}

@Suite(.within(minutes: 20)) struct RareExitTests {
    private func run(_ words: [Int: UInt64]) throws -> FirstRun {
        let endpoint = ScriptedEndpoint()
        let client = try FirstClient(endpoint)
        try client.ioctl(.createVCPU, 0)
        endpoint.words.withLock { $0 = words }
        var run = FirstRun()
        try client.run(&run)
        return run
    }

    /// An exception that VMX handed to its client: exit 1, with vector and error code.
    @Test func anException() throws {
        let run = try run([8: UInt64(ExitReason.exception.rawValue), 32: 0x1234_0000_000D])
        #expect(run.exitType == 2 && run.reason == 1)
        #expect(run[24] == UInt32(13) && run[28] == UInt32(0x1234))
    }

    /// State that the processor can't enter: no exit, but an exit type of its own, whose reason is the processor's.
    @Test func aFailedEntry() throws {
        let run = try run([8: UInt64(ExitReason.failEntry.rawValue), 32: 0x8000_0021])
        #expect(run.exitType == 1 && run.reason == 0x8000_0021)
    }

    /// What had no name then is unknown.
    @Test(arguments: [ExitReason.hypercall, .systemEvent, .internalError])
    func whatCameLater(_ reason: ExitReason) throws {
        let run = try run([8: UInt64(reason.rawValue)])
        #expect(run.exitType == 2 && run.reason == 0)
    }
}
