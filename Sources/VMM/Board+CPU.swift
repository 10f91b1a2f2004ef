// Making a vCPU: what its CPUID says, its local APIC, the MSRs that firmware sets, its registers at entry.

internal import KVM
internal import KVMABI
internal import Logging

extension Board {
    /// MSRs that firmware would have set, by number (Intel SDM vol. 4).
    private static let firmwareMSRs: [(index: UInt32, value: UInt64)] = [
        (0x1a0, 1),  // IA32_MISC_ENABLE: fast strings
        (0x2ff, 0x806),  // IA32_MTRR_DEF_TYPE: enabled, write-back
    ]

    /// Those of AMD's and Hygon's processors (AMD APM vol. 2, appendix A).
    private static let amdFirmwareMSRs: [(index: UInt32, value: UInt64)] = [
        (0xc001_0015, 1 << 24)  // HWCR: the TSC counts at P0's frequency
    ]

    /// A vCPU; the one with id 0 stands at the kernel's entry, the others wait to be started.
    func makeCPU(
        _ id: UInt32, of count: UInt32, _ system: borrowing System, _ logger: Logger
    ) throws(KVMError) -> VirtualCPU {
        let cpu = try host.machine.makeVirtualCPU(id: id)
        let hasDeadlineTimer = try host.machine.check(.tscDeadlineTimer) != 0
        let topology = CPUIDTopology(apicID: id, count: count)
        let leaves = topology.apply(to: try system.supportedCPUID(), deadlineTimer: hasDeadlineTimer)
        try cpu.setCPUID(leaves)
        let isAMD = leaves.contains { $0.function == 0 && [0x6874_7541, 0x6f67_7948].contains($0.ebx) }
        for (index, value) in Self.firmwareMSRs + (isAMD ? Self.amdFirmwareMSRs : []) {
            do { try cpu.setMSR(index, to: value) } catch {
                logger.debug("vCPU \(id) starts without a firmware setting: \(error)")
            }
        }
        if id == 0 {
            try connectLocalAPIC(of: cpu)
            let entry = entry
            try cpu.update { entry.apply(to: &$0) }
        }
        end.add(cpu.kickHandle)
        return cpu
    }

    /// Virtual wire mode: LINT0 takes the 8259's interrupts, LINT1 is NMI (Intel MultiProcessor Specification 1.4, 3.6.2).
    private func connectLocalAPIC(of cpu: borrowing VirtualCPU) throws(KVMError) {
        var state = try cpu.localAPIC()
        unsafe withUnsafeMutableBytes(of: &state) { registers in
            unsafe registers.storeBytes(of: UInt32(0x700).littleEndian, toByteOffset: 0x350, as: UInt32.self)
            unsafe registers.storeBytes(of: UInt32(0x400).littleEndian, toByteOffset: 0x360, as: UInt32.self)
        }
        try cpu.setLocalAPIC(state)
    }
}
