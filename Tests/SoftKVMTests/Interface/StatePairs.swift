// State by the pairs of requests that get and set it, as bytes.

import KVM
import KVMABI

/// A request that gets a piece of state, and the one that takes it back.
struct StatePair: Sendable, CustomStringConvertible {
    let get: Request
    let set: Request
    let handle: HandleKind
    let size: Int
    /// What stands in the argument before: which of several chips, say.
    var selector: [UInt8] = []
    /// It goes on by itself.
    var moves = false

    var description: String { selector.isEmpty ? set.name : "\(set.name) of \(selector[0])" }

    /// What a client saves of a vCPU; events come first, as KVM_SET_REGS takes back an exception.
    static let vcpu: [StatePair] = [
        .init(get: .getVCPUEvents, set: .setVCPUEvents, handle: .vcpu, size: 64),
        .init(get: .getMPState, set: .setMPState, handle: .vcpu, size: 4),
        .init(get: .getSREGS, set: .setSREGS, handle: .vcpu, size: 312),
        .init(get: .getSREGS2, set: .setSREGS2, handle: .vcpu, size: 320),
        .init(get: .getRegs, set: .setRegs, handle: .vcpu, size: 144),
        .init(get: .getFPU, set: .setFPU, handle: .vcpu, size: 416),
        .init(get: .getXSAVE, set: .setXSAVE, handle: .vcpu, size: 4096),
        .init(get: .getXSAVE2, set: .setXSAVE, handle: .vcpu, size: 4096),
        .init(get: .getXCRS, set: .setXCRS, handle: .vcpu, size: 392),
        .init(get: .getDebugregs, set: .setDebugregs, handle: .vcpu, size: 128),
    ]

    static let localAPIC = StatePair(get: .getLAPIC, set: .setLAPIC, handle: .vcpu, size: 1024, moves: true)

    /// And of a VM with controllers.
    static let machine: [StatePair] =
        (0...2).map {
            .init(get: .getIRQCHIP, set: .setIRQCHIP, handle: .machine, size: 520, selector: [$0])
        } + [
            .init(get: .getPIT, set: .setPIT, handle: .machine, size: 72, moves: true),
            .init(get: .getPIT2, set: .setPIT2, handle: .machine, size: 112, moves: true),
        ]

    static let clock = StatePair(get: .getClock, set: .setClock, handle: .machine, size: 48, moves: true)

    /// Gets the state, sets it, and gets it again.
    /// - Parameter request: makes a request with the address of its argument.
    func goRound(_ request: (Request, UInt) throws -> Void) throws -> (before: [UInt8], after: [UInt8]) {
        let before = try bytes(request)
        var argument = before
        try unsafe argument.withUnsafeMutableBytes { try request(set, UInt(bitPattern: $0.baseAddress)) }
        return (before, try bytes(request))
    }

    private func bytes(_ request: (Request, UInt) throws -> Void) throws -> [UInt8] {
        // The kernel copies whole structures, some of which are longer than their interface says.
        var bytes = selector + [UInt8](repeating: 0, count: max(size, 8192) - selector.count)
        try unsafe bytes.withUnsafeMutableBytes { try request(get, UInt(bitPattern: $0.baseAddress)) }
        return bytes
    }
}

extension StatePair {
    /// The same of everything that a VM and one of its vCPUs have: what fails, or comes back otherwise.
    static func troubles(
        _ machine: borrowing VirtualMachine, _ cpu: borrowing VirtualCPU, hasControllers: Bool
    ) -> [String] {
        var troubles: [String] = []
        let pairs = vcpu + (hasControllers ? [localAPIC] + StatePair.machine : []) + [clock]
        for pair in pairs {
            do {
                let (before, after) = try pair.goRound { request, argument in
                    if pair.handle == .vcpu {
                        _ = unsafe try cpu.request(request, argument)
                    } else {
                        _ = unsafe try machine.request(request, argument)
                    }
                }
                if !pair.moves, before != after { troubles.append("\(pair) changes what it was given") }
            } catch {
                troubles.append("\(pair): \(error)")
            }
        }
        return troubles + others(cpu)
    }

    /// CPUID, MSRs, the TSC's frequency and offset.
    private static func others(_ cpu: borrowing VirtualCPU) -> [String] {
        var troubles: [String] = []
        func attempt(_ name: String, _ body: () throws -> Void) {
            do { try body() } catch { troubles.append("\(name): \(error)") }
        }
        do {
            let leaves = try cpu.cpuid()
            try cpu.setCPUID(leaves)
            let same = zip(leaves, try cpu.cpuid()).allSatisfy {
                [$0.eax, $0.ebx, $0.ecx, $0.edx] == [$1.eax, $1.ebx, $1.ecx, $1.edx]
            }
            if !same { troubles.append("KVM_SET_CPUID2 changes what it was given") }
        } catch { troubles.append("KVM_SET_CPUID2: \(error)") }
        do {
            let frequency = try cpu.tscKHz
            try cpu.setTSCKHz(UInt32(frequency))
            if try cpu.tscKHz != frequency { troubles.append("KVM_SET_TSC_KHZ changes what it was given") }
        } catch { troubles.append("KVM_SET_TSC_KHZ: \(error)") }
        do {
            let offset = try cpu.attribute(group: 0, 0)
            try cpu.setAttribute(group: 0, 0, to: offset)
            if try cpu.attribute(group: 0, 0) != offset { troubles.append("KVM_VCPU_TSC_OFFSET changes") }
        } catch { troubles.append("KVM_VCPU_TSC_OFFSET: \(error)") }
        return troubles
    }
}
