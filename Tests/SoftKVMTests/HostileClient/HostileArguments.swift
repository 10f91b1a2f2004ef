// What a hostile client hands over with a request.

import KVMABI

extension HostileDraw {
    /// A structure of a request, and what follows it where it is of variable length. Whatever is an address in it points into
    /// the client's memory, or to none: what lies elsewhere in the process is not the client's to hand over.
    mutating func argument(of request: Request, _ memory: HostileMemory, events: [Int32]) -> [UInt8] {
        var bytes = chance(30) ? bytes(request.size) : [UInt8](repeating: 0, count: request.size)
        let fields = request.structure?.extents ?? []
        for field in fields where !field.range.isEmpty && field.range.upperBound <= bytes.count && chance(40) {
            let value = value()
            for (index, place) in field.range.prefix(8).enumerated() {
                bytes[place] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
            }
        }
        for (name, offset) in HostileDraw.addresses[request.rawValue] ?? [] {
            put(address(memory, likely: name == "userspace_addr"), 8, at: offset, &bytes)
        }
        if request == .irqfd || request == .ioeventfd {
            let at = request == .irqfd ? [0, 12] : [20]
            for offset in at { put(UInt64(UInt32(bitPattern: pick(events) ?? -1)), 4, at: offset, &bytes) }
        }
        if request == .setUserMemoryRegion, chance(80) {
            put(UInt64(below(3)), 4, at: 0, &bytes)
            put(UInt64([0, 0, 0, 1, 2][below(5)]), 4, at: 4, &bytes)
            put(UInt64(below(8)) << 17, 8, at: 8, &bytes)
            put(UInt64(below(9)) << 17, 8, at: 16, &bytes)
        }
        if [Request.setUserMemoryRegion, .setUserMemoryRegion2].contains(request) {
            // A guest is shown the client's memory and what is reserved behind it; larger sizes only where they are refused.
            let size = bytes[16..<24].reversed().reduce(0) { $0 << 8 | UInt64($1) }
            if size > UInt64(HostileMemory.size), size < 1 << 48 { put(UInt64(HostileMemory.size), 8, at: 16, &bytes) }
        }
        if request == .enableCap, chance(80) {
            let capability = pick(HostileDraw.enabled) ?? .irqchip
            put(UInt64(capability.rawValue), 4, at: 0, &bytes)
            put(0, 4, at: 4, &bytes)
            if capability == .dirtyLogRing { put(4096, 8, at: 8, &bytes) }
        }
        // A count of what follows, mostly of what is there.
        if HostileDraw.counted.contains(request.rawValue) {
            put(chance(85) ? UInt64(below(40)) : value(), 4, at: 0, &bytes)
            bytes += self.bytes(40 * 48)
        }
        if [Request.getXSAVE, .getXSAVE2, .setXSAVE].contains(request) { bytes += [UInt8](repeating: 0, count: 64) }
        return bytes
    }

    private static let enabled: [Capability] = [
        .exceptionPayload, .x86UserSpaceMSR, .x86DisableExits, .x2apicAPI, .splitIRQCHIP, .dirtyLogRing,
        .manualDirtyLogProtect2, .exitHypercall, .x86TripleFaultEvent, .maxVCPUID, .enforcePVFeatureCPUID,
        .exitOnEmulationFailure,
    ]

    private static let counted: Set<UInt> = Set(
        [
            Request.getMSRIndexList, .getSupportedCPUID, .getEmulatedCPUID, .getMSRFeatureIndexList, .getMSRS, .setMSRS,
            .setCPUID2, .getCPUID2, .setGSIRouting, .setSignalMask, .setCPUID, .setPMUEventFilter,
        ].map(\.rawValue))

    /// Where structures hold addresses.
    private static let addresses: [UInt: [(String, Int)]] = {
        var addresses: [UInt: [(String, Int)]] = [:]
        let names: Set<String> = [
            "dirty_bitmap", "userspace_addr", "addr", "vapic_addr", "blob_addr_32", "blob_addr_64",
        ]
        for (_, request) in Request.all {
            let fields = (request.structure?.fields ?? []).filter { names.contains($0.name) }
            // KVM_IOEVENTFD's is the guest's, as are those of coalesced zones.
            let isGuests = [Request.ioeventfd, .registerCoalescedMMIO, .unregisterCoalescedMMIO].contains(request)
            if !isGuests { addresses[request.rawValue] = fields.map { ($0.name, $0.offset) } }
        }
        addresses[Request.setUserMemoryRegion2.rawValue] = [("userspace_addr", 24)]
        addresses[Request.x86SetMSRFilter.rawValue] = (0..<16).map { ("bitmap", 8 + 24 * $0 + 16) }
        return addresses
    }()

    private mutating func address(_ memory: HostileMemory, likely: Bool) -> UInt64 {
        if likely || chance(80) {
            let offset = below(HostileMemory.size)
            return memory.address(likely ? offset & ~0xFFFF : offset)
        }
        return [0, 1, 0xFFF, 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_0000, .max][below(6)]
    }

    private func put(_ value: UInt64, _ width: Int, at offset: Int, _ bytes: inout [UInt8]) {
        guard offset + width <= bytes.count else { return }
        for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }

    // MARK: Guests

    /// Programs of a few bytes, for real-address mode at any address: loops, ports, MMIO, halts, faults, self-changing code.
    static let programs: [[UInt8]] = [
        [0xEB, 0xFE],  // jmp $
        [0xE6, 0x10, 0xEB, 0xFC],  // out 10h, al; jmp
        [0xE4, 0x21, 0xEB, 0xFC],  // in al, 21h; jmp
        [0xF3, 0x6C, 0xEB, 0xFC],  // rep insb
        [0xB8, 0x00, 0xB8, 0x8E, 0xD8, 0xA3, 0x00, 0x00, 0xEB, 0xFB],  // stores at B8000H
        [0xFB, 0xF4, 0xEB, 0xFC],  // sti; hlt; jmp
        [0xFE, 0x07, 0x43, 0xEB, 0xFB],  // inc byte [bx]; inc bx; jmp
        [0x0F, 0x0B],  // ud2
        [0x0F, 0x32, 0x41, 0xEB, 0xFB],  // rdmsr; inc cx; jmp
        [0xF3, 0xAB, 0x8C, 0xC0, 0x40, 0x8E, 0xC0, 0xEB, 0xF7],  // rep stosw through the segments
        [0x0F, 0x01, 0xD9, 0xEB, 0xFB],  // vmmcall; jmp
    ]
}
