import GuestMemory
import TestSupport
import TestLimits
import Testing

@testable import Processor
@testable import X86

/// What the opcode table says that instructions do, against what they do.
@Suite(.within(minutes: 20)) struct OpcodeEffectTests {
    /// How one instruction's execution went on.
    private enum Outcome: Equatable {
        /// With the next op of the block.
        case next
        /// In another block.
        case elsewhere
        case stopped(Stop)

        var fault: Stop? {
            if case .stopped(let stop) = self, stop.kind == .fault { stop } else { nil }
        }
    }

    /// A machine and the state in which each example begins.
    private struct Bench {
        let machine: SystemMachine
        let start: CPUState
        let codeSize: CodeSize

        init(_ machine: SystemMachine) throws {
            machine.state.cr4 |= CR4.OSFXSR.rawValue | CR4.OSXSAVE.rawValue | CR4.FSGSBASE.rawValue
            machine.state.xcr0 = 7
            // Ports that are answered here, so that no instruction waits for the client.
            for port in [0, 0x11] as [UInt16] { machine.host.ports[port] = 0 }
            // A selector of data, a port, addresses of memory.
            machine.state.registers[0] = 7
            machine.state.registers[1] = UInt64(SystemMachine.data)
            machine.state.registers[2] = 0
            for register in [3, 6, 7, 5] { machine.state.registers[register] = OpcodeEffectTests.data }
            machine.state.xsave[0] = 0x37F
            machine.state.xsave[3] = 0x1F80
            for index in 20..<52 { machine.state.xsave[index] = 0x8080_8080_8080_8080 }
            machine.processor.stateChanged()
            self.machine = machine
            start = machine.state
            codeSize = CodeSize(rawValue: machine.state.codeMode.codeSize)
        }

        /// Executes an example; `change` says in what the state differs from `start`.
        func execute(
            _ bytes: [UInt8], flags: RFLAGS = [], _ change: (inout CPUState) -> Void = { _ in }
        ) throws -> Outcome {
            let processor = machine.processor
            machine.state = start
            change(&machine.state)
            processor.cpu.rflags = machine.state.systemFlags | flags.rawValue
            processor.stateChanged()
            try machine.memory.write(bytes, at: SystemMachine.code)
            try machine.memory.write(OpcodeEffectTests.dataBytes, at: OpcodeEffectTests.data)
            try machine.memory.write(OpcodeEffectTests.dataBytes, at: start.registers[4] & ~0xFFF)
            do throws(Stop) {
                let op = try processor.fetchSingle()
                processor.cpu.state.blockRIP = processor.cpu.state.rip
                processor.cpu.state.currentOp = op
                let cursor = OpCursor(op)
                let next = cursor.op.handler(processor.cpu.address, op)
                processor.cpu.settleMXCSR()
                if next == 0 { return .stopped(processor.cpu.state.stop) }
                return next == cursor.next ? .next : .elsewhere
            } catch {
                return .stopped(error)
            }
        }

        /// Registers, FPU and vectors, memory: what an instruction's results are beside flags and RIP.
        func results() throws -> [UInt64] {
            var all: [UInt64] = []
            for index in 0..<16 { all.append(machine.state.registers[index]) }
            for index in 0..<52 { all.append(machine.state.xsave[index]) }
            for address in [OpcodeEffectTests.data, start.registers[4] & ~0xFFF] {
                let bytes = try machine.memory.read(count: 4096, at: address)
                all.append(contentsOf: bytes.map(UInt64.init))
            }
            return all
        }
    }

    private static let data: UInt64 = 0x4_0000
    /// Each word a selector of data.
    private static let dataBytes = [UInt8]((0..<4096).map { $0 % 2 == 0 ? UInt8(SystemMachine.data) : 0 })

    private static func benches(cpl: UInt8 = 0) throws -> [Bench] {
        [try Bench(.long([], cpl: cpl)), try Bench(.protected([], cpl: cpl))]
    }

    /// The examples of every row that this code has.
    private static func examples(_ codeSize: CodeSize) -> [(row: OpcodeRow, bytes: [UInt8], instruction: Instruction)] {
        OpcodeTable.rows.enumerated().flatMap { index, row in
            [false, true].compactMap { memory in
                guard let bytes = example(of: row, memory: memory),
                    let instruction = try? Decoder.decode(bytes, codeSize: codeSize, vendor: .intel),
                    instruction.row == UInt16(index)
                else { return nil }
                return (row, bytes, instruction)
            }
        }
    }

    /// What goes on in a block and what does not.
    @Test func theTableSaysWhereBlocksEnd() throws {
        var counts: [Flow: Int] = [:]
        for bench in try OpcodeEffectTests.benches() {
            for (row, bytes, instruction) in OpcodeEffectTests.examples(bench.codeSize) {
                let outcome = try bench.execute(bytes)
                guard outcome.fault != .invalidOpcode else { continue }
                let words = "\(row.mnemonic), \(bytes.prefix(4)): \(outcome)"
                if outcome.fault == nil { counts[row.flow, default: 0] += 1 }
                if instruction.endsBlock(in: bench.codeSize) {
                    #expect(outcome != .next, "\(words)")
                } else {
                    #expect(outcome != .stopped(.boundary) || row.flow == .conditional, "\(words)")
                    #expect(outcome != .elsewhere || row.flow == .conditional, "\(words)")
                }
                // Behind what doesn't end a block the same code is decoded in the same way.
                if outcome == .next, !instruction.endsBlock(in: bench.codeSize) {
                    #expect(bench.machine.state.codeMode == bench.start.codeMode, "\(words)")
                    #expect(bench.machine.state.interruptShadow == 0, "\(words)")
                }
            }
        }
        #expect(counts[.straight, default: 0] > 1500 && counts[.conditional, default: 0] >= 12)
        #expect(counts[.branch, default: 0] >= 12 && counts[.boundary, default: 0] >= 20)
        #expect(counts[.segment, default: 0] >= 6)
    }

    @Test func theTableSaysWhoMay() throws {
        var counts: [Privilege: Int] = [:]
        let control = CR4.TSD.rawValue | CR4.UMIP.rawValue
        for (kernel, user) in zip(try OpcodeEffectTests.benches(), try OpcodeEffectTests.benches(cpl: 3)) {
            for (row, bytes, _) in OpcodeEffectTests.examples(kernel.codeSize) {
                let inKernel = try kernel.execute(bytes) { $0.cr4 |= control }
                guard inKernel.fault != .invalidOpcode else { continue }
                let outcome = try user.execute(bytes) { $0.cr4 |= control }
                counts[row.privilege, default: 0] += 1
                let words = "\(row.mnemonic), \(bytes.prefix(4)): \(inKernel) and \(outcome)"
                switch row.privilege {
                case .supervisor: #expect(outcome == .stopped(.generalProtection), "\(words)")
                case .hidden: #expect(outcome == .stopped(.invalidOpcode), "\(words)")
                case .control:
                    #expect(outcome == .stopped(.generalProtection), "\(words)")
                    #expect(inKernel.fault == nil || row.mnemonic == .rdpmc, "\(words)")
                case .inputOutput:
                    #expect(outcome == .stopped(.generalProtection), "\(words)")
                    let allowed = try user.execute(bytes) { $0.systemFlags |= RFLAGS.IOPL.rawValue }
                    #expect(allowed.fault == nil, "\(words), \(allowed)")
                case .none:
                    // Segments and gates have levels of their own.
                    guard row.flow != .branch, row.flow != .segment, inKernel.fault == nil else { continue }
                    guard ![.les, .lds, .lss, .lfs, .lgs].contains(row.mnemonic) else { continue }
                    #expect(outcome.fault == nil, "\(words)")
                }
            }
        }
        #expect(counts[.supervisor, default: 0] > 25 && counts[.hidden, default: 0] >= 2)
        #expect(counts[.control, default: 0] > 10 && counts[.inputOutput, default: 0] > 20)
    }

    /// With every address not canonical, what accesses memory faults, and nothing else.
    @Test func theTableSaysWhatAccessesMemory() throws {
        let bench = try Bench(.long([]))
        var counts = [false: 0, true: 0]
        for (row, bytes, instruction) in OpcodeEffectTests.examples(.bits64) {
            guard row.flow == .straight, row.privilege == .none else { continue }
            guard try bench.execute(bytes) == .next else { continue }
            let outcome = try bench.execute(bytes) { state in
                for register in [3, 4, 5, 6, 7] { state.registers[register] = 0x8000_0000_0000_0000 }
                state.gdtr.base = 0x8000_0000_0000_0000
            }
            counts[instruction.accessesMemory, default: 0] += 1
            let words = "\(row.mnemonic), \(bytes.prefix(4)): \(outcome)"
            if instruction.accessesMemory {
                #expect(outcome.fault != nil, "\(words)")
            } else {
                #expect(outcome == .next, "\(words)")
            }
        }
        #expect(counts[false, default: 0] > 500 && counts[true, default: 0] > 500)
    }

    /// A flag that a row does not read makes no difference to its results, and one that it does not write stays.
    @Test func theTableSaysWhichFlagsAreReadAndWritten() throws {
        let flags: [RFLAGS] = [.CF, .PF, .AF, .ZF, .SF, .OF, .DF]
        let all = flags.reduce(RFLAGS()) { $0.union($1) }
        var count = 0
        for bench in try OpcodeEffectTests.benches() {
            let cpu = bench.machine.processor.cpu
            for (row, bytes, _) in OpcodeEffectTests.examples(bench.codeSize) where row.flow != .branch {
                guard row.mnemonic != .rdrand, row.mnemonic != .rdseed else { continue }
                for before in [RFLAGS(), all, [.CF, .ZF], [.SF, .AF, .OF]] {
                    let outcome = try bench.execute(bytes, flags: before)
                    guard outcome.fault == nil else { break }
                    count += 1
                    let after = RFLAGS(rawValue: cpu.rflags)
                    let results = try bench.results()
                    let touched = row.flagsWritten.union(row.flagsUndefined)
                    let words = "\(row.mnemonic), \(bytes.prefix(4)) with \(before.rawValue)"
                    #expect(after.subtracting(touched).intersection(all) == before.subtracting(touched), "\(words)")
                    for flag in flags where !row.flagsRead.contains(flag) {
                        let other = try bench.execute(bytes, flags: before.symmetricDifference(flag))
                        #expect(other == outcome, "\(words), \(flag.rawValue)")
                        #expect(try bench.results() == results, "\(words), \(flag.rawValue)")
                        // What is undefined, or kept with some counts, may be what it was.
                        let kept = row.flagsMayBeKept ? touched : row.flagsUndefined
                        let compared = row.flagsWritten.subtracting(kept)
                        let now = RFLAGS(rawValue: cpu.rflags)
                        #expect(
                            now.intersection(compared) == after.intersection(compared), "\(words), \(flag.rawValue)")
                    }
                }
            }
        }
        #expect(count > 5000)
    }
}
