import Glibc
import GuestMemory
import KVM
import KVMABI
public import Processor
import SoftKVM
import TestSupport

/// Runs cases in a guest of a hypervisor, through the interface that any client has.
@safe public final class GuestExecutor {
    public enum Failure: Error, CustomStringConvertible {
        /// The monitor itself doesn't run there.
        case monitorFails(String)

        public var description: String {
            switch self {
            case .monitorFails(let what): "the guest's monitor does not run on this hypervisor: \(what)"
            }
        }
    }

    private let machine: VirtualMachine
    private var cpu: VirtualCPU
    private let memory: GuestMemory
    private let monitor: GuestMonitor
    private let watchdog: Watchdog
    private let backgrounds: [[UInt8]]
    private var codeStart = 0
    private var codeEnd = 0

    // SAFETY: of `memory`, which lives as long; offsets are `GuestMonitor.Physical`'s.
    private let base: UnsafeMutableRawPointer

    /// On the software hypervisor, with an executor of choice.
    public convenience init(_ executor: ExecutorOptions) throws {
        var counting = executor
        counting.countsInstructions = true
        try self.init(in: KVM.System(endpoint: SoftwareEndpoint(executor: counting)))
    }

    private init(in system: consuming KVM.System) throws {
        memory = try GuestMemory(size: GuestMonitor.Physical.size)
        unsafe base = memory.hostAddress
        monitor = try GuestMonitor(in: memory)
        machine = try system.makeVirtualMachine()
        try machine.addSlot(memory, at: 0)
        cpu = try machine.makeVirtualCPU()
        try cpu.setCPUID(try system.supportedCPUID())
        backgrounds = (0..<OracleWindows.backgroundCount).map { OracleWindows.background(UInt32($0)) }
        let handle = cpu.kickHandle
        watchdog = Watchdog(patience: .milliseconds(100), of: .thread) { handle.kick() }
        var control = kvm_xcrs()
        control.nr_xcrs = 1
        control.xcrs.0.value = 7
        try cpu.setXCRs(control)
        try restart()
        // A case that ends at once shows whether the monitor runs.
        var test = OracleCase()
        test.state.rip = OracleWindows.code
        test.code = [0xF4]
        let end = run(test)
        guard end.vector == 13, end.state.rip == test.state.rip else {
            throw Failure.monitorFails("vector \(end.vector), \(failure)")
        }
    }

    /// Instructions of cases, and not of the monitor, that translated code has begun so far.
    public func translatedInstructions() throws -> Int {
        let name = "translator_user_instructions"
        return Int(try cpu.statistics().first { $0.name == name }?.values.first ?? 0)
    }

    /// What the hypervisor said where it gave up.
    public private(set) var failure = ""

    private func restart() throws {
        let base = GuestMonitor.base
        try cpu.update { registers in
            func segment(_ selector: UInt16, type: UInt8, long: Bool = false, level: UInt8 = 0) -> kvm_segment {
                var segment = kvm_segment()
                segment.selector = selector
                segment.limit = 0xFFFF_FFFF
                segment.type = type
                segment.present = 1
                segment.s = 1
                segment.l = long ? 1 : 0
                segment.db = long ? 0 : 1
                segment.g = 1
                segment.dpl = level
                return segment
            }
            registers.cs = segment(GuestMonitor.kernelCode, type: 11, long: true)
            registers.ss = segment(0x18, type: 3)
            registers.ds = segment(0x2B, type: 3, level: 3)
            registers.es = segment(0x2B, type: 3, level: 3)
            // As Linux has them: null, with bases of their own in 64-bit code.
            registers.fs = kvm_segment()
            registers.fs.unusable = 1
            registers.gs = registers.fs
            registers.tr = segment(0x40, type: 11)
            registers.tr.s = 0
            registers.tr.g = 0
            registers.tr.db = 0
            registers.tr.limit = 0x67
            registers.tr.base = base + GuestMonitor.Physical.tss
            registers.ldt = segment(0x50, type: 2)
            registers.ldt.s = 0
            registers.ldt.g = 0
            registers.ldt.db = 0
            registers.ldt.limit = 8 * UInt32(OracleSegment.allCases.count) + 7
            registers.ldt.base = base + GuestMonitor.Physical.ldt
            registers.gdt.base = base + GuestMonitor.Physical.gdt
            registers.gdt.limit = 0x7F
            registers.idt.base = base + GuestMonitor.Physical.idt
            registers.idt.limit = 0xFFF
            registers.cr3 = GuestMonitor.Physical.pml4
            // PG, AM, WP, NE, ET, MP, PE; OSXSAVE, FSGSBASE, OSXMMEXCPT, OSFXSR, PGE, PAE.
            registers.cr0 = 0x8005_0033
            registers.cr4 = 0x5_06A0
            registers.efer = 0xD01  // NXE, LMA, LME, SCE
            registers.rip = monitor.entry
            registers.rflags = 2
            registers.rsp = base + GuestMonitor.Physical.eventStack
        }
    }

    /// Runs a case; its memory is there until the next one.
    public func run(_ test: OracleCase) -> OracleEnd {
        prepare(test)
        watchdog.begin()
        defer { watchdog.end() }
        do {
            try cpu.run()
            switch cpu.exit {
            case .portOut(let access) where access.port == UInt16(GuestMonitor.port):
                var end = unsafe (base + Int(GuestMonitor.Physical.output)).load(as: OracleEnd.self)
                // What 16-bit code can't see of RSP is the monitor's.
                if test.mode == .bits16 { end.state.registers[4] &= 0xFFFF_FFFF }
                return end
            case .interrupted: return try abandon(OracleEnd.runaway, "interrupted")
            case .shutdown: return try abandon(OracleEnd.failure, "shutdown")
            case let exit: return try abandon(OracleEnd.failure, "exit \(exit.reason.rawValue)")
            }
        } catch {
            failure = "\(error)"
            var end = OracleEnd()
            end.vector = OracleEnd.failure
            return end
        }
    }

    /// Runs a case step by step: where each of its instructions begins, from the code window's start on, in the order of
    /// execution, those of a repeated string once; the last one is that which ended it, and may lie outside of the window. Nil
    /// where that takes too many steps.
    func trace(_ test: OracleCase, steps limit: Int = 1_000_000) -> [Int]? {
        prepare(test)
        var offsets: [Int] = []
        var hasEnded = false
        do {
            try cpu.setDebugging(.singleStepping)
            for _ in 0..<limit {
                try cpu.run()
                guard let linear = stepped() else {
                    // The monitor's word: a case can't reach a port.
                    hasEnded = cpu.exit.reason == .io
                    break
                }
                let offset = Int(truncatingIfNeeded: Int64(bitPattern: linear &- OracleWindows.code))
                let isMonitors = linear &- GuestMonitor.base < UInt64(GuestMonitor.Physical.size)
                if !isMonitors, offsets.last != offset { offsets.append(offset) }
            }
        } catch {
            failure = "\(error)"
        }
        try? cpu.setDebugging(nil)
        if !hasEnded { try? restart() }
        return hasEnded ? offsets : nil
    }

    /// The linear address of the next instruction, if the last run ended with a step.
    private func stepped() -> UInt64? {
        if case .debug(let step) = cpu.exit { step.pc } else { nil }
    }

    /// Makes the vCPU fit for another case after one that did not come back to the monitor.
    private func abandon(_ vector: UInt32, _ what: String) throws -> OracleEnd {
        failure = what
        var end = OracleEnd()
        end.vector = vector
        let registers = try cpu.registers()
        end.state.rip = registers.rip
        try restart()
        return end
    }

    private func prepare(_ test: OracleCase) {
        let input = unsafe base + Int(GuestMonitor.Physical.input)
        unsafe input.storeBytes(of: test.state, as: OracleState.self)
        let frame = unsafe (base + Int(GuestMonitor.Physical.frame)).assumingMemoryBound(to: UInt64.self)
        unsafe frame[0] = test.state.rip
        let selectors = OracleSelectors(test.mode)
        unsafe frame[1] = UInt64(selectors.cs)
        unsafe frame[2] = test.state.rflags
        unsafe frame[3] = test.state.registers[4]
        unsafe frame[4] = UInt64(selectors.ss)
        unsafe frame[5] = UInt64(selectors.ds)
        unsafe frame[6] = UInt64(selectors.es)

        let background = backgrounds[Int(test.background) % backgrounds.count]
        unsafe background.withUnsafeBytes { bytes in
            unsafe memcpy(base + Int(GuestMonitor.Physical.dataWindow), bytes.baseAddress!, OracleWindows.dataSize)
            unsafe memcpy(
                base + Int(GuestMonitor.Physical.stackWindow), bytes.baseAddress! + OracleWindows.dataSize,
                OracleWindows.stackSize)
        }
        let code = unsafe base + Int(GuestMonitor.Physical.codeWindow)
        unsafe memset(code + codeStart, Int32(OracleWindows.filler), codeEnd - codeStart)
        let offset = min(Int(test.codeOffset), OracleWindows.codeSize)
        let size = min(test.code.count, OracleWindows.codeSize - offset)
        unsafe test.code.withUnsafeBytes { if size > 0 { unsafe memcpy(code + offset, $0.baseAddress!, size) } }
        (codeStart, codeEnd) = (offset, offset + size)
    }

    /// Where the memory that the last case left differs from `image`, of `OracleWindows.imageSize` bytes.
    @unsafe func differences(from image: UnsafeRawPointer, ignoring ignored: [Range<UInt32>]) -> [String] {
        let windows = [
            (Int(GuestMonitor.Physical.dataWindow), 0, OracleWindows.dataSize, OracleWindows.data),
            (
                Int(GuestMonitor.Physical.stackWindow), OracleWindows.dataSize, OracleWindows.stackSize,
                OracleWindows.stack
            ),
        ]
        var differences: [String] = []
        for (place, offset, size, address) in windows {
            guard unsafe memcmp(base + place, image + offset, size) != 0 else { continue }
            for index in 0..<size where differences.count < 40 {
                let ours = unsafe base.load(fromByteOffset: place + index, as: UInt8.self)
                let theirs = unsafe image.load(fromByteOffset: offset + index, as: UInt8.self)
                guard ours != theirs else { continue }
                if place == windows[0].0, ignored.contains(where: { $0.contains(UInt32(index)) }) { continue }
                differences.append(
                    "memory \(String(address + UInt64(index), radix: 16)): \(String(ours, radix: 16)), not \(String(theirs, radix: 16))"
                )
            }
        }
        return differences
    }
}
