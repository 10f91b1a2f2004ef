import Glibc
import KVM2006
import KVMABI
import SoftKVM
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct FirstRehearsalTests {
    /// The machine comes to its HLT: nothing of what it is to see is left out.
    @Test(arguments: Host.present) func comesToItsEnd(_ host: Host) throws {
        let device = try Device(host)
        #expect(FirstRehearsal.perform(by: device))
        #expect(device.isClosed)
        #expect(device.asked == Set(FirstRequest.allCases).subtracting(Device.rare))
    }

    /// What can't be made is said, and let go of.
    @Test func refusalsEndIt() throws {
        for refused in FirstRequest.allCases where !Device.rare.contains(refused) {
            let device = try Device(.software)
            device.refused = refused
            #expect(!FirstRehearsal.perform(by: device), "\(refused.name)")
            #expect(device.isClosed)
        }
    }
}

/// One machine of the first interface.
private final class Device: FirstDevice {
    /// What the rehearsal leaves to the client.
    static let rare: Set<FirstRequest> = [.translate, .interrupt, .debugGuest, .getDirtyLog]

    private let interface: FirstInterface
    var refused: FirstRequest?
    var asked: Set<FirstRequest> = []
    var isClosed = false

    init(_ host: Host) throws { interface = try FirstInterface(host.makeEndpoint()) }

    func open() throws(Errno) -> Handle { Handle(rawValue: 1) }

    func ioctl(_ handle: Handle, _ request: FirstRequest, _ argument: UInt) throws(Errno) {
        guard request != refused else { throw .outOfMemory }
        asked.insert(request)
        _ = try interface.ioctl(request: request.rawValue, argument: argument)
    }

    func map(_ handle: Handle, length: Int) throws(Errno) -> UnsafeMutableRawPointer {
        unsafe try interface.place(offset: 0, length: length).map()
    }

    func unmap(_ address: UnsafeMutableRawPointer, length: Int) { unsafe munmap(address, length) }
    func close(_ handle: Handle) { isClosed = true }
}
