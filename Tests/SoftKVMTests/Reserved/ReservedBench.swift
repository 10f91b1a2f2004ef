// The machine on which structures are tried, on either hypervisor: interrupt controllers, a PIT, a vCPU and a slot of memory.

import Glibc
import KVMABI
import Testing

/// A machine, and what a structure may refer to. Closed with this object.
final class ReservedBench {
    let endpoint: any Endpoint
    let system: Handle
    let machine: Handle
    let vcpu: Handle
    /// Slot 0, logged, at 0.
    let pages = Pages(16)
    /// Where structures point to.
    let scratch = Pages(2)
    let events: [Int32]

    /// What the machine has of the PC's chips.
    enum Chips { case none, controllers, all }

    init(_ endpoint: any Endpoint, _ chips: Chips = .all) throws {
        self.endpoint = endpoint
        system = try endpoint.open()
        machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
        _ = try endpoint.ioctl(machine, .setTSSAddr, 0xFFFB_D000)
        if chips != .none { _ = try endpoint.ioctl(machine, .createIRQCHIP, 0) }
        vcpu = Handle(rawValue: try endpoint.ioctl(machine, .createVCPU, 0))
        events = (0..<2).map { _ in eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }
        if chips == .all { try call(machine, .createPIT2, [UInt8](repeating: 0, count: 64)) }
        try call(machine, .setUserMemoryRegion, region(slot: 0, flags: 1, at: 0, pages: 16, pages.address))
    }

    deinit {
        endpoint.close(vcpu)
        endpoint.close(machine)
        endpoint.close(system)
        for event in events { close(event) }
    }

    func region(slot: UInt32, flags: UInt32, at address: UInt64, pages: UInt64, _ user: UInt64) -> [UInt8] {
        bytes(slot) + bytes(flags) + bytes(address) + bytes(pages * 4096) + bytes(user)
    }

    /// An ioctl with a structure, which comes back as the hypervisor left it.
    @discardableResult
    func call(_ handle: Handle, _ request: Request, _ structure: [UInt8]) throws -> [UInt8] {
        var structure = structure
        try unsafe structure.withUnsafeMutableBytes { buffer in
            _ = try endpoint.ioctl(handle, request, UInt(bitPattern: buffer.baseAddress))
        }
        return structure
    }
}

/// An integer as a structure holds it.
func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
}
