// Loading an ELF kernel: its segments by physical address, then either the PVH start information (Xen,
// xen/include/public/arch-x86/hvm/start_info.h) or Linux's boot parameters (Documentation/arch/x86/boot.rst,
// "64-bit Boot Protocol").

extension ELFImage {
    /// Puts kernel, initrd, command line and start information into memory.
    /// - Parameter wanted: `.pvh` or `.elf`.
    /// - Returns: how the first vCPU begins.
    func load(
        into memory: MachineMemory, _ material: BootMaterial, by wanted: BootProtocol
    ) throws(BootError) -> EntryState {
        var end: UInt64 = 0
        for segment in segments {
            guard segment.address >= LowMemory.highMemory else {
                throw .malformed(
                    file: file,
                    what: "a segment at 0x\(String(segment.address, radix: 16)), below 1 MiB, where boot data lies")
            }
            guard segment.end <= memory.lowEnd else {
                throw .lacksRoom(file: file, size: segment.size, end: segment.end, in: memory)
            }
            try memory.write(segment.contents, at: segment.address)
            end = max(end, segment.end)
        }
        var initrdAddress: UInt64 = 0
        if let initrd = material.initrd {
            // What kernels of each width declare as initrd_addr_max.
            let ceiling: UInt64 = is64Bit ? 0x8000_0000 : 0x3800_0000
            initrdAddress = try Initrd.load(initrd, into: memory, above: end, below: ceiling)
        }
        try CommandLine.store(material.commandLine, into: memory, limit: 2047)

        if wanted == .pvh {
            guard let pvhEntry else {
                throw .protocolNotOffered(file: file, protocol: .pvh, why: "the file has no PVH entry note")
            }
            try storeStartInfo(into: memory, material, initrdAddress)
            return .pvh(eip: pvhEntry, startInfo: LowMemory.startInfo)
        }
        try storeBootParameters(into: memory, material, initrdAddress)
        guard is64Bit else {
            return .linux32(
                eip: UInt32(truncatingIfNeeded: entry), bootParameters: LowMemory.bootParameters)
        }
        return .linux64(rip: entry, bootParameters: LowMemory.bootParameters)
    }

    private func storeStartInfo(
        into memory: MachineMemory, _ material: BootMaterial, _ initrdAddress: UInt64
    ) throws(BootError) {
        let map = memory.map
        let modules = LowMemory.startInfo + 0x40
        let entries = LowMemory.startInfo + 0x80
        var info: [UInt8] = []
        info += littleEndianBytes(0x336e_c578 as UInt32)
        info += littleEndianBytes(1 as UInt32)  // version
        info += littleEndianBytes(0 as UInt32)  // flags
        info += littleEndianBytes(UInt32(material.initrd == nil ? 0 : 1))
        info += littleEndianBytes(modules)
        info += littleEndianBytes(LowMemory.commandLine)
        info += littleEndianBytes(material.rsdp)
        info += littleEndianBytes(entries)
        info += littleEndianBytes(UInt32(map.count))
        info += littleEndianBytes(0 as UInt32)
        try memory.write(info, at: LowMemory.startInfo)
        if let initrd = material.initrd {
            let module = [initrdAddress, initrd.size, 0, 0].flatMap { littleEndianBytes($0) }
            try memory.write(module, at: modules)
        }
        var table: [UInt8] = []
        for range in map {
            table += littleEndianBytes(range.base)
            table += littleEndianBytes(range.size)
            table += littleEndianBytes(range.kind.rawValue)
            table += littleEndianBytes(0 as UInt32)
        }
        try memory.write(table, at: entries)
    }

    /// A setup header as a bzImage's loader would have left it, since an ELF file has none.
    private func storeBootParameters(
        into memory: MachineMemory, _ material: BootMaterial, _ initrdAddress: UInt64
    ) throws(BootError) {
        typealias Field = LinuxImage.Field
        var parameters = BootParameters(header: [])
        parameters.store(0xaa55 as UInt16, at: Field.bootFlag)
        parameters.store(0x5372_6448 as UInt32, at: Field.magic)
        parameters.store(0x020c as UInt16, at: Field.version)
        parameters.store(0xff as UInt8, at: Field.typeOfLoader)
        parameters.store(0x01 as UInt8, at: Field.loadFlags)
        parameters.store(0x0100_0000 as UInt32, at: Field.alignment)
        parameters.store(UInt32(LowMemory.commandLine), at: Field.commandLine)
        parameters.store(2047 as UInt32, at: Field.commandLineSize)
        if let initrd = material.initrd {
            parameters.store(UInt32(truncatingIfNeeded: initrdAddress), at: Field.ramdiskImage)
            parameters.store(UInt32(truncatingIfNeeded: initrd.size), at: Field.ramdiskSize)
        }
        parameters.rsdp = material.rsdp
        parameters.setMap(memory.map)
        try memory.write(parameters.bytes, at: LowMemory.bootParameters)
    }
}

extension KernelImage {
    /// Loads the kernel by the protocol that is wanted, or by the best that it offers.
    public func load(
        into memory: MachineMemory, _ material: BootMaterial, by wanted: BootProtocol? = nil
    ) throws(BootError) -> EntryState {
        switch self {
        case .bzImage(let image):
            let chosen = wanted ?? (image.has64BitEntry ? .linux64 : .linux32)
            guard chosen == .linux64 || chosen == .linux32 else {
                throw .protocolNotOffered(file: image.file, protocol: chosen, why: "it is a bzImage, not an ELF file")
            }
            return try image.load(into: memory, material, by: chosen)
        case .elf(let image):
            let chosen = wanted ?? (image.pvhEntry != nil ? .pvh : .elf)
            guard chosen == .pvh || chosen == .elf else {
                throw .protocolNotOffered(file: image.file, protocol: chosen, why: "it is an ELF file, not a bzImage")
            }
            return try image.load(into: memory, material, by: chosen)
        }
    }
}
