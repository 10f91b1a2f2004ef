// KVM_IOEVENTFD: writes of the guest that signal an eventfd and nothing else. Documentation/virt/kvm/api.rst, 4.59.

internal import Glibc
internal import KVMABI
internal import Locking
internal import Synchronization

/// An eventfd of the client, held on to by a descriptor of our own.
final class EventDescriptor: Sendable {
    let descriptor: Int32
    /// The kernel's number for the eventfd behind the descriptor: the same for each descriptor of one eventfd.
    let identity: UInt64

    /// - Throws: EBADF for no descriptor, EINVAL for one that is no eventfd.
    init(_ number: Int32) throws(Errno) {
        // First a descriptor that nobody else can close, or make another's.
        descriptor = PrivateDescriptor.copy(of: number)
        guard descriptor >= 0 else { throw .badFileDescriptor }
        do throws(Errno) {
            identity = try EventDescriptor.identity(of: descriptor, known: number)
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    /// - Parameter known: the client's descriptor of it, if that is another.
    static func identity(of number: Int32, known: Int32? = nil) throws(Errno) -> UInt64 {
        guard fcntl(number, F_GETFD) >= 0 else { throw .badFileDescriptor }
        let text = HostFile.read("/proc/self/fdinfo/\(number)", limit: 1024)
        var isEventDescriptor = false
        for line in text.split(separator: "\n") {
            if line.hasPrefix("eventfd-count:") { isEventDescriptor = true }
            if line.hasPrefix("eventfd-id:"), let word = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).last,
                let value = UInt64(word)
            {
                return value
            }
        }
        guard isEventDescriptor else { throw .invalidArgument }
        // A kernel that gives no ids: the number of the client's descriptor has to do.
        return UInt64(UInt32(bitPattern: known ?? number)) | 1 << 63
    }

    func signal() {
        var one: UInt64 = 1
        _ = unsafe write(descriptor, &one, 8)
    }

    /// Takes the count; 0 where there was none.
    func drain() -> UInt64 {
        var count: UInt64 = 0
        return unsafe read(descriptor, &count, 8) == 8 ? count : 0
    }
}

/// The ioeventfds of one VM.
final class IOEventFDs: Sendable {
    private struct Place: Hashable {
        var bus: IOBus
        var address: UInt64
    }

    private struct Entry {
        /// 0: any length.
        var length: Int
        /// Nil: any data.
        var match: UInt64?
        var event: EventDescriptor
    }

    /// By place, so that a write asks those of its own alone.
    private let entries = Lock<[Place: [Entry]]>([:])
    private let count = Atomic<Int>(0)

    /// Signals what waits for this write; false where nothing does.
    func write(_ bus: IOBus, _ address: UInt64, size: Int, value: UInt64) -> Bool {
        if count.load(ordering: .relaxed) == 0 { return false }
        return entries.withLock { entries in
            for entry in entries[Place(bus: bus, address: address)] ?? [] {
                if entry.length != 0 {
                    guard entry.length == size else { continue }
                    if let match = entry.match, match != value { continue }
                }
                entry.event.signal()
                return true
            }
            return false
        }
    }

    /// KVM_IOEVENTFD. struct kvm_ioeventfd: datamatch, addr, len, fd, flags.
    func change(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(64))
        let flags: UInt32 = record.load(24)
        let isDatamatch = flags & 1 != 0
        let isPort = flags & 2 != 0
        let isDeassignment = flags & 4 != 0
        let address: UInt64 = record.load(8)
        let length: UInt32 = record.load(16)
        let number: Int32 = record.load(20)
        // The kernel takes bit 4, which it knows by itself, and makes nothing of it.
        guard flags & ~31 == 0 else { throw .invalidArgument }
        if !isDeassignment {
            switch length {
            case 0, 1, 2, 4, 8: break
            default: throw .invalidArgument
            }
            guard address.addingReportingOverflow(UInt64(length)).overflow == false else { throw .invalidArgument }
            if length == 0 && isDatamatch { throw .invalidArgument }
        }
        let isChannel = flags & 8 != 0  // KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY
        let bus: IOBus = isPort ? .port : isChannel ? .channel : .memory
        let place = Place(bus: bus, address: address)
        let match: UInt64? = isDatamatch ? record.load(0, as: UInt64.self) : nil
        if isDeassignment {
            let identity = try EventDescriptor.identity(of: number)
            let removed = entries.withLock { entries in
                let index = entries[place]?.firstIndex {
                    $0.event.identity == identity && $0.length == Int(length) && $0.match == match
                }
                guard let index else { return false }
                entries[place]?.remove(at: index)
                if entries[place]?.isEmpty == true { entries[place] = nil }
                count.store(entries.count, ordering: .relaxed)
                return true
            }
            guard removed else { throw .noSuchFile }
            return
        }
        let entry = Entry(length: Int(length), match: match, event: try EventDescriptor(number))
        let added = entries.withLock { entries in
            let collides = (entries[place] ?? []).contains {
                $0.length == 0 || entry.length == 0
                    || ($0.length == entry.length
                        && ($0.match == nil || entry.match == nil || $0.match == entry.match))
            }
            if collides { return false }
            entries[place, default: []].append(entry)
            count.store(entries.count, ordering: .relaxed)
            return true
        }
        guard added else { throw .fileExists }
    }
}

/// Where an access goes.
enum IOBus: UInt8, Sendable {
    case memory, port
    /// Another architecture's, which no access of an x86 guest reaches.
    case channel
}
