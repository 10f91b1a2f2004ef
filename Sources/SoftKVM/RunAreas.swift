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

    /// Where pages of a vCPU's handle lie: 0…2, any run of them.
    /// - Throws: EINVAL for a misaligned offset, no length, or beyond the pages that there are.
    func pieces(_ area: VirtualCPUArea, length: Int, offset: Int) throws(Errno) -> [MappingPiece] {
        guard length > 0, offset >= 0, offset % RunAreas.pageSize == 0 else { throw .invalidArgument }
        let first = offset / RunAreas.pageSize
        let count = (length - 1) / RunAreas.pageSize + 1
        guard first <= RunAreas.ringPage, count <= RunAreas.ringPage + 1 - first else { throw .invalidArgument }
        return (first..<first + count).map { page in
            MappingPiece(
                of: file.descriptor, owner: self, length: RunAreas.pageSize,
                offset: page == RunAreas.ringPage ? 0 : area.fileOffset + page * RunAreas.pageSize)
        }
    }
}
