// Which requests are served on which handle, and how the others are refused: by the table and against the kernel.
// Documentation/virt/kvm/api.rst, sections 3 and 4.

import KVM
import SoftKVM
import TestLimits
import Testing

@testable import KVMABI

@Suite(.within(minutes: 20)) struct RequestTests {
    /// Why a request that is served can't be told here from one that is not.
    static let alike: [Request: String] = [
        .run: "needs its mapping; every guest of the tests is run by it",
        .kvmclockCtrl: "is refused as if unknown where the guest has no clock",
    ]

    /// Requests that a kernel serves although the capability reads 0, or does not although it reads more.
    static let kernelsOwn: [Request: String] = [
        .setTSCKHz: "served on every VM",
        .getTSCKHz: "served on every VM",
        .preFaultMemory: "read before the kernel looks whether it has it",
        .memoryEncryptOp: "served where the processor encrypts memory, whatever KVM_CAP_VM_TYPES says",
        .memoryEncryptRegRegion: "served where the processor encrypts memory, whatever KVM_CAP_VM_TYPES says",
        .memoryEncryptUnregRegion: "served where the processor encrypts memory, whatever KVM_CAP_VM_TYPES says",
    ]

    private func machine(_ hypervisor: Hypervisor) throws -> RawMachine {
        try RawMachine(hypervisor) { _ = $0.answer(.machine, .createIRQCHIP) }
    }

    /// Requests of KVM's type that are none: every number, direction and some sizes, and each known one with another size
    /// or direction.
    private static let unknown: [Request] = {
        var codes: Set<UInt> = []
        func add(_ number: UInt, _ size: Int) {
            guard (0..<0x4000).contains(size) else { return }
            for direction: UInt in 0..<4 { codes.insert(direction << 30 | UInt(size) << 16 | 0xae00 | number) }
        }
        for number: UInt in 0..<256 {
            for size in [0, 4, 8, 16, 24, 32, 64] { add(number, size) }
        }
        for row in Request.all {
            for other in [-8, -4, -1, 0, 1, 4, 8, 4096] { add(row.request.number, row.request.size + other) }
        }
        return codes.subtracting(Request.all.map(\.request.rawValue)).sorted().map(Request.init(rawValue:))
    }()

    @Test(arguments: hypervisors)
    func unknownRequestsAreRefused(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        #expect(Self.unknown.count > 7000)
        for handle in [HandleKind.system, .machine, .vcpu] {
            for request in Self.unknown {
                let answer = machine.answer(handle, request)
                #expect(answer == .unknown(to: handle), "\(request) on \(handle)")
            }
            for code: UInt in [0, 0x5401, 0x1234_5678, 0xffff_ffff] {
                #expect(machine.answer(handle, Request(rawValue: code)) == .unknown(to: handle))
            }
        }
    }

    @Test(arguments: hypervisors)
    func requestsAreServedWhereTheTableSays(_ hypervisor: Hypervisor) throws {
        let machine = try machine(hypervisor)
        for row in Request.all where Self.alike[row.request] == nil {
            for handle in [HandleKind.system, .machine, .vcpu] {
                let basis = Request.places.first { $0.request == row.request && $0.handle == handle }?.basis
                let isServed =
                    switch basis {
                    case .base: true
                    case .capability(let capability): machine.check(capability) != 0
                    case .removed, nil: false
                    }
                if hypervisor == .kernel, Self.kernelsOwn[row.request] != nil { continue }
                let answer = machine.answer(handle, row.request)
                // What is not served is refused as what is not known, or as what is known and not there.
                let isRefused = answer == .unknown(to: handle) || answer == .error(.inappropriateRequest)
                #expect(isRefused != isServed, "\(row.name) on \(handle): \(answer)")
            }
        }
    }

    @Test func whatIsNotServedIsRefusedAsOnTheKernel() throws {
        guard let kernel = try? machine(.kernel) else { try Test.cancel("no /dev/kvm on this machine") }
        let software = try machine(.software)
        for row in Request.all where Self.alike[row.request] == nil {
            for handle in [HandleKind.system, .machine, .vcpu] {
                let (ours, theirs) = (software.answer(handle, row.request), kernel.answer(handle, row.request))
                func isRefusal(_ answer: RawMachine.Answer) -> Bool {
                    answer == .unknown(to: handle) || answer == .error(.inappropriateRequest)
                }
                guard isRefusal(ours), isRefusal(theirs) else { continue }
                #expect(ours == theirs, "\(row.name) on \(handle)")
            }
        }
    }

    @Test func everyRequestHasAPlace() {
        for row in Request.all {
            #expect(Request.places.contains { $0.request == row.request }, "\(row.name)")
        }
        let places = Request.places.map { "\($0.request) \($0.handle)" }
        #expect(Set(places).count == places.count)
        // None was lost for a name that is not known.
        #expect(places.count == Request.placeTableCount)
    }
}
