// What CPUID says about one vCPU's place among the others (Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E).
//
// Contract: the hypervisor's supported leaves with the APIC id and the topology of one package of `count` cores of one
// thread each filled in. Leaf 0x1F is left out unless the hypervisor has it.

public import KVMABI

/// Fills topology into CPUID leaves.
public struct CPUIDTopology: Sendable {
    /// The vCPU's APIC id.
    public let apicID: UInt32
    /// vCPUs in the machine.
    public let count: UInt32

    public init(apicID: UInt32, count: UInt32) {
        self.apicID = apicID
        self.count = count
    }

    /// Bits of APIC id that number the cores of the package.
    private var coreBits: UInt32 { UInt32(32 - (max(count, 1) - 1).leadingZeroBitCount) }

    /// - Parameter deadlineTimer: the local APIC has the TSC-deadline mode.
    public func apply(to supported: [kvm_cpuid_entry2], deadlineTimer: Bool) -> [kvm_cpuid_entry2] {
        let maximum = supported.first { $0.function == 0 }?.eax ?? 0
        var entries: [kvm_cpuid_entry2] = []
        for entry in supported where entry.function != 0x0b && entry.function != 0x1f {
            entries.append(adjusted(entry, deadlineTimer: deadlineTimer))
        }
        if maximum >= 0x0b { entries += extendedTopology(0x0b) }
        if maximum >= 0x1f, supported.contains(where: { $0.function == 0x1f }) {
            entries += extendedTopology(0x1f)
        }
        return entries
    }

    private func adjusted(_ entry: kvm_cpuid_entry2, deadlineTimer: Bool) -> kvm_cpuid_entry2 {
        var entry = entry
        switch entry.function {
        case 0x01:
            entry.ebx = entry.ebx & 0x0000_ffff | apicID << 24 | min(count, 255) << 16
            entry.ecx |= 1 << 31  // There is a hypervisor.
            if deadlineTimer { entry.ecx |= 1 << 24 }
            // HTT: the count of logical processors is meant.
            entry.edx = entry.edx & ~(1 << 28) | (count > 1 ? 1 << 28 : 0)
        case 0x04 where entry.eax & 0x1f != 0:
            let shared: UInt32 = entry.eax >> 5 & 7 >= 3 ? (1 << coreBits) - 1 : 0
            let cores: UInt32 = (1 << min(coreBits, 6)) - 1
            entry.eax = entry.eax & 0x3fff | min(shared, 0xfff) << 14 | cores << 26
        case 0x8000_0008:
            entry.ecx = entry.ecx & ~0xf0ff | min(count - 1, 255) | coreBits << 12
        case 0x8000_001d where entry.eax & 0x1f != 0:
            let shared: UInt32 = entry.eax >> 5 & 7 >= 3 ? count - 1 : 0
            entry.eax = entry.eax & 0x3fff | min(shared, 0xfff) << 14
        case 0x8000_001e:
            entry.eax = apicID
            entry.ebx = apicID & 0xff
            entry.ecx = 0
        default: break
        }
        return entry
    }

    /// Leaves 0xB and 0x1F: a thread level of one, a core level of all, the end.
    private func extendedTopology(_ function: UInt32) -> [kvm_cpuid_entry2] {
        let levels: [(shift: UInt32, processors: UInt32, type: UInt32)] = [
            (0, 1, 1), (coreBits, count, 2), (0, 0, 0),
        ]
        return levels.enumerated().map { index, level in
            var entry = kvm_cpuid_entry2()
            entry.function = function
            entry.index = UInt32(index)
            entry.flags = UInt32(1)  // KVM_CPUID_FLAG_SIGNIFCANT_INDEX
            entry.eax = level.shift
            entry.ebx = level.processors
            entry.ecx = level.type << 8 | UInt32(index)
            entry.edx = apicID
            return entry
        }
    }
}
