// An exit comes to who asked for it, and not to who didn't: every reason, on every hypervisor.

import Foundation
import Glibc
import KVM
import KVMABI
import SoftKVM
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct ExitWalkTests {
    /// The capabilities that ask for an exit; empty where something else does.
    private static func capabilities(_ reason: ExitReason) -> [Capability] {
        if case .capability(let capabilities, _) = reason.optIn { return capabilities }
        return []
    }

    private static let scenarios: [ExitReason] = ExitWalk.ways.filter {
        if case .scenario = $0.value { return true }
        return false
    }.keys.sorted { $0.rawValue < $1.rawValue }

    @Test(arguments: scenarios, hypervisors)
    func anExitComesToWhoAskedForIt(_ reason: ExitReason, _ hypervisor: Hypervisor) throws {
        guard case .scenario(let scenario)? = ExitWalk.ways[reason] else { return }
        if hypervisor == .kernel, let why = scenario.notKernel { try skip(reason.name, why) }
        let system = try System(hypervisor)
        let capabilities = Self.capabilities(reason)
        guard try capabilities.isEmpty || capabilities.contains(where: { try system.check($0) > 0 }) else {
            // What asks for it is not offered: whatWasNotOfferedCanNotBeAskedFor.
            try Test.cancel("\(hypervisor): \(reason) can't be asked for")
        }
        do {
            let asked = try scenario.exits(until: reason, on: hypervisor, asked: true)
            if hypervisor == .kernel, asked.last != reason, let why = scenario.emulators {
                try skip(reason.name, why)
            }
            #expect(asked.last == reason, "\(asked)")
            if reason.optIn == .base { return }
            let unasked = try scenario.exits(until: reason, on: hypervisor, asked: false)
            #expect(unasked.last == .io, "\(unasked)")
        } catch let error as EmulatorGaveUp {
            if reason == .internalError { return }
            try skip(reason.name, error.reason)
        }
    }

    /// A kick ends KVM_RUN, which says so in the run area too.
    @Test(arguments: hypervisors)
    func aKickIsAnExit(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "out 0xe9, eax\nmov byte [0x3000], 1\nagain: jmp again")
        var cpu = try machine.makeCPU()
        try cpu.run()
        #expect(cpu.exit.reason == .io)
        let kick = cpu.kickHandle
        let helper = Helper {
            try machine.memory.waitWhile(0, at: 0x3000)
            kick.kick()
        }
        try cpu.run()
        try helper.join()
        let reason = unsafe cpu.withRunArea {
            unsafe $0.load(fromByteOffset: RunArea.Offset.exitReason, as: UInt32.self)
        }
        #expect(ExitReason(rawValue: reason) == .intr)
    }

    /// A client that knows nothing of the exit sees the errno that it has always seen.
    @Test(arguments: hypervisors)
    func memoryThatGoesIsAnExitBesideEFAULT(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "mov eax, [0x600000]\nhlt")
        let region = unsafe try #require(
            unsafe mmap(nil, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        defer { unsafe munmap(region, 4096) }
        unsafe try machine.machine.addSlot(hostAddress: region, size: 4096, at: 0x600000)
        let cpu = try machine.makeCPU()
        var failure: KVMError?
        do throws(KVMError) { _ = unsafe try cpu.request(.run) } catch { failure = error }
        if hypervisor == .kernel, failure == nil {
            try skip("memory that goes", "it emulates, and takes such memory for MMIO")
        }
        #expect(failure == .failed(.run, .badAddress))
        let reason = unsafe cpu.withRunArea {
            unsafe $0.load(fromByteOffset: RunArea.Offset.exitReason, as: UInt32.self)
        }
        #expect(ExitReason(rawValue: reason) == .memoryFault)
    }

    /// What is not given can't be asked for: no request to give it is taken.
    @Test func whatIsNotOfferedCanNotBeAskedFor() throws {
        let machine = try RawMachine(.software)
        for (number, _) in ExitReason.names {
            let reason = ExitReason(rawValue: number)
            switch reason.optIn {
            case .capability(let capabilities, let bits):
                for capability in capabilities where machine.check(capability) == 0 {
                    for handle in [HandleKind.machine, .vcpu] {
                        #expect(machine.enable(capability, bits ?? 4096, on: handle) == .refused, "\(capability)")
                    }
                }
            case .request(.createVM, _):
                for type: UInt in 1...6 { #expect(machine.answer(.system, .createVM, type) == .refused) }
            case .request(.xenHVMConfig, _):
                #expect(machine.answer(.machine, .xenHVMConfig) == .unknown(to: .machine))
            case .request(.setCPUID2, _): #expect(machine.check(.hyperv) == 0)
            default: break
            }
        }
    }

    @Test func everyReasonHasItsWay() {
        #expect(Set(ExitWalk.ways.keys.map(\.rawValue)) == Set(ExitReason.names.map(\.number)))
        for exit in BaseExit.allCases { #expect(ExitReason(exit).optIn == .base) }
        for number in UInt32(41)...300 { #expect(ExitReason(rawValue: number).optIn == .never) }
        for (reason, way) in ExitWalk.ways where reason.optIn == .never {
            guard case .notGiven = way else {
                Issue.record("\(reason) is given, and nothing asks for it")
                continue
            }
        }
    }

    /// The one function that writes an exit's reason is not got round.
    @Test func exitsAreWrittenInOnePlace() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../Sources/SoftKVM").standardizedFileURL
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        #expect(files.count > 30)
        for file in files where file.lastPathComponent != "ExitWitness.swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            #expect(!text.contains("Offset.exitReason"), "\(file.lastPathComponent)")
        }
    }
}
