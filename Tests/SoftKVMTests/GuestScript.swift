// A guest that says itself what is to happen: its source holds, as comments, the exits that it expects in their order, with
// all their fields, and what its client does in between.
//
//   ;; entry real|protected|long|reset        the mode that it begins in (long if not given)
//   ;; not-kernel REASON                      this case is cancelled on the kernel's hypervisor
//   ;= out PORT SIZE VALUE                    one access; a string instruction's exit is taken apart into its accesses
//   ;= in PORT SIZE VALUE                     likewise, answered with VALUE
//   ;= write ADDRESS SIZE VALUE               MMIO
//   ;= read ADDRESS SIZE VALUE                MMIO, answered with VALUE
//   ;= report VALUE                           a 32-bit write to port 0xe9, as the macros of prelude.inc do
//   ;= fault VECTOR ERROR RIP [CR2]           what the fault handlers of prelude.inc report
//   ;= hlt | shutdown | window                exits without fields
//   ;= debug VECTOR PC DR6                    a debug exit; DR6 is compared in its low 16 bits
//   ;! interrupt VECTOR | nmi | window | step | break ADDRESS | run
//                                             what the client does before the next run
//   ;# REGISTER VALUE                         the state after the last exit is completed
// Numbers are hexadecimal, or a label.

import KVM
import KVMABI

/// One thing that is to happen.
enum Event: Equatable {
    case out(port: UInt64, size: UInt64, value: UInt64)
    case `in`(port: UInt64, size: UInt64, value: UInt64)
    case write(address: UInt64, size: UInt64, value: UInt64)
    case read(address: UInt64, size: UInt64, value: UInt64)
    case hlt, shutdown, window
    case debug(vector: UInt64, pc: UInt64, dr6: UInt64)
    case act(Action)
}

/// What the client does.
enum Action: Equatable {
    case interrupt(UInt64)
    case nmi
    case window
    case step
    case breakpoint(UInt64)
    case run
}

struct GuestScript {
    let name: String
    let mode: EntryMode
    /// Why the kernel's hypervisor is no oracle for this guest, if it is not.
    let notKernel: String?
    let code: AssembledCode
    let events: [Event]
    let finals: [(register: String, value: UInt64)]

    struct Malformed: Error { let line: String }

    init(name: String, source: String) throws {
        self.name = name
        code = try Assembler.assemble(source)
        var mode = EntryMode.long
        var notKernel: String?
        var events: [Event] = []
        var finals: [(String, UInt64)] = []
        let labels = code.labels
        for text in source.split(separator: "\n") {
            let line = text.drop { $0 == " " }
            guard line.hasPrefix(";"), line.count > 3, ";=!#".contains(line.dropFirst().prefix(1)) else { continue }
            let words = line.dropFirst(2).split(separator: " ").map(String.init)
            func number(_ index: Int) throws -> UInt64 {
                guard index < words.count else { throw Malformed(line: String(line)) }
                if let value = labels[words[index]] { return value }
                guard let value = UInt64(words[index], radix: 16) else { throw Malformed(line: String(line)) }
                return value
            }
            switch (line.dropFirst().first, words.first) {
            case (";", "entry"):
                guard words.count > 1, let wanted = EntryMode(rawValue: words[1]) else {
                    throw Malformed(line: String(line))
                }
                mode = wanted
            case (";", "not-kernel"): notKernel = words.dropFirst().joined(separator: " ")
            case ("=", "out"): events.append(.out(port: try number(1), size: try number(2), value: try number(3)))
            case ("=", "in"): events.append(.in(port: try number(1), size: try number(2), value: try number(3)))
            case ("=", "write"):
                events.append(.write(address: try number(1), size: try number(2), value: try number(3)))
            case ("=", "read"): events.append(.read(address: try number(1), size: try number(2), value: try number(3)))
            case ("=", "report"): events.append(.out(port: 0xe9, size: 4, value: try number(1)))
            case ("=", "fault"):
                for index in 1..<words.count { events.append(.out(port: 0xe9, size: 4, value: try number(index))) }
            case ("=", "hlt"): events.append(.hlt)
            case ("=", "shutdown"): events.append(.shutdown)
            case ("=", "window"): events.append(.window)
            case ("=", "debug"): events.append(.debug(vector: try number(1), pc: try number(2), dr6: try number(3)))
            case ("!", "interrupt"): events.append(.act(.interrupt(try number(1))))
            case ("!", "nmi"): events.append(.act(.nmi))
            case ("!", "window"): events.append(.act(.window))
            case ("!", "step"): events.append(.act(.step))
            case ("!", "break"): events.append(.act(.breakpoint(try number(1))))
            case ("!", "run"): events.append(.act(.run))
            case ("#", let register?): finals.append((register, try number(1)))
            case (";", _): break
            default: throw Malformed(line: String(line))
            }
        }
        self.mode = mode
        self.notKernel = notKernel
        self.events = events
        self.finals = finals
    }
}

/// The kernel's instruction emulator gave up: the case can't be run on this machine's /dev/kvm.
struct EmulatorGaveUp: Error {
    let instruction: [UInt8]
    var reason: String {
        "this machine's /dev/kvm can't emulate the instruction "
            + instruction.map { String($0, radix: 16) }.joined(separator: " ")
    }
}

/// What happened instead of an event.
struct Divergence: Error, CustomStringConvertible {
    let position: Int
    let expected: Event?
    let happened: String
    var description: String {
        "event \(position): expected \(expected.map { "\($0)" } ?? "the end"), but \(happened)"
    }
}

extension GuestScript {
    /// Runs the guest, and throws where it leaves its script.
    func run(on hypervisor: Hypervisor) throws -> [(register: String, value: UInt64, wanted: UInt64)] {
        let machine = try TestMachine(hypervisor, mode, code.bytes)
        var cpu = try machine.makeCPU()
        var position = 0
        func next() -> Event? { position < events.count ? events[position] : nil }
        func diverge(_ happened: String) -> Divergence {
            Divergence(position: position, expected: next(), happened: happened)
        }
        while position < events.count {
            if case .act(let action) = events[position] {
                try perform(action, on: cpu)
                position += 1
                continue
            }
            try cpu.run()
            switch cpu.exit {
            case .portOut(let access):
                for index in 0..<access.count {
                    let value = UInt64(access.value(at: index))
                    let happened = Event.out(port: UInt64(access.port), size: UInt64(access.size), value: value)
                    guard next() == happened else { throw diverge("\(happened)") }
                    position += 1
                }
            case .portIn(let access):
                for index in 0..<access.count {
                    guard case .in(UInt64(access.port), UInt64(access.size), let value)? = next() else {
                        throw diverge("in \(access.port) \(access.size), access \(index) of \(access.count)")
                    }
                    access.answer(UInt32(truncatingIfNeeded: value), at: index)
                    position += 1
                }
            case .mmioWrite(let access):
                let happened = Event.write(address: access.address, size: UInt64(access.size), value: access.value)
                guard next() == happened else { throw diverge("\(happened)") }
                position += 1
            case .mmioRead(let access):
                guard case .read(access.address, UInt64(access.size), let value)? = next() else {
                    throw diverge("read \(access.address) \(access.size)")
                }
                access.answer(value)
                position += 1
            case .halt:
                guard next() == .hlt else {
                    throw diverge("hlt at \(String(try cpu.generalRegisters().rip, radix: 16))")
                }
                position += 1
            case .shutdown:
                guard next() == .shutdown else { throw diverge("shutdown") }
                position += 1
            case .interruptWindowOpen:
                guard next() == .window else { throw diverge("window") }
                cpu.requestsInterruptWindow = false
                position += 1
            case .debug(let debug):
                let happened = Event.debug(vector: UInt64(debug.exception), pc: debug.pc, dr6: debug.dr6 & 0xffff)
                guard next() == happened else { throw diverge("\(happened)") }
                position += 1
            case .internalError(let error):
                if error.suberror == 1, hypervisor == .kernel, !error.instruction.isEmpty {
                    throw EmulatorGaveUp(instruction: error.instruction)
                }
                throw diverge("internal error \(error.suberror) \(error.instruction)")
            case let exit: throw diverge("\(exit.reason)")
            }
        }
        if finals.isEmpty { return [] }
        try cpu.complete()
        let registers = try cpu.registers()
        return try finals.map { ($0.register, try GuestScript.value(of: $0.register, in: registers), $0.value) }
    }

    private func perform(_ action: Action, on cpu: borrowing VirtualCPU) throws {
        switch action {
        case .interrupt(let vector): try cpu.interrupt(UInt8(truncatingIfNeeded: vector))
        case .nmi: try cpu.injectNMI()
        case .window: cpu.requestsInterruptWindow = true
        case .step: try cpu.setDebugging(.singleStepping)
        case .breakpoint(let address): try cpu.setDebugging(.breakpoint(at: address))
        case .run: try cpu.setDebugging(nil)
        }
    }

    private static func value(of register: String, in registers: Registers) throws -> UInt64 {
        switch register {
        case "rax": registers.rax
        case "rbx": registers.rbx
        case "rcx": registers.rcx
        case "rdx": registers.rdx
        case "rsi": registers.rsi
        case "rdi": registers.rdi
        case "rsp": registers.rsp
        case "rbp": registers.rbp
        case "r8": registers.r8
        case "r15": registers.r15
        case "rip": registers.rip
        case "rflags": registers.rflags
        case "cr0": registers.cr0
        case "cr2": registers.cr2
        case "cr4": registers.cr4
        case "efer": registers.efer
        case "cs": UInt64(registers.cs.selector)
        default: throw Malformed(line: register)
        }
    }
}
