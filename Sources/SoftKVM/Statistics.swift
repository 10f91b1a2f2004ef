// Counters that describe themselves: KVM_GET_STATS_FD. Documentation/virt/kvm/api.rst, section 4.133.

internal import Glibc
internal import KVMABI
internal import Locking
internal import Processor

/// What one kind of handle counts: its cases in the order of the file's data, from 0.
protocol StatisticName: CaseIterable, RawRepresentable<Int> {
    /// As the kernel's counter of the same is called.
    var name: String { get }
    var kind: StatisticKind { get }
}

/// KVM_STATS_TYPE_* and _UNIT_*, without a scale.
enum StatisticKind: UInt32 {
    /// Only grows, without a unit.
    case count = 0
    /// What is so now: 0 or 1.
    case isSo = 0x41
}

/// The counters of one handle. They are counted from the beginning, and shown in a file once somebody asks.
///
/// Changed by one thread at a time.
struct Statistics<Name: StatisticName> {
    private var values = InlineArray<24, UInt64>(repeating: 0)
    private var file: StatisticsFile?

    /// Somebody has asked for the file.
    var isShown: Bool { file != nil }

    mutating func count(_ name: Name) { set(name, values[name.rawValue] &+ 1) }

    mutating func set(_ name: Name, _ value: UInt64) {
        values[name.rawValue] = value
        file?.store(value, at: name.rawValue)
    }

    /// A descriptor that reads the file, and is the client's.
    /// - Parameter id: names the handle, in less than 48 bytes.
    /// - Throws: the errno of the failing system call.
    mutating func open(id: String) throws(Errno) -> Int32 {
        if let file { return try file.open() }
        let names = Name.allCases.map { ($0.name, $0.kind) }
        let made = try StatisticsFile(id: id, names)
        for index in names.indices { made.store(values[index], at: index) }
        file = made
        return try made.open()
    }
}

/// `struct kvm_stats_header`, an id, a `struct kvm_stats_desc` for each counter, and the counters, in a memory file.
@safe final class StatisticsFile: @unchecked Sendable {
    private static let nameSize = 48
    private static let headerSize = 24
    private static let descriptorSize = 16 + nameSize

    private let file: MemoryFile
    private let size: Int
    private let dataOffset: Int
    // SAFETY: `size` mapped bytes from init to deinit; clients can only read the file.
    private let base: UnsafeMutableRawPointer

    init(id: String, _ counters: [(name: String, kind: StatisticKind)]) throws(Errno) {
        let descriptors = StatisticsFile.headerSize + StatisticsFile.nameSize
        dataOffset = descriptors + counters.count * StatisticsFile.descriptorSize
        size = dataOffset + counters.count * 8
        var header = Record(count: StatisticsFile.headerSize)
        header.store(UInt32(StatisticsFile.nameSize), 4)
        header.store(UInt32(counters.count), 8)
        header.store(UInt32(StatisticsFile.headerSize), 12)
        header.store(UInt32(descriptors), 16)
        header.store(UInt32(dataOffset), 20)
        var bytes = header.bytes + StatisticsFile.text(id)
        for (index, counter) in counters.enumerated() {
            var descriptor = Record(count: StatisticsFile.descriptorSize - StatisticsFile.nameSize)
            descriptor.store(counter.kind.rawValue, 0)
            descriptor.store(UInt16(1), 6)  // one value
            descriptor.store(UInt32(index * 8), 8)
            bytes += descriptor.bytes + StatisticsFile.text(counter.name)
        }
        file = try MemoryFile("kvm-stats", size: size)
        unsafe base = try file.map(size)
        unsafe UnsafeMutableRawBufferPointer(start: base, count: size).copyBytes(from: bytes)
    }

    private static func text(_ text: String) -> [UInt8] {
        let bytes = text.utf8.prefix(nameSize - 1)
        return bytes + [UInt8](repeating: 0, count: nameSize - bytes.count)
    }

    deinit { unsafe munmap(base, size) }

    func store(_ value: UInt64, at index: Int) {
        unsafe base.storeBytes(of: value, toByteOffset: dataOffset + 8 * index, as: UInt64.self)
    }

    /// Opened anew, since a copy of the descriptor could write.
    func open() throws(Errno) -> Int32 {
        let descriptor = unsafe Glibc.open("/proc/self/fd/\(file.descriptor)", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        return descriptor
    }
}

// MARK: What is counted

enum VirtualCPUStatistic: Int, StatisticName {
    case exits, ioExits, mmioExits, haltExits, haltWakeups, blocking, signalExits, interruptWindowExits
    case interruptInjections, nmiInjections, hypercalls
    // Of the translator, and our own: 0 where the interpreter executes.
    case translations, translatedInstructions, translationRenewals, translationInvalidations, translationEvictions
    case translationTime
    case translationEntries, translationColdExits, translatedUserInstructions, translatedSystemInstructions

    var name: String {
        switch self {
        case .exits: "exits"
        case .ioExits: "io_exits"
        case .mmioExits: "mmio_exits"
        case .haltExits: "halt_exits"
        case .haltWakeups: "halt_wakeup"
        case .blocking: "blocking"
        case .signalExits: "signal_exits"
        case .interruptWindowExits: "irq_window_exits"
        case .interruptInjections: "irq_injections"
        case .nmiInjections: "nmi_injections"
        case .hypercalls: "hypercalls"
        case .translations: "translator_translations"
        case .translatedInstructions: "translator_instructions"
        case .translationRenewals: "translator_renewals"
        case .translationInvalidations: "translator_invalidations"
        case .translationEvictions: "translator_evictions"
        case .translationTime: "translator_time_ns"
        case .translationEntries: "translator_entries"
        case .translationColdExits: "translator_cold_exits"
        case .translatedUserInstructions: "translator_user_instructions"
        case .translatedSystemInstructions: "translator_system_instructions"
        }
    }

    var kind: StatisticKind { self == .blocking ? .isSo : .count }
}

enum MachineStatistic: Int, StatisticName {
    case translationFlushes, translationFlushRequests

    var name: String {
        switch self {
        case .translationFlushes: "remote_tlb_flush"
        case .translationFlushRequests: "remote_tlb_flush_requests"
        }
    }

    var kind: StatisticKind { .count }
}

extension VirtualCPU {
    func openStatistics() throws(Errno) -> Int32 {
        let descriptor = try statistics.open(id: "kvm-\(getpid())/vcpu-\(id)")
        showTranslationCounters()
        return descriptor
    }

    /// The translator's counters as they are; shown at each end of a run once somebody looks.
    func showTranslationCounters() {
        guard statistics.isShown, let counters = processor.translationCounters else { return }
        statistics.set(.translations, counters.translations)
        statistics.set(.translatedInstructions, counters.instructions)
        statistics.set(.translationRenewals, counters.renewals)
        statistics.set(.translationInvalidations, counters.invalidations)
        statistics.set(.translationEvictions, counters.evictions)
        statistics.set(.translationTime, counters.translationTime)
        statistics.set(.translationEntries, counters.entries)
        statistics.set(.translationColdExits, counters.coldExits)
        statistics.set(.translatedUserInstructions, counters.userInstructions)
        statistics.set(.translatedSystemInstructions, counters.systemInstructions)
    }
}

extension VirtualMachine {
    func openStatistics() throws(Errno) -> Int32 {
        let result: Result<Int32, Errno> = statistics.withLock { statistics in
            do throws(Errno) { return .success(try statistics.open(id: "kvm-\(getpid())")) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Every vCPU forgets what it knows of guest memory. While none runs guest code.
    func flushTranslations() {
        statistics.withLock { statistics in
            statistics.count(.translationFlushRequests)
            statistics.count(.translationFlushes)
        }
        world.forEach(except: nil) { $0.request(.flushTLB) }
    }
}
