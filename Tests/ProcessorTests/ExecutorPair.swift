import Glibc
import GuestMemory
import TestSupport
import X86

@testable import Processor

/// Two machines that are made the same, and differ in what executes them.
final class ExecutorPair {
    let interpreted: SystemMachine
    let translated: SystemMachine
    private let watchdogs: [Watchdog]
    private(set) var exits = 0

    /// A page that is not there.
    private var hidden: UInt64?

    init(_ translator: ExecutorOptions) throws {
        var counting = translator
        counting.countsInstructions = true
        interpreted = try SystemMachine.long([], executor: ExecutorOptions(.interpreter))
        translated = try SystemMachine.long([], executor: counting)
        watchdogs = [interpreted, translated].map { Watchdog($0.processor, patience: .seconds(20)) }
    }

    var machines: [SystemMachine] { [interpreted, translated] }

    /// Runs a guest on both, part after part; what differs first, or nil.
    func difference(ofGuest seed: UInt64) throws -> String? {
        let guest = RandomGuest(seed: seed)
        for machine in machines { try prepare(machine, guest.bytes, seed) }
        for (part, start) in guest.starts.enumerated() {
            for machine in machines {
                machine.state.rip = RandomGuest.code + UInt64(start)
                machine.state.registers[4] = SystemMachine.kernelStack
                machine.processor.rflags = 0x202 | seed & 1 << 10
            }
            for exit in 0..<200 {
                exits += 1
                let (difference, ends) = run()
                if !difference.isEmpty {
                    return "part \(part) at \(start), exit \(exit): \(difference); \(hex(guest, start))"
                }
                guard goOn(ends[0], seed &+ UInt64(exit)) else { break }
            }
        }
        return nil
    }

    private func hex(_ guest: RandomGuest, _ start: Int) -> String {
        guest.bytes[start...].prefix(600).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    /// Code of the test's own, in the window, with what else it needs.
    func prepare(code: [UInt8], _ more: (SystemMachine) throws -> Void) throws {
        for machine in machines {
            try prepare(machine, code, 1)
            try more(machine)
            machine.state.rip = RandomGuest.code
            machine.state.registers[4] = SystemMachine.kernelStack
            machine.processor.rflags = 0x202
        }
    }

    private func prepare(_ machine: SystemMachine, _ code: [UInt8], _ seed: UInt64) throws {
        let memory = machine.memory
        try memory.store(SystemMachine.tables + 0x4007, at: SystemMachine.tables + 0x1008)
        try memory.store(RandomGuest.table | 7, at: SystemMachine.tables + 0x4000)
        var random = SplitMix64(seed: seed)
        for page in 0..<512 {
            var entry = RandomGuest.place(page) | 7
            if page == RandomGuest.missingPage { entry &= ~1 }
            if page == RandomGuest.readOnlyPage { entry &= ~2 }
            try memory.store(entry, at: RandomGuest.table + UInt64(page) * 8)
        }
        for page in 0..<2 * RandomGuest.dataPages {
            let bytes = (0..<512).flatMap { _ in
                let word = random.next()
                return (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
            }
            try memory.write(bytes, at: RandomGuest.place(page))
        }
        // The other version has other constants, and is code as well.
        let code = code + [UInt8](repeating: 0xF4, count: RandomGuest.codePages * 4096 - code.count)
        for page in 0..<RandomGuest.codePages {
            let bytes = Array(code[page << 12..<(page + 1) << 12])
            try memory.write(bytes, at: RandomGuest.place(RandomGuest.firstCodePage + page))
            let others = bytes.map { $0 == 0xF5 ? 0xF8 : $0 }
            try memory.write(others, at: RandomGuest.place(RandomGuest.otherCodePage + page))
        }
        machine.state.cr0 |= 1 << 16
        machine.state.cr4 |= 0x600
        for register in 0..<16 { machine.state.registers[register] = random.next() }
        for word in 0..<66 { machine.state.xsave[word] = word >= 20 && word < 52 ? random.next() : 0 }
        machine.state.xsave[0] = 0x37F
        machine.state.xsave[3] = 0x1F80
        machine.state.xsave[64] = 3
        machine.state.pendingException = PendingException()
        machine.state.interruptShadow = 0
        machine.state.dr6 = 0xFFFF_0FF0
        machine.host.interrupts = []
        machine.processor.withdraw(.interrupt)
        machine.processor.unfinished.abandon()
        machine.processor.stateChanged()
    }

    /// Takes a page of the window away from the processors, or gives it back.
    func show(page: Int, _ isThere: Bool) {
        hidden = isThere ? nil : RandomGuest.place(page)
        for machine in machines {
            // SAFETY: of the machine's memory, which nothing else uses meanwhile.
            unsafe mprotect(
                machine.memory.hostAddress + Int(RandomGuest.place(page)), 4096,
                isThere ? PROT_READ | PROT_WRITE : PROT_NONE)
        }
    }

    /// Runs both to their next exit: in what they differ, and how they ended.
    func run() -> (difference: String, ends: [ProcessorExit]) {
        let ends = zip(machines, watchdogs).map { machine, watchdog in watchdog.watch { machine.processor.run() } }
        var text = describe(ends[0]) == describe(ends[1]) ? "" : "exits \(ends[0]) and \(ends[1])"
        text += differences()
        return (text.isEmpty ? "" : "\(ends[0])\(text)", ends)
    }

    /// The address of a fault of the host's is each machine's own.
    private func describe(_ exit: ProcessorExit) -> String {
        if case .hostFault = exit { "hostFault" } else { "\(exit)" }
    }

    private func differences() -> String {
        var text = ""
        func check(_ name: String, _ value: (SystemMachine) -> UInt64) {
            let (one, other) = (value(interpreted), value(translated))
            if one != other { text += "; \(name) \(String(one, radix: 16)) and \(String(other, radix: 16))" }
        }
        check("rip") { $0.state.rip }
        for register in 0..<16 { check("r\(register)") { $0.state.registers[register] } }
        check("rflags") { $0.processor.rflags }
        check("cr2") { $0.state.cr2 }
        check("dr6") { $0.state.dr6 }
        check("cr3") { $0.state.cr3 }
        for word in 0..<66 { check("xsave[\(word)]") { $0.state.xsave[word] } }
        let ranges: [Range<UInt64>] = [
            0..<0x3_0000, RandomGuest.physical..<RandomGuest.physical + 512 << 12,
        ]
        for range in ranges {
            guard let place = firstDifference(range) else { continue }
            text += "; memory from \(String(place, radix: 16)) on"
        }
        return text
    }

    private func firstDifference(_ range: Range<UInt64>) -> UInt64? {
        // SAFETY: both memories have 16 MiB. A page that is hidden is passed over.
        for page in stride(from: range.lowerBound, to: range.upperBound, by: 4096) {
            let count = Int(min(4096 - page % 4096, range.upperBound - page))
            guard page != hidden else { continue }
            let (one, other) = unsafe (
                interpreted.memory.hostAddress + Int(page), translated.memory.hostAddress + Int(page)
            )
            guard unsafe memcmp(one, other, count) != 0 else { continue }
            for offset in 0..<count {
                let (byte, second) = unsafe (
                    one.load(fromByteOffset: offset, as: UInt8.self), other.load(fromByteOffset: offset, as: UInt8.self)
                )
                if byte != second { return page + UInt64(offset) }
            }
        }
        return nil
    }

    /// Whether the part goes on behind its exit. An interrupt comes now and then, at the next boundary that takes it.
    private func goOn(_ end: ProcessorExit, _ number: UInt64) -> Bool {
        guard case .portWrite = end else { return false }
        if number % 5 == 0 {
            for machine in machines {
                machine.host.interrupts = [0x41]
                machine.processor.request(.interrupt)
            }
        }
        return true
    }
}
