import FuzzInput

@testable import VMM

/// How one kernel file is booted, and what must be true when it has been loaded.
struct BootCase {
    private let wanted: BootProtocol?
    private let memorySize: UInt64
    private let initrd: ImageFile?
    private let commandLine: String

    init(_ input: inout FuzzInput) {
        let options = input.byte()
        wanted = ([nil] + BootProtocol.allCases.map(Optional.some))[Int(options & 7) % 5]
        memorySize = [2, 4, 16, 64][Int(options >> 3 & 3)] << 20
        initrd = InitrdFile.all[Int(options >> 5) % InitrdFile.all.count]
        let length = Int(input.byte())
        // Lengths to both sides of every limit there is.
        commandLine = String(repeating: "martlet=", count: length * (length & 1 == 0 ? 1 : 40))
    }

    func run(kernel: [UInt8]) {
        guard let image = try? KernelImage(kernel, file: "kernel") else { return }
        guard let memory = try? MachineMemory(size: memorySize) else { report("no memory") }
        let material = BootMaterial(commandLine: commandLine, initrd: initrd, rsdp: 0xE0000)
        guard let entry = try? image.load(into: memory, material, by: wanted) else { return }
        require((try? entry.storeTables(into: memory)) != nil, "no room for the tables of the entry")
        switch entry {
        case .linux64(_, let parameters), .linux32(_, let parameters): checkParameters(parameters, image, memory)
        case .pvh(_, let start): checkStartInformation(start, image, memory)
        }
        switch image {
        case .bzImage(let image): checkKernel(image, entry, memory)
        case .elf(let image): checkSegments(image, memory)
        }
    }

    // MARK: What lies in memory

    private func load<T: FixedWidthInteger & UnsignedInteger>(_ address: UInt64, _ memory: MachineMemory) -> T {
        guard let bytes = try? memory.read(count: T.bitWidth / 8, at: address),
            let value: T = ByteReader(bytes).load(0)
        else { report("nothing at \(address)") }
        return value
    }

    private func requireBytes(
        _ bytes: some Collection<UInt8>, at address: UInt64, _ memory: MachineMemory, _ what: String
    ) {
        guard let found = try? memory.read(count: bytes.count, at: address) else { report("\(what) outside memory") }
        require(found.elementsEqual(bytes), "\(what) at \(address) is not what was loaded")
    }

    /// boot.rst, "64-bit Boot Protocol"; zero-page.rst.
    private func checkParameters(_ place: UInt64, _ image: KernelImage, _ memory: MachineMemory) {
        require(load(place + 0x1FE, memory) == 0xAA55 as UInt16, "boot_flag")
        require(load(place + 0x202, memory) == 0x5372_6448 as UInt32, "header")
        require(load(place + 0x210, memory) == 0xFF as UInt8, "type_of_loader")
        require(load(place + 0x070, memory) == 0xE0000 as UInt64, "acpi_rsdp_addr")
        require(load(place + 0x1E8, memory) == UInt8(memory.map.count), "e820_entries")
        let line: UInt32 = load(place + 0x228, memory)
        requireBytes(Array(commandLine.utf8) + [0], at: UInt64(line), memory, "command line")
        let address: UInt32 = load(place + 0x218, memory), size: UInt32 = load(place + 0x21C, memory)
        checkInitrd(UInt64(address), UInt64(size), image, memory)
    }

    /// start_info.h.
    private func checkStartInformation(_ place: UInt64, _ image: KernelImage, _ memory: MachineMemory) {
        require(load(place, memory) == 0x336E_C578 as UInt32, "magic")
        requireBytes(Array(commandLine.utf8) + [0], at: load(place + 0x18, memory), memory, "command line")
        require(load(place + 0x20, memory) == 0xE0000 as UInt64, "rsdp_paddr")
        require(load(place + 0x30, memory) == UInt32(memory.map.count), "memmap_entries")
        guard initrd != nil else {
            require(load(place + 12, memory) == 0 as UInt32, "nr_modules")
            return
        }
        let module: UInt64 = load(place + 0x10, memory)
        checkInitrd(load(module, memory), load(module + 8, memory), image, memory)
    }

    private func checkInitrd(_ address: UInt64, _ size: UInt64, _ image: KernelImage, _ memory: MachineMemory) {
        guard let initrd, let contents = try? initrd.contents() else { return }
        require(size == initrd.size && address & 0xFFF == 0, "initrd of \(size) bytes at \(address)")
        requireBytes(contents, at: address, memory, "initrd")
        switch image {
        case .bzImage(let image): require(address + size <= image.initrdLimit + 1, "initrd above its limit")
        case .elf(let image):
            for segment in image.segments {
                require(address >= segment.end || address + size <= segment.address, "initrd on a segment")
            }
        }
    }

    private func checkKernel(_ image: LinuxImage, _ entry: EntryState, _ memory: MachineMemory) {
        let address: UInt64
        switch entry {
        case .linux64(let rip, _): address = rip - 0x200
        case .linux32(let eip, _): address = UInt64(eip)
        case .pvh: report("a bzImage by PVH")
        }
        require(address >= 1 << 20 && address + image.initSize <= memory.lowEnd, "kernel at \(address)")
        require(!image.isRelocatable || address % image.alignment == 0, "kernel at \(address), not aligned")
        requireBytes(image.payload, at: address, memory, "kernel")
    }

    /// The last segment lies as it is in the file; the others do where none lies on them.
    private func checkSegments(_ image: ELFImage, _ memory: MachineMemory) {
        for (index, segment) in image.segments.enumerated() {
            let end = segment.address + UInt64(segment.contents.count)
            let isCovered = image.segments[(index + 1)...].contains { $0.address < end && $0.end > segment.address }
            guard !isCovered else { continue }
            requireBytes(segment.contents, at: segment.address, memory, "segment")
        }
    }
}
