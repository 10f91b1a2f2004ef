// Arguments that are plain integers: all of their 64 bits count, and limits know of each other.
// Documentation/virt/kvm/api.rst, section 4.

import KVM
import KVMABI
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.within(minutes: 20)) struct IntegerArgumentTests {
    /// A request and how it is answered: what it gives is left open.
    struct Step: Sendable {
        let handle: HandleKind
        let request: Request
        let argument: UInt
        let error: Errno?
        /// The kernel looks at fewer bits.
        var isKernels = true

        init(_ handle: HandleKind, _ request: Request, _ argument: UInt, _ error: Errno? = nil, isKernels: Bool = true)
        {
            (self.handle, self.request, self.argument, self.error) = (handle, request, argument, error)
            self.isKernels = isKernels
        }

        static func limit(_ value: UInt, _ error: Errno? = nil) -> Step { Step(.machine, .enableCap, value, error) }
    }

    private static let far: UInt = 1 << 32
    /// Each on a VM of its own, without a vCPU. KVM_ENABLE_CAP stands for that of KVM_CAP_MAX_VCPU_ID with the argument.
    static let sequences: [[Step]] = [
        [
            .init(.system, .getAPIVersion, 1, .invalidArgument), .init(.system, .getAPIVersion, far, .invalidArgument),
            .init(.system, .createVM, 1 << 63, .invalidArgument), .init(.system, .createVM, far, .invalidArgument),
            .init(.system, .getVCPUMmapSize, far, .invalidArgument),
        ],
        [
            .init(.machine, .createVCPU, far, .invalidArgument),
            .init(.machine, .createVCPU, far + 1, .invalidArgument),
            .init(.machine, .createVCPU, .max, .invalidArgument), .init(.machine, .createVCPU, 4096, .invalidArgument),
            .init(.machine, .createVCPU, 4095), .init(.machine, .createVCPU, 4095, .fileExists),
            // Whoever has a vCPU has the limit, too.
            .limit(100, .invalidArgument), .limit(4096), .init(.machine, .setBootCPUID, 3, .busy),
        ],
        [
            .init(.machine, .setBootCPUID, 4097, .invalidArgument),
            .init(.machine, .setBootCPUID, far, .invalidArgument),
            .init(.machine, .setBootCPUID, 4096), .init(.machine, .setBootCPUID, 50), .limit(40, .invalidArgument),
            .limit(4097, .invalidArgument), .limit(50), .limit(60, .invalidArgument), .limit(50),
            .init(.machine, .setBootCPUID, 50), .init(.machine, .setBootCPUID, 51, .invalidArgument),
            .init(.machine, .createVCPU, 50, .invalidArgument), .init(.machine, .createVCPU, 49),
        ],
        [
            .limit(0), .limit(5), .limit(0, .invalidArgument), .init(.machine, .createVCPU, 5, .invalidArgument),
            .init(.machine, .createVCPU, 4), .init(.machine, .createVCPU, far + 3, .invalidArgument),
        ],
        // One that is refused sets the limit as well.
        [.init(.machine, .createVCPU, 4096, .invalidArgument), .limit(100), .limit(99, .invalidArgument)],
        [
            .init(.machine, .setNrMMUPages, 0, .invalidArgument), .init(.machine, .setNrMMUPages, 63, .invalidArgument),
            .init(.machine, .setNrMMUPages, 64), .init(.machine, .setNrMMUPages, far),
            .init(.machine, .getNrMMUPages, 0, .inappropriateRequest),
        ],
        [
            .init(.machine, .setTSSAddr, 0xffff_d000), .init(.machine, .setTSSAddr, 0xffff_d001, .invalidArgument),
            .init(.machine, .setTSSAddr, far, .invalidArgument),
        ],
        [
            .init(.machine, .setTSCKHz, 0), .init(.machine, .setTSCKHz, 1_000_000),
            .init(.machine, .setTSCKHz, far, .invalidArgument, isKernels: false),
            .init(.machine, .setTSCKHz, far + 1_000_000, .invalidArgument, isKernels: false),
            .init(.machine, .createVCPU, 0), .init(.machine, .setTSCKHz, 0, .invalidArgument),
            .init(.machine, .createIRQCHIP, 0, .invalidArgument),
            .init(.machine, .resetDirtyRings, 0, .invalidArgument),
        ],
    ]

    @Test(arguments: sequences.indices, hypervisors)
    func everyBitCounts(_ which: Int, _ hypervisor: Hypervisor) throws {
        let machine = try RawMachine(hypervisor, hasVCPU: false)
        for step in Self.sequences[which] where step.isKernels || hypervisor == .software {
            let answer =
                step.request == .enableCap
                ? machine.enable(.maxVCPUID, UInt64(step.argument))
                : machine.answer(step.handle, step.request, step.argument)
            var error: Errno?
            if case .error(let errno) = answer { error = errno }
            #expect(error == step.error, "\(step.request) of \(step.argument): \(answer)")
        }
    }

    @Test(arguments: hypervisors)
    func aVCPUsIntegers(_ hypervisor: Hypervisor) throws {
        let machine = try RawMachine(hypervisor)
        #expect(machine.answer(.vcpu, .run, 1) == .refused)
        #expect(machine.answer(.vcpu, .run, Self.far) == .refused)
        #expect(machine.answer(.vcpu, .nmi, Self.far) == .done)
        #expect(machine.answer(.vcpu, .kvmclockCtrl, 1) == .refused)
        if hypervisor == .software { #expect(machine.answer(.vcpu, .setTSCKHz, Self.far) == .refused) }
        for kind in [HandleKind.system, .machine] {
            let capability = UInt(Capability.maxVcpus.rawValue)
            #expect(machine.answer(kind, .checkExtension, capability) == .value(1024))
            #expect(machine.answer(kind, .checkExtension, capability + Self.far) == .value(0))
        }
    }

    /// What the limits say of themselves is where they are.
    @Test func limitsAreWhatIsAnnounced() throws {
        let machine = try RawMachine(.software, hasVCPU: false)
        let identifiers = UInt(machine.check(.maxVCPUID))
        #expect(machine.answer(.machine, .createVCPU, identifiers) == .refused)
        var region = kvm_userspace_memory_region()
        let slots = UInt32(machine.check(.nrMemslots))
        region.slot = slots
        region.memory_size = 4096
        #expect(machine.answer(.machine, .setUserMemoryRegion, with: &region) == .refused)
        region.slot = slots - 1
        #expect(machine.answer(.machine, .setUserMemoryRegion, with: &region) == .done)
        guard case .value = machine.answer(.machine, .createVCPU, identifiers - 1) else {
            Issue.record("no vCPU has the highest id")
            return
        }
    }
}
