// The handles that one endpoint has given out. Numbers are its own, from 1.

internal import KVMABI
internal import Locking
internal import Synchronization

/// What a handle names. The handle keeps it alive.
enum HandleTarget {
    case system(SystemHandle)
    case machine(VirtualMachine)
    case vcpu(VirtualCPUHandle)
}

/// Handles by number. Looking one up takes that slot's own lock only, so that vCPUs don't meet here.
@safe final class HandleTable: @unchecked Sendable {
    private typealias Slot = Lock<HandleTarget?>

    private static let chunkSize = 256
    private static let chunkCount = 256

    // SAFETY: `chunkCount` words, each zero or the address of `chunkSize` initialised slots; published once, freed in deinit.
    private let directory: UnsafeMutablePointer<Atomic<UInt>>
    private let numbers = Lock(Numbers())

    private struct Numbers {
        var next: Int32 = 1
        var released: [Int32] = []
    }

    init() {
        unsafe directory = .allocate(capacity: HandleTable.chunkCount)
        for index in 0..<HandleTable.chunkCount { unsafe (directory + index).initialize(to: Atomic(0)) }
    }

    deinit {
        for index in 0..<HandleTable.chunkCount {
            if let chunk = unsafe UnsafeMutablePointer<Slot>(bitPattern: directory[index].load(ordering: .relaxed)) {
                unsafe chunk.deinitialize(count: HandleTable.chunkSize)
                unsafe chunk.deallocate()
            }
        }
        unsafe directory.deallocate()
    }

    private func slot(_ number: Int32) -> UnsafeMutablePointer<Slot>? {
        let index = Int(number)
        guard index > 0, index < HandleTable.chunkCount * HandleTable.chunkSize else { return nil }
        let address = unsafe directory[index / HandleTable.chunkSize].load(ordering: .acquiring)
        guard let chunk = unsafe UnsafeMutablePointer<Slot>(bitPattern: address) else { return nil }
        return unsafe chunk + index % HandleTable.chunkSize
    }

    /// - Throws: EBADF where the number names nothing.
    func target(_ handle: Handle) throws(Errno) -> HandleTarget {
        guard let slot = unsafe slot(handle.rawValue) else { throw .badFileDescriptor }
        guard let target = unsafe slot.pointee.withLock({ $0 }) else { throw .badFileDescriptor }
        return target
    }

    /// - Throws: EMFILE when all numbers are taken.
    func insert(_ target: HandleTarget) throws(Errno) -> Handle {
        let number: Int32? = numbers.withLock { numbers in
            if let number = numbers.released.popLast() { return number }
            guard Int(numbers.next) < HandleTable.chunkCount * HandleTable.chunkSize else { return nil }
            let number = numbers.next
            let chunk = Int(number) / HandleTable.chunkSize
            if unsafe directory[chunk].load(ordering: .relaxed) == 0 {
                let slots = UnsafeMutablePointer<Slot>.allocate(capacity: HandleTable.chunkSize)
                for index in 0..<HandleTable.chunkSize { unsafe (slots + index).initialize(to: Lock(nil)) }
                unsafe directory[chunk].store(UInt(bitPattern: slots), ordering: .releasing)
            }
            numbers.next += 1
            return number
        }
        guard let number, let slot = unsafe slot(number) else { throw .tooManyOpenFiles }
        unsafe slot.pointee.withLock { $0 = target }
        return Handle(rawValue: number)
    }

    /// Frees a number and gives back what it named, for the caller to let go of outside every lock.
    func remove(_ handle: Handle) -> HandleTarget? {
        guard let slot = unsafe slot(handle.rawValue) else { return nil }
        let target = unsafe slot.pointee.withLock { target in
            let old = target
            target = nil
            return old
        }
        if target != nil { numbers.withLock { $0.released.append(handle.rawValue) } }
        return target
    }
}
