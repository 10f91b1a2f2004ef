// The system handle, and handles themselves. Documentation/virt/kvm/api.rst, sections 2 and 4.

import Glibc
import KVMABI
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.within(minutes: 20)) struct EndpointSystemTests {
    let client = try! EndpointClient()

    @Test func versionAndSizes() throws {
        #expect(try client.endpoint.ioctl(client.system, .getAPIVersion, 0) == 12)
        #expect(client.failure { _ = try client.endpoint.ioctl(client.system, .getAPIVersion, 1) } == .invalidArgument)
        #expect(try client.endpoint.ioctl(client.system, .getVCPUMmapSize, 0) == 12288)
        #expect(client.failure { _ = try client.endpoint.ioctl(client.system, .createVM, 7) } == .invalidArgument)
    }

    @Test func capabilitiesThatAreNotThereReadZero() throws {
        for (capability, value) in [
            (Capability.userMemory, 1), (.irqchip, 1), (.coalescedMMIO, 2), (.nrMemslots, 32764), (.mce, 32),
            (.xsave2, 4096),
            (.x86Smm, 0), (.hyperv, 0), (.dirtyLogRing, 1 << 20), (.nestedState, 0), (.guestMemfd, 0),
            (.pmuEventFilter, 0),
        ] {
            #expect(try client.endpoint.ioctl(client.system, .checkExtension, UInt(capability.rawValue)) == value)
            #expect(try client.endpoint.ioctl(client.machine, .checkExtension, UInt(capability.rawValue)) == value)
        }
        #expect(try client.endpoint.ioctl(client.system, .checkExtension, .max) == 0)
    }

    @Test func unknownRequestsAndHandles() {
        let junk = Request(rawValue: 0xAEFF)
        #expect(client.failure { _ = try client.endpoint.ioctl(client.system, junk, 0) } == .invalidArgument)
        #expect(client.failure { _ = try client.endpoint.ioctl(client.machine, junk, 0) } == .inappropriateRequest)
        #expect(client.failure { _ = try client.endpoint.ioctl(client.machine, .getRegs, 0) } == .inappropriateRequest)
        // A known number with another size is another request.
        let wrongSize = Request(rawValue: Request.setUserMemoryRegion.rawValue + (8 << 16))
        #expect(client.failure { _ = try client.endpoint.ioctl(client.machine, wrongSize, 0) } == .inappropriateRequest)
        for number: Int32 in [-1, 0, 9999, .max, .min] {
            let handle = Handle(rawValue: number)
            #expect(client.failure { _ = try client.endpoint.ioctl(handle, .run, 0) } == .badFileDescriptor)
            client.endpoint.close(handle)
            client.endpoint.kick(handle)
        }
    }

    /// Every request at addresses that are nobody's: an errno each, and no crash.
    @Test func badAddresses() throws {
        let vcpu = try client.makeVCPU()
        for address: UInt in [1, 4096, 0xFFFF_8000_0000_0000, .max, .max - 4095] {
            for row in Request.all where row.request.size > 0 {
                for handle in [client.system, client.machine, vcpu] {
                    let error = client.failure { _ = try client.endpoint.ioctl(handle, row.request, address) }
                    #expect(error != nil, "\(row.name) took \(address)")
                }
            }
        }
        for request: Request in [
            .getRegs, .setRegs, .getSREGS, .setSREGS, .getXSAVE, .setXSAVE, .getMSRS, .setCPUID2, .translate,
        ] {
            #expect(client.failure { _ = try client.endpoint.ioctl(vcpu, request, 4096) } == .badAddress)
        }
    }

    @Test func supportedCPUID() throws {
        let request = Request.getSupportedCPUID
        var buffer = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 1)
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.system, request, buffer.address) }
                == .argumentListTooLong)
        buffer = VariableLengthBuffer<kvm_cpuid_entry2>(.cpuid, capacity: 100)
        _ = try client.endpoint.ioctl(client.system, request, buffer.address)
        let entries = buffer.entries
        let features = try #require(entries.first { $0.function == 1 })
        // Hypervisor, x2APIC and TSC-deadline are the hypervisor's own.
        #expect(features.ecx & (1 << 31 | 1 << 21 | 1 << 24) == 1 << 31 | 1 << 21 | 1 << 24)
        // No MONITOR, VMX; OSXSAVE follows CR4.
        #expect(features.ecx & (1 << 3 | 1 << 5 | 1 << 27) == 0)
        let structured = try #require(entries.first { $0.function == 7 })
        // No MPX, AVX-512; no PKU.
        #expect(structured.ebx & (1 << 14 | 1 << 16) == 0)
        #expect(structured.ecx & (1 << 3) == 0)
        let xsave = try #require(entries.first { $0.function == 0xD && $0.index == 0 })
        #expect(xsave.eax == 3 || xsave.eax == 7)
        #expect(xsave.ecx == (xsave.eax == 7 ? 832 : 576))
        let signature = try #require(entries.first { $0.function == 0x4000_0000 })
        #expect(signature.ebx == 0x4B4D_564B)
        let power = try #require(entries.first { $0.function == 0x8000_0007 })
        #expect(power.edx & 1 << 8 != 0)
    }

    @Test func msrLists() throws {
        let short = VariableLengthBuffer<UInt32>(.msrList, capacity: 1)
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.system, .getMSRIndexList, short.address) }
                == .argumentListTooLong)
        let needed = short.statedCount
        let buffer = VariableLengthBuffer<UInt32>(.msrList, capacity: needed)
        _ = try client.endpoint.ioctl(client.system, .getMSRIndexList, buffer.address)
        #expect(buffer.count == needed)
        // Each that is listed can be read and written back.
        let vcpu = try client.makeVCPU()
        var msrs = VariableLengthBuffer<kvm_msr_entry>(.msrs, capacity: needed)
        for (index, number) in buffer.entries.enumerated() { msrs[index].index = number }
        #expect(try client.endpoint.ioctl(vcpu, .getMSRS, msrs.address) == Int32(needed))
        #expect(try client.endpoint.ioctl(vcpu, .setMSRS, msrs.address) == Int32(needed))
    }

    /// Feature MSRs are the vendor's: each that is listed is answered, and no other.
    @Test(arguments: [true, false]) func featureMSRs(_ isAMD: Bool) {
        let listed = FeatureMSRs.indices(isAMD: isAMD)
        #expect(listed.contains(0xc001_1029) == isAMD)
        for index in [0, 0x10, 0x8b, 0xce, 0x10a, 0x345, 0xc001_0015, 0xc001_1029] as [UInt32] {
            #expect((FeatureMSRs.value(index, isAMD: isAMD) != nil) == listed.contains(index))
        }
    }

    /// A vCPU knows its host's vendor's, and HWCR is zero until firmware writes to it.
    @Test func vendorsMSRs() throws {
        let vcpu = try client.makeVCPU()
        let isAMD = SupportedCPUID.shared.isAMD
        var msrs = VariableLengthBuffer<kvm_msr_entry>(.msrs, capacity: 2)
        msrs[0].index = 0xc001_0015
        msrs[1].index = 0xc001_1029
        #expect(try client.endpoint.ioctl(vcpu, .getMSRS, msrs.address) == (isAMD ? 2 : 1))
        #expect(msrs[0].data == 0)
        msrs[0].data = 1 << 24
        msrs[1].data = 2
        #expect(try client.endpoint.ioctl(vcpu, .setMSRS, msrs.address) == (isAMD ? 2 : 1))
        #expect(ModelSpecificRegisters.saved.contains(0xc001_1029) == isAMD)
    }

    /// A vCPU keeps its machine; a mapping keeps the vCPU.
    @Test func handlesInAnyOrder() throws {
        let endpoint = SoftwareEndpoint()
        let system = try endpoint.open()
        let machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
        endpoint.close(system)
        let vcpu = Handle(rawValue: try endpoint.ioctl(machine, .createVCPU, 0))
        endpoint.close(machine)
        let client = client
        #expect(client.failure { _ = try endpoint.ioctl(machine, .checkExtension, 0) } == .badFileDescriptor)
        let area = unsafe try endpoint.map(vcpu, length: 12288, offset: 0)
        var regs = kvm_regs()
        try unsafe withUnsafeMutablePointer(to: &regs) { _ = try endpoint.ioctl(vcpu, .getRegs, UInt(bitPattern: $0)) }
        #expect(regs.rip == 0xFFF0)
        endpoint.close(vcpu)
        unsafe area.storeBytes(of: 1, toByteOffset: 12000, as: UInt8.self)
        unsafe endpoint.unmap(area, length: 12288)
    }

    /// In a process of its own, whose descriptors and memory are no other test's.
    @Test func thousandMachinesLeaveNothing() async {
        await #expect(processExitsWith: .success) {
            let endpoint = SoftwareEndpoint()
            let system = try endpoint.open()
            func once() throws {
                let machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
                _ = try endpoint.ioctl(machine, .createIRQCHIP, 0)
                let vcpu = Handle(rawValue: try endpoint.ioctl(machine, .createVCPU, 0))
                let area = unsafe try endpoint.map(vcpu, length: 12288, offset: 0)
                endpoint.close(machine)
                endpoint.close(vcpu)
                unsafe endpoint.unmap(area, length: 12288)
            }
            for _ in 0..<50 { try once() }
            let descriptors = openDescriptors()
            let before = residentPages()
            for _ in 0..<1000 { try once() }
            #expect(openDescriptors() == descriptors)
            // A leak would be hundreds of kilobytes for each vCPU.
            #expect(residentPages() < before + 16384)
        }
    }
}

private func residentPages() -> Int {
    var text = ""
    if let file = unsafe fopen("/proc/self/statm", "r") {
        var line = [CChar](repeating: 0, count: 128)
        if unsafe fgets(&line, 128, file) != nil {
            text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        unsafe fclose(file)
    }
    let words = text.split(separator: " ")
    return words.count > 1 ? Int(words[1]) ?? 0 : 0
}
