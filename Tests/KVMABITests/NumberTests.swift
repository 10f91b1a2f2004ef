// Requests, capabilities, exit reasons and error numbers against the installed headers, and by literal what Debian's are
// too old for.

import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20)) struct NumberTests {
    /// Requests that came after Linux 6.1.
    static let youngRequests: [(Request, UInt)] = [
        (.setUserMemoryRegion2, 0x40a0_ae49), (.setMemoryAttributes, 0x4020_aed2), (.createGuestMemfd, 0xc040_aed4),
        (.preFaultMemory, 0xc040_aed5),
    ]

    /// Capabilities that came after Linux 6.1.
    static let youngCapabilities: [(UInt32, String)] = [
        (224, "S390_PROTECTED_ASYNC_DISABLE"), (225, "DIRTY_LOG_RING_WITH_BITMAP"), (226, "PMU_EVENT_MASKED_EVENTS"),
        (227, "COUNTER_OFFSET"), (228, "ARM_EAGER_SPLIT_CHUNK_SIZE"), (229, "ARM_SUPPORTED_BLOCK_SIZES"),
        (230, "ARM_SUPPORTED_REG_MASK_RANGES"), (231, "USER_MEMORY2"), (232, "MEMORY_FAULT_INFO"),
        (233, "MEMORY_ATTRIBUTES"), (234, "GUEST_MEMFD"), (235, "VM_TYPES"), (236, "PRE_FAULT_MEMORY"),
        (237, "X86_APIC_BUS_CYCLES_NS"), (238, "X86_GUEST_MODE"), (239, "ARM_WRITABLE_IMP_ID_REGS"), (240, "ARM_EL2"),
        (241, "ARM_EL2_E2H0"), (242, "RISCV_MP_STATE_RESET"), (243, "ARM_CACHEABLE_PFNMAP_SUPPORTED"),
        (244, "GUEST_MEMFD_FLAGS"),
    ]

    // Skipped where no C compiler is: the header can't be asked then.
    @Test(.enabled(if: CProbe.isAvailable, "no C compiler (cc) on this machine"))
    func requestsAreTheHeaders() throws {
        var probe = CProbe()
        for row in Request.all { probe.printMacro(row.name.description) }
        let answers = try probe.run()
        let young = Set(NumberTests.youngRequests.map(\.0))
        for row in Request.all {
            let name = row.name.description
            if let answer = answers[name] {
                #expect(answer == UInt64(row.request.rawValue), "\(name)")
            } else {
                #expect(young.contains(row.request), "\(name) is in no header")
            }
        }
    }

    @Test func youngRequestsArePinned() {
        for (request, number) in NumberTests.youngRequests { #expect(request.rawValue == number, "\(request)") }
    }

    @Test func requestsAreDistinctAndComeApart() {
        #expect(Set(Request.all.map(\.request)).count == Request.all.count)
        #expect(Request.getRegs.name == "KVM_GET_REGS")
        #expect(Request.getRegs.number == 0x81)
        #expect(Request.getRegs.size == 144)
        #expect(Request.getRegs.direction == .read)
        #expect(Request.translate.direction == [.read, .write])
        #expect(Request.run.rawValue == 0xae80)
        #expect(Request(rawValue: 0x1234).name == "ioctl 0x1234")
    }

    @Test(.enabled(if: CProbe.isAvailable, "no C compiler (cc) on this machine"))
    func capabilitiesAreTheHeaders() throws {
        var probe = CProbe()
        for capability in Capability.all { probe.printMacro(capability.name) }
        let answers = try probe.run()
        let young = Set(NumberTests.youngCapabilities.map(\.0))
        for capability in Capability.all {
            if let answer = answers[capability.name] {
                #expect(answer == UInt64(capability.rawValue), "\(capability)")
            } else {
                #expect(young.contains(capability.rawValue), "\(capability) is in no header")
            }
        }
        #expect(Capability.all.last?.rawValue == 244)
    }

    @Test func youngCapabilitiesArePinned() {
        for (number, name) in NumberTests.youngCapabilities {
            #expect(Capability(rawValue: number).name == "KVM_CAP_\(name)")
        }
        #expect(Capability.memoryFaultInfo.rawValue == 232)
        #expect(Capability.x86UserSpaceMSR.name == "KVM_CAP_X86_USER_SPACE_MSR")
        #expect(Capability(rawValue: 9999).name == "capability 9999")
    }

    @Test(.enabled(if: CProbe.isAvailable, "no C compiler (cc) on this machine"))
    func exitReasonsAreTheHeaders() throws {
        // 39 and 40 came after Linux 6.1.
        let young: [UInt32: String] = [39: "MEMORY_FAULT", 40: "TDX"]
        var probe = CProbe()
        for (_, name) in ExitReason.names { probe.printMacro("KVM_EXIT_\(name)") }
        let answers = try probe.run()
        for (number, name) in ExitReason.names {
            if let answer = answers["KVM_EXIT_\(name)"] {
                #expect(answer == UInt64(number), "\(name)")
            } else {
                #expect(young[number] == name)
            }
        }
        #expect(ExitReason.mmio.name == "KVM_EXIT_MMIO")
        #expect(ExitReason(rawValue: 9999).name == "exit 9999")
    }

    @Test(.enabled(if: CProbe.isAvailable, "no C compiler (cc) on this machine"))
    func errorNumbersAreTheHeaders() throws {
        var probe = CProbe()
        let named = (Int32(1)...133).map { Errno(rawValue: $0) }.filter { !$0.name.hasPrefix("errno") }
        for errno in named { probe.printMacro(errno.name) }
        let answers = try probe.run()
        for errno in named { #expect(answers[errno.name] == UInt64(errno.rawValue), "\(errno)") }
        #expect(Errno(rawValue: -5).name == "errno -5")
    }
}
