import Glibc
import KVMABI
import TestLimits
import Testing

/// What hypervisors share with their clients can't be taken away by these.
@Suite(.within(minutes: 20)) struct MemoryFileTests {
    private func size(_ descriptor: Int32) -> Int {
        var status = stat()
        return unsafe fstat(descriptor, &status) == 0 ? Int(status.st_size) : -1
    }

    @Test func nobodyMakesItSmaller() throws {
        let file = try MemoryFile("test", size: 8192)
        #expect(ftruncate(file.descriptor, 4096) == -1 && errno == EPERM)
        #expect(ftruncate(file.descriptor, 16384) == -1 && errno == EPERM)
        #expect(fcntl(file.descriptor, F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EPERM)
        #expect(size(file.descriptor) == 8192)
        let growing = try MemoryFile("test", size: 4096, grows: true)
        try growing.grow(to: 12288)
        #expect(ftruncate(growing.descriptor, 4096) == -1 && errno == EPERM)
        #expect(size(growing.descriptor) == 12288)
    }

    @Test func mappingsShowTheFileAndOutliveIt() throws {
        let (whole, second) = unsafe try mapTwice()
        defer {
            unsafe munmap(whole, 8192)
            unsafe munmap(second, 4096)
        }
        unsafe second.storeBytes(of: 0x1234, as: UInt16.self)
        #expect(unsafe whole.load(fromByteOffset: 4096, as: UInt16.self) == 0x1234)
    }

    private func mapTwice() throws -> (UnsafeMutableRawPointer, UnsafeMutableRawPointer) {
        let file = try MemoryFile("test", size: 8192)
        #expect(fcntl(file.descriptor, F_GETFD) == FD_CLOEXEC)
        return unsafe (try file.map(8192), try file.map(4096, at: 4096))
    }

    @Test func whatThereIsNoRoomForIsRefused() {
        for size in [-1, Int.min] {
            #expect(throws: Errno.outOfMemory) { _ = try MemoryFile("test", size: size) }
        }
    }

    /// Numbers beyond what the client has.
    @Test func numbersAreOutOfTheWay() throws {
        var ends = [Int32](repeating: -1, count: 2)
        #expect(unsafe pipe(&ends) == 0)
        let copy = PrivateDescriptor.copy(of: ends[0])
        let moved = PrivateDescriptor.moved(ends[0])
        defer { for descriptor in [moved, copy, ends[1]] { close(descriptor) } }
        #expect(moved >= 512 && copy >= 512 && moved != copy)
        #expect(fcntl(moved, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == FD_CLOEXEC)
        #expect(PrivateDescriptor.moved(-1) == -1 && PrivateDescriptor.copy(of: -1) == -1)
    }
}
