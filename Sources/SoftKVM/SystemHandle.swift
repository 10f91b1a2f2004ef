// The system handle's ioctls. Documentation/virt/kvm/api.rst, section 4, those of type "system ioctl".

internal import KVMABI
internal import Processor

/// `/dev/kvm` opened.
final class SystemHandle: Sendable {
    private let executor: ExecutorOptions

    init(_ executor: ExecutorOptions = ExecutorOptions()) { self.executor = executor }

    /// KVM_CREATE_VM; one type of machine.
    func createVirtualMachine(type: UInt) throws(Errno) -> VirtualMachine {
        guard type == 0 else { throw .invalidArgument }
        return try VirtualMachine(executor)
    }

    func ioctl(_ request: Request, _ argument: ClientArgument) throws(Errno) -> Int32 {
        switch request {
        case .getAPIVersion:
            guard argument.address == 0 else { throw .invalidArgument }
            return 12
        case .checkExtension: return Capabilities.value(argument.address)
        case .getVCPUMmapSize:
            guard argument.address == 0 else { throw .invalidArgument }
            return Int32(RunAreas.mappingSize)
        case .getSupportedCPUID: try getCPUID(argument, SupportedCPUID.shared.entries)
        case .getEmulatedCPUID:
            // Nothing that GET_SUPPORTED_CPUID does not say.
            try getCPUID(argument, [])
        case .getMSRIndexList: try getList(argument, ModelSpecificRegisters.saved)
        case .getMSRFeatureIndexList: try getList(argument, FeatureMSRs.indices(isAMD: SupportedCPUID.shared.isAMD))
        case .getMSRS:
            return try MSRList.get(argument) { FeatureMSRs.value($0) }
        case .x86GetMCECapSupported: try argument.store(MachineCheck.supported)
        case .getDeviceAttr, .hasDeviceAttr:
            let record = Record(try argument.loadBytes(24))
            let group: UInt32 = record.load(4)
            let attribute: UInt64 = record.load(8)
            // KVM_X86_XCOMP_GUEST_SUPP.
            guard group == 0, attribute == 0 else { throw .noSuchDeviceOrAddress }
            if request == .getDeviceAttr {
                try ClientArgument(record.load(16, as: UInt64.self)).store(SupportedCPUID.shared.xcr0)
            }
        // As on a vCPU's handle, and other than on a VM's, ENOTTY.
        default: throw .invalidArgument
        }
        return 0
    }

    private func getCPUID(_ argument: ClientArgument, _ entries: [kvm_cpuid_entry2]) throws(Errno) {
        let room: UInt32 = try argument.load()
        guard room >= 1, room >= entries.count else { throw .argumentListTooLong }
        try argument.advanced(by: 8).storeArray(entries)
        try argument.store(UInt32(entries.count))
    }

    private func getList(_ argument: ClientArgument, _ indices: [UInt32]) throws(Errno) {
        let room: UInt32 = try argument.load()
        try argument.store(UInt32(indices.count))
        guard room >= indices.count else { throw .argumentListTooLong }
        try argument.advanced(by: 4).storeArray(indices)
    }
}

/// MSRs that describe the processor to a client before it has a vCPU (KVM_CAP_GET_MSR_FEATURES).
enum FeatureMSRs {
    /// Those of every vendor, and AMD's own.
    static func indices(isAMD: Bool) -> [UInt32] { [0x8B, 0xCE, 0x10A, 0x345] + (isAMD ? [0xC001_1029] : []) }

    /// RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO,
    /// PBRSB_NO, GDS_NO, RFDS_NO: nothing here speculates. Intel SDM vol. 4, IA32_ARCH_CAPABILITIES.
    static let archCapabilities: UInt64 =
        1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 20 | 1 << 24 | 1 << 26
        | 1 << 27

    static func value(_ index: UInt32, isAMD: Bool = SupportedCPUID.shared.isAMD) -> UInt64? {
        switch index {
        case 0x8B: isAMD ? 0x0100_0065 : 0x1_0000_0000
        // MSR_PLATFORM_INFO: no CPUID faulting. IA32_PERF_CAPABILITIES: no counters.
        case 0xCE, 0x345: 0
        case 0x10A: isAMD ? 0 : archCapabilities
        // LFENCE serialises.
        case 0xC001_1029 where isAMD: 2
        default: nil
        }
    }
}

/// KVM_GET_MSRS and KVM_SET_MSRS: struct kvm_msrs, of which as many entries are done as succeed.
enum MSRList {
    private static let limit = 256

    private static func entries(_ argument: ClientArgument) throws(Errno) -> [kvm_msr_entry] {
        let count: UInt32 = try argument.load()
        guard count < limit else { throw .argumentListTooLong }
        return try argument.advanced(by: 8).loadArray(Int(count))
    }

    static func get(_ argument: ClientArgument, _ read: (UInt32) -> UInt64?) throws(Errno) -> Int32 {
        var entries = try entries(argument)
        var done = 0
        while done < entries.count, let value = read(entries[done].index) {
            entries[done].data = value
            done += 1
        }
        try argument.advanced(by: 8).storeArray(entries)
        return Int32(done)
    }

    static func set(_ argument: ClientArgument, _ write: (UInt32, UInt64) -> Bool) throws(Errno) -> Int32 {
        let entries = try entries(argument)
        var done = 0
        while done < entries.count, write(entries[done].index, entries[done].data) { done += 1 }
        return Int32(done)
    }
}
