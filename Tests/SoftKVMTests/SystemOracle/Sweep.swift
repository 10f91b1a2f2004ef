// Runs cases by the thousand: each on the model, on the software hypervisor and on the kernel's, everything compared.

import Foundation
import GuestMemory
import KVM
import KVMABI
import TestSupport
import Testing

/// A case: how the guest begins. Its code lies where CS:RIP points, and an OUT behind it.
struct CaseSetup {
    var mode: CaseMode
    var state: MachineState
    var code: [UInt8]
    var patches: [(address: UInt64, bytes: [UInt8])] = []
    /// Flags that the manual leaves undefined.
    var undefinedFlags: UInt64 = 0
    /// The patches change page tables that were walked before.
    var changesPageTables = false
    /// Debug exceptions are what the case is about.
    var isWatched = false
    /// Bits of memory that the manual leaves open, by the address of their byte.
    var openBits: [UInt64: UInt8] = [:]

    init(_ mode: CaseMode, cpl: Int = 0, _ code: [UInt8]) {
        self.mode = mode
        self.code = code
        state = MachineState(mode, cpl: cpl)
    }

    mutating func put<T: FixedWidthInteger>(_ value: T, at address: UInt64) {
        patches.append((address, (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }))
    }

    /// Fills a descriptor's place in the GDT, or in the LDT.
    mutating func putDescriptor(_ selector: UInt16, _ value: UInt64, upper: UInt64? = nil) {
        let table = selector & 4 != 0 ? Layout.ldt : Layout.gdt
        put(value, at: table + UInt64(selector & 0xFFF8))
        if let upper { put(upper, at: table + UInt64(selector & 0xFFF8) + 8) }
    }
}

/// One hypervisor's answer to a case beside what was wanted.
struct Comparison {
    let setup: CaseSetup
    let wanted: (exit: CaseExit, state: MachineState)
    let got: (exit: CaseExit, state: MachineState)
    let differences: [Difference]
    /// Addresses and bytes: here, and as wanted.
    let memory: [(address: UInt64, here: UInt8, there: UInt8)]

    var isEqual: Bool { wanted.exit == got.exit && differences.isEmpty && memory.isEmpty }

    /// The vector of the handler that a state's RIP is in; nil: none.
    static func vector(_ state: MachineState) -> UInt64? {
        let offset = state.special.cs.base &+ state.general.rip &- Layout.handlers
        return offset < 0x1000 ? offset / 16 : nil
    }

    func differs(_ name: String) -> Bool { differences.contains { $0.name == name } }

    /// What kind of difference it is: the handlers that were reached, or the names of what differs.
    var kind: String {
        if wanted.exit != got.exit { return "\(got.exit), not \(wanted.exit)" }
        let (one, other) = (Comparison.vector(wanted.state), Comparison.vector(got.state))
        func name(_ vector: UInt64?) -> String { vector.map { "vector \($0)" } ?? "no exception" }
        if one != other { return "\(name(other)), not \(name(one))" }
        return differences.map(\.name).joined(separator: " ") + (memory.isEmpty ? "" : " memory") + ", \(name(one))"
    }

    var description: String {
        let bytes = memory.prefix(12).map {
            "[\(String($0.address, radix: 16))] \(String($0.here, radix: 16)), not \(String($0.there, radix: 16))"
        }
        return (differences.map(\.description) + bytes).joined(separator: "; ")
    }
}

final class Sweep {
    let name: String
    private let baseline: GuestMemory
    private let expected: GuestMemory
    private let software: OracleMachine
    private let kernel: OracleMachine?
    /// Of so many cases one is run, unless MARTLET_LONG_TESTS is set.
    private let share: UInt64
    /// Why the kernel's hypervisor is no oracle here, if it is not.
    private let notKernel: String?
    private var random = SplitMix64(seed: 0x9E37_79B9_7F4A_7C15)

    private var considered = 0, cases = 0, compared = 0
    private var notEmulated: [String: Int] = [:]
    private var refused: [String: Int] = [:]
    private var deviations: [String: Int] = [:]
    /// Instructions on which the kernel's emulator goes round for ever: one is enough.
    private var endless: [[UInt8]: Int] = [:]
    private var problems: [String: (count: Int, example: String)] = [:]

    /// - Parameter long: the tables are those of IA-32e mode.
    init(
        _ name: String, long: Bool, share: UInt64 = 1, msrs: Bool = false, notKernel: String? = nil,
        cpuid: [kvm_cpuid_entry2]? = nil
    ) throws {
        self.name = name
        self.notKernel = notKernel
        baseline = try GuestMemory.ofCases(long: long)
        expected = try GuestMemory(size: Layout.size)
        software = try OracleMachine(.software, comparesMSRs: msrs, cpuid: cpuid)
        kernel =
            notKernel == nil && hypervisors.contains(.kernel)
            ? try OracleMachine(.kernel, comparesMSRs: msrs, cpuid: cpuid) : nil
        self.share = ProcessInfo.processInfo.environment["MARTLET_LONG_TESTS"] == nil ? share : 1
    }

    private func isChosen() -> Bool { random.next() % share == 0 }

    /// Runs one case. `instruction` is what the manual says that its code does.
    func check(
        _ setup: CaseSetup, _ title: @autoclosure () -> String, _ instruction: (inout Model) throws(Fault) -> Void
    ) throws {
        considered += 1
        guard isChosen() else { return }
        cases += 1
        let code = (setup.state.special.cs.base &+ setup.state.general.rip, setup.code + Layout.end)
        func prepare(_ memory: GuestMemory) throws {
            memory.restore(from: baseline)
            try memory.write(code.1, at: code.0)
            for (address, bytes) in setup.patches { try memory.write(bytes, at: address) }
        }
        try prepare(expected)
        var model = Model(setup.state, expected)
        let exit = model.execute(length: UInt64(setup.code.count), instruction)
        let wanted = (exit, model.state)

        try prepare(software.memory)
        let mine = try Sweep.compare(setup, wanted, expected, software)
        if !mine.isEqual { note("software", mine, title()) }
        guard let kernel else { return }
        if let count = endless[setup.code] {
            endless[setup.code] = count + 1
            return
        }
        try prepare(kernel.memory)
        if setup.changesPageTables { try kernel.forgetTranslations() }
        let theirs: Comparison
        do {
            theirs = try Sweep.compare(setup, wanted, expected, kernel)
        } catch let error as KVMError {
            refused["\(error)", default: 0] += 1
            return
        }
        if case .gaveUp(let bytes) = theirs.got.exit {
            notEmulated[bytes.prefix(3).map { String($0, radix: 16) }.joined(separator: " "), default: 0] += 1
            return
        }
        if case .other(10, _) = theirs.got.exit {
            endless[setup.code] = 1
            return
        }
        compared += 1
        if theirs.isEqual { return }
        if let deviation = KernelDeviation.all.first(where: { $0.explains(theirs) }) {
            deviations["\(deviation.name) (\(deviation.section))", default: 0] += 1
        } else {
            note("/dev/kvm", theirs, title())
        }
    }

    private static func compare(
        _ setup: CaseSetup, _ wanted: (CaseExit, MachineState), _ memory: GuestMemory, _ machine: OracleMachine
    ) throws -> Comparison {
        let exit = try machine.run(setup.state)
        let state = try machine.state()
        // What a shutdown leaves in the registers is nowhere said.
        let differences =
            wanted.0 == .shutdown && exit == .shutdown
            ? [] : state.differences(from: wanted.1, undefinedFlags: setup.undefinedFlags)
        return Comparison(
            setup: setup, wanted: wanted, got: (exit, state), differences: differences,
            memory: machine.memory.differences(from: memory).filter { byte in
                (byte.here ^ byte.there) & ~(setup.openBits[byte.address] ?? 0) != 0
            })
    }

    private func note(_ hypervisor: String, _ comparison: Comparison, _ title: String) {
        let key = "\(hypervisor): \(comparison.kind)"
        let example = "\(comparison.setup.mode), \(title): \(comparison.description)"
        problems[key, default: (0, example)].count += 1
    }

    /// Says what was run and what was left out, and fails the test for every kind of difference.
    func finish() {
        var text = "system oracle: \(name): \(cases) of \(considered) cases, \(compared) compared with /dev/kvm"
        if let notKernel {
            text += "\n    skipped on /dev/kvm: \(notKernel)"
        } else if kernel == nil {
            text += " (which is absent: the manual alone is the oracle)"
        }
        for (bytes, count) in notEmulated.sorted(by: { $0.key < $1.key }) {
            text += "\n    skipped on /dev/kvm: \(count) cases: its emulator gives up on \(bytes)"
        }
        for (reason, count) in refused.sorted(by: { $0.key < $1.key }) {
            text += "\n    skipped on /dev/kvm: \(count) cases: it does not take the state: \(reason)"
        }
        for (code, count) in endless.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let bytes = code.map { String($0, radix: 16) }.joined(separator: " ")
            text += "\n    skipped on /dev/kvm: \(count) cases: it goes round for ever at \(bytes)"
        }
        for (deviation, count) in deviations.sorted(by: { $0.key < $1.key }) {
            text += "\n    /dev/kvm deviates: \(count) cases: \(deviation)"
        }
        print(text)
        #expect(cases > 0)
        for (kind, problem) in problems.sorted(by: { $0.value.count > $1.value.count }) {
            Issue.record("\(name): \(problem.count) cases: \(kind)\n    first: \(problem.example)")
        }
    }
}
