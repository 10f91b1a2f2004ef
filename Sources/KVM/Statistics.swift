// The hypervisor's counters, as a self-describing file. Documentation/virt/kvm/api.rst, section 4.133 (KVM_GET_STATS_FD).

internal import Glibc
internal import KVMABI

/// One counter, or histogram, of a machine or a vCPU.
public struct Statistic: Hashable, Sendable {
    public let name: String
    /// Type, unit and base, as `KVM_STATS_*`.
    public let flags: UInt32
    /// The power of the base that the unit is scaled by.
    public let exponent: Int16
    /// One value, or one for each bucket of a histogram.
    public let values: [UInt64]
}

extension Connection {
    func statistics() throws(KVMError) -> [Statistic] {
        // A file of the host's with either hypervisor, and no handle.
        let descriptor = try call(.getStatsFD)
        defer { close(descriptor) }
        let header = try read(descriptor, at: 0, count: MemoryLayout<kvm_stats_header>.size)
        let nameSize = Int(header.word(4))
        let count = Int(header.word(8))
        let descriptors = Int(header.word(16))
        let data = Int(header.word(20))
        guard nameSize <= 4096, count <= 65536 else { throw .descriptor(.invalidArgument) }
        let stride = MemoryLayout<kvm_stats_desc>.size + nameSize
        let table = try read(descriptor, at: descriptors, count: count * stride)
        var statistics: [Statistic] = []
        for index in 0..<count {
            let entry = table[(index * stride)..<(index * stride + stride)]
            let shape = entry.word(4)
            let size = Int(shape >> 16)
            let values = try read(descriptor, at: data + Int(entry.word(8)), count: size * 8)
            statistics.append(
                Statistic(
                    name: String(decoding: entry.dropFirst(16).prefix { $0 != 0 }, as: UTF8.self), flags: entry.word(0),
                    exponent: Int16(truncatingIfNeeded: shape),
                    values: (0..<size).map { UInt64(values.word($0 * 8)) | UInt64(values.word($0 * 8 + 4)) << 32 }))
        }
        return statistics
    }

    private func read(_ descriptor: Int32, at offset: Int, count: Int) throws(KVMError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe pread(descriptor, bytes.baseAddress, bytes.count, offset)
        }
        guard result == count else { throw .descriptor(result < 0 ? Errno(rawValue: errno) : .invalidArgument) }
        return bytes
    }
}

extension RandomAccessCollection<UInt8> where Index == Int {
    /// The little-endian 32-bit word at an offset from the start.
    fileprivate func word(_ offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(self[startIndex + offset + $1]) << UInt32($1 * 8) }
    }
}

extension VirtualMachine {
    /// `KVM_GET_STATS_FD`: the machine's counters.
    public func statistics() throws(KVMError) -> [Statistic] { try core.connection.statistics() }
}

extension VirtualCPU {
    /// `KVM_GET_STATS_FD`: the vCPU's counters.
    public func statistics() throws(KVMError) -> [Statistic] { try connection.statistics() }
}
