// The pages that hypervisor and clients share: each vCPU's `struct kvm_run` and port data, and the VM's coalesced ring.
// Documentation/virt/kvm/api.rst, sections 4.5 (KVM_GET_VCPU_MMAP_SIZE) and 5.

internal import Glibc
internal import KVMABI
internal import Locking

/// One vCPU's two pages, as the hypervisor sees them.
@safe struct VirtualCPUArea: @unchecked Sendable {
    // SAFETY: two mapped pages that live as long as the VM's `RunAreas`. Clients write to them at any time: each field is
    // read once, and nothing that was read is trusted.
    let base: UnsafeMutableRawPointer
    /// Where the pages lie in the VM's file.
    let fileOffset: Int

    /// `struct kvm_run`.
    var run: RunArea { unsafe RunArea(base) }

    static let portDataOffset = 4096
    static let portDataSize = 4096

    /// The page through which port data goes.
    var portData: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(
            start: base + VirtualCPUArea.portDataOffset, count: VirtualCPUArea.portDataSize)
    }

    /// The data of an MMIO exit inside `struct kvm_run`.
    var mmioData: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: base + ExitLayout.mmioData, count: 8)
    }
}

/// The run areas of one VM, in one memory file: the ring's page first, then two pages for each vCPU.
@safe final class RunAreas: @unchecked Sendable {
    static let pageSize = 4096
    /// What KVM_GET_VCPU_MMAP_SIZE says: run page, port data, coalesced ring.
    static let mappingSize = 3 * pageSize
    static let ringPage = 2

    private let file: MemoryFile
    // SAFETY: one mapped page, from init to deinit.
    let ring: UnsafeMutableRawPointer
    private let areas = Lock<[VirtualCPUArea]>([])

    /// - Throws: the errno of the failing system call.
    init() throws(Errno) {
        file = try MemoryFile("kvm-vcpu", size: RunAreas.pageSize, grows: true)
        unsafe ring = try file.map(RunAreas.pageSize)
    }

    deinit {
        for area in areas.withLock({ $0 }) { unsafe munmap(area.base, 2 * RunAreas.pageSize) }
        unsafe munmap(ring, RunAreas.pageSize)
    }

    /// Two zeroed pages for one more vCPU.
    func addArea() throws(Errno) -> VirtualCPUArea {
        try areas.withLock { areas throws(Errno) in
            let offset = (1 + 2 * areas.count) * RunAreas.pageSize
            try file.grow(to: offset + 2 * RunAreas.pageSize)
            let area = unsafe VirtualCPUArea(base: try file.map(2 * RunAreas.pageSize, at: offset), fileOffset: offset)
            areas.append(area)
            return area
        }
    }

    /// Both of a vCPU's own pages, or one of them.
    func piece(of area: VirtualCPUArea, pages: Range<Int>) -> MappingPiece {
        piece(at: area.fileOffset + pages.lowerBound * RunAreas.pageSize, pages: pages.count)
    }

    /// The ring of coalesced writes.
    var ringPiece: MappingPiece { piece(at: 0, pages: 1) }

    /// Pages that are not there: the file never comes so far.
    func nothing(pages: Int) -> MappingPiece { piece(at: 1 << 40, pages: pages) }

    private func piece(at offset: Int, pages: Int) -> MappingPiece {
        MappingPiece(of: file.descriptor, owner: self, length: pages * RunAreas.pageSize, offset: offset)
    }
}
