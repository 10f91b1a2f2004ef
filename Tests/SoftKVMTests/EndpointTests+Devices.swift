// Interrupt controllers, event descriptors, clock and capabilities of a VM. Documentation/virt/kvm/api.rst, section 4.

import Glibc
import KVM
import KVMABI
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.within(minutes: 20)) struct EndpointDeviceTests {
    let client = try! EndpointClient()

    @Test func controllers() throws {
        let endpoint = client.endpoint
        #expect(client.failure { try client.set(client.machine, .irqLine, kvm_irq_level()) } == .noSuchDeviceOrAddress)
        #expect(client.failure { _ = try client.getBytes(client.machine, .getIRQCHIP, 520) } == .noSuchDeviceOrAddress)
        #expect(client.failure { try client.set(client.machine, .createPIT2, kvm_pit_config()) } == .noSuchFile)
        #expect(
            client.failure { try client.setBytes(client.machine, .setGSIRouting, [UInt8](repeating: 0, count: 8)) }
                == .invalidArgument)
        _ = try endpoint.ioctl(client.machine, .createIRQCHIP, 0)
        #expect(client.failure { _ = try endpoint.ioctl(client.machine, .createIRQCHIP, 0) } == .fileExists)
        #expect(client.failure { try client.enable(client.machine, .splitIRQCHIP, 24) } == .fileExists)
        for chip: UInt8 in 0...2 {
            let state = try client.getBytes(client.machine, .getIRQCHIP, 520) { $0[0] = chip }
            try client.setBytes(client.machine, .setIRQCHIP, state)
            #expect(try client.getBytes(client.machine, .getIRQCHIP, 520) { $0[0] = chip } == state)
        }
        #expect(
            client.failure { _ = try client.getBytes(client.machine, .getIRQCHIP, 520) { $0[0] = 3 } }
                == .invalidArgument)
        try client.set(client.machine, .createPIT2, kvm_pit_config())
        #expect(client.failure { try client.set(client.machine, .createPIT2, kvm_pit_config()) } == .fileExists)
        let pit = try client.getBytes(client.machine, .getPIT2, 112)
        try client.setBytes(client.machine, .setPIT2, pit)
        var level = kvm_irq_level()
        level.irq = 4
        level.level = 1
        try client.call(client.machine, .irqLineStatus, &level)
        var msi = kvm_msi()
        msi.flags = 2
        #expect(client.failure { try client.set(client.machine, .signalMSI, msi) } == .invalidArgument)
        #expect(client.failure { try client.set(client.machine, .createDevice, kvm_create_device()) } == .noSuchDevice)
    }

    @Test func controllersBeforeVCPUs() throws {
        _ = try client.makeVCPU()
        #expect(client.failure { _ = try client.endpoint.ioctl(client.machine, .createIRQCHIP, 0) } == .invalidArgument)
        #expect(client.failure { _ = try client.endpoint.ioctl(client.machine, .setBootCPUID, 0) } == .busy)
        #expect(
            client.failure { try client.set(client.machine, .setIdentityMapAddr, UInt64(0xFFFB_C000)) }
                == .invalidArgument)
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.machine, .setTSSAddr, 0xFFFF_E000) }
                == .invalidArgument)
    }

    @Test func routing() throws {
        _ = try client.endpoint.ioctl(client.machine, .createIRQCHIP, 0)
        var routes = VariableLengthBuffer<kvm_irq_routing_entry>(.routing, capacity: 2)
        routes[0].gsi = 5
        routes[0].type = UInt32(KVM_IRQ_ROUTING_IRQCHIP)
        unsafe routes[0].u.irqchip.irqchip = 2
        unsafe routes[0].u.irqchip.pin = 5
        routes[1].gsi = 30
        routes[1].type = UInt32(KVM_IRQ_ROUTING_MSI)
        unsafe routes[1].u.msi.address_lo = 0xFEE0_0000
        _ = try client.endpoint.ioctl(client.machine, .setGSIRouting, routes.address)
        routes[1].type = 4
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.machine, .setGSIRouting, routes.address) }
                == .invalidArgument)
        routes[1].type = 2
        routes[1].flags = 4
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.machine, .setGSIRouting, routes.address) }
                == .invalidArgument)
        routes[1].flags = 0
        unsafe routes[0].u.irqchip.pin = 24
        #expect(
            client.failure { _ = try client.endpoint.ioctl(client.machine, .setGSIRouting, routes.address) }
                == .invalidArgument)
    }

    private func irqfd(_ number: Int32, gsi: UInt32 = 4, flags: UInt32 = 0) -> kvm_irqfd {
        var argument = kvm_irqfd()
        argument.fd = UInt32(bitPattern: number)
        argument.gsi = gsi
        argument.flags = flags
        return argument
    }

    @Test func eventDescriptors() throws {
        let event = try EventDescriptor()
        let number = event.rawValue
        #expect(client.failure { try client.set(client.machine, .irqfd, irqfd(number)) } == .invalidArgument)
        _ = try client.endpoint.ioctl(client.machine, .createIRQCHIP, 0)
        #expect(client.failure { try client.set(client.machine, .irqfd, irqfd(-1)) } == .badFileDescriptor)
        #expect(client.failure { try client.set(client.machine, .irqfd, irqfd(0)) } == .invalidArgument)
        #expect(client.failure { try client.set(client.machine, .irqfd, irqfd(number, flags: 8)) } == .invalidArgument)
        try client.set(client.machine, .irqfd, irqfd(number))
        #expect(client.failure { try client.set(client.machine, .irqfd, irqfd(number)) } == .busy)
        try client.set(client.machine, .irqfd, irqfd(number, flags: 1))
        try client.set(client.machine, .irqfd, irqfd(number))

        var io = kvm_ioeventfd()
        io.fd = number
        io.addr = 0x500
        io.len = 2
        io.flags = 2
        try client.set(client.machine, .ioeventfd, io)
        #expect(client.failure { try client.set(client.machine, .ioeventfd, io) } == .fileExists)
        io.flags = 6
        try client.set(client.machine, .ioeventfd, io)
        #expect(client.failure { try client.set(client.machine, .ioeventfd, io) } == .noSuchFile)
        io.flags = 0
        io.len = 3
        #expect(client.failure { try client.set(client.machine, .ioeventfd, io) } == .invalidArgument)
        io.len = 0
        io.flags = 1
        #expect(client.failure { try client.set(client.machine, .ioeventfd, io) } == .invalidArgument)
        io.flags = 32
        #expect(client.failure { try client.set(client.machine, .ioeventfd, io) } == .invalidArgument)
    }

    /// An irqfd's event is taken by the VM's thread and raises its line.
    @Test func irqfdRaisesItsLine() throws {
        _ = try client.endpoint.ioctl(client.machine, .createIRQCHIP, 0)
        let event = try EventDescriptor()
        try client.set(client.machine, .irqfd, irqfd(event.rawValue, gsi: 3))
        var one: UInt64 = 1
        _ = unsafe write(event.rawValue, &one, 8)
        // Edge-triggered: it stays in the first 8259's request register.
        var tries = 0
        while try client.getBytes(client.machine, .getIRQCHIP, 520)[8 + 1] & 8 == 0, tries < 1_000_000 { tries += 1 }
        #expect(try client.getBytes(client.machine, .getIRQCHIP, 520)[9] & 8 != 0)
    }

    @Test func clock() throws {
        let first = try client.get(client.machine, .getClock, kvm_clock_data())
        #expect(first.flags == (HostTSC.shared.isRDTSC ? 14 : 6))
        var data = kvm_clock_data()
        data.clock = 1_000_000_000_000
        try client.set(client.machine, .setClock, data)
        let second = try client.get(client.machine, .getClock, kvm_clock_data())
        #expect(second.clock >= 1_000_000_000_000 && second.clock < 2_000_000_000_000)
        data.flags = 1
        #expect(client.failure { try client.set(client.machine, .setClock, data) } == .invalidArgument)
    }

    @Test func capabilities() throws {
        #expect(client.failure { try client.enable(client.machine, Capability(rawValue: 5000), 0) } == .invalidArgument)
        #expect(client.failure { try client.enable(client.machine, .x86UserSpaceMSR, 8) } == .invalidArgument)
        try client.enable(client.machine, .x86UserSpaceMSR, 7)
        #expect(client.failure { try client.enable(client.machine, .x2apicAPI, 16) } == .invalidArgument)
        try client.enable(client.machine, .x2apicAPI, 3)
        #expect(client.failure { try client.enable(client.machine, .splitIRQCHIP, 5000) } == .invalidArgument)
        try client.enable(client.machine, .splitIRQCHIP, 24)
        #expect(client.failure { _ = try client.getBytes(client.machine, .getIRQCHIP, 520) } == .noSuchDeviceOrAddress)
        let vcpu = try client.makeVCPU()
        #expect(client.failure { try client.enable(vcpu, .hypervSynic, 0) } == .invalidArgument)
        try client.enable(vcpu, .enforcePVFeatureCPUID, 1)
    }

    @Test func msrFilter() throws {
        var filter = [UInt8](repeating: 0, count: 392)
        try client.setBytes(client.machine, .x86SetMSRFilter, filter)
        filter[0] = 1
        #expect(client.failure { try client.setBytes(client.machine, .x86SetMSRFilter, filter) } == .invalidArgument)
        filter[0] = 0
        filter[12] = 8
        #expect(client.failure { try client.setBytes(client.machine, .x86SetMSRFilter, filter) } == .invalidArgument)
        filter[8] = 1
        #expect(client.failure { try client.setBytes(client.machine, .x86SetMSRFilter, filter) } == .badAddress)
        filter[14] = 1
        #expect(client.failure { try client.setBytes(client.machine, .x86SetMSRFilter, filter) } == .invalidArgument)
    }

    @Test func coalescedZones() throws {
        var zone = kvm_coalesced_mmio_zone()
        zone.addr = 0xB8000
        zone.size = 4096
        try client.set(client.machine, .registerCoalescedMMIO, zone)
        zone.pio = 2
        #expect(client.failure { try client.set(client.machine, .registerCoalescedMMIO, zone) } == .invalidArgument)
        zone.pio = 0
        try client.set(client.machine, .unregisterCoalescedMMIO, zone)
    }
}
