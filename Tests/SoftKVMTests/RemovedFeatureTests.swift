// Instructions that the guest's CPUID takes away: #UD without their bit, wherever KVM intercepts them for its sake.
// Linux, arch/x86/kvm: the secondary controls of VMX and the intercepts of SVM that follow the guest's CPUID.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct RemovedFeatureTests {
    struct Removal: Sendable, CustomTestStringConvertible {
        let code: String
        let leaf: UInt32
        var subleaf: UInt32 = 0
        let register: any WritableKeyPath<kvm_cpuid_entry2, UInt32> & Sendable
        let bit: UInt32
        var testDescription: String { code }
    }

    private static let removals = [
        Removal(code: "rdtscp", leaf: 0x8000_0001, register: \.edx, bit: 27),
        Removal(code: "rdpid rax", leaf: 7, register: \.ecx, bit: 22),
        Removal(code: "rdrand eax", leaf: 1, register: \.ecx, bit: 30),
        Removal(code: "rdseed rax", leaf: 7, register: \.ebx, bit: 18),
        Removal(code: "invpcid rax, [0x8000]", leaf: 7, register: \.ebx, bit: 10),
        Removal(code: "xsaves [0x8000]", leaf: 0xD, subleaf: 1, register: \.eax, bit: 3),
        Removal(code: "xrstors [0x8000]", leaf: 0xD, subleaf: 1, register: \.eax, bit: 3),
    ]

    /// Behind the instruction, and at its #UD. EAX is 2, EDX 0; 8000H holds zeros, or XRSTORS's header.
    private func outcome(_ removal: Removal, has: Bool) throws -> String {
        let source = """
            handlers
            attempt over
            mov rax, cr4
            or eax, 1 << 18
            mov cr4, rax
            mov byte [0x8000 + 527], 0x80 * XRSTORS
            mov eax, 2
            xor edx, edx
            \(removal.code)
            mov eax, 0x600D
            out 0xE9, eax
            over: hlt
            """.replacing("XRSTORS", with: removal.code.hasPrefix("xrstors") ? "1" : "0")
        var cpu = try TestMachine(.software, source: source).makeCPU()
        try cpu.setCPUID(
            try System(.software).supportedCPUID().map { entry in
                var entry = entry
                if entry.function == removal.leaf, entry.index == removal.subleaf, !has {
                    entry[keyPath: removal.register] &= ~(1 << removal.bit)
                }
                return entry
            })
        try cpu.run()
        guard case .portOut(let out) = cpu.exit else { throw Unexpected(cpu.exit) }
        return out.value == 0x600D ? "executed" : "vector \(out.value)"
    }

    @Test(arguments: removals)
    func whatCPUIDLacksIsUndefined(_ removal: Removal) throws {
        let entry = try System(.software).supportedCPUID().first {
            $0.function == removal.leaf && $0.index == removal.subleaf
        }
        guard let entry, entry[keyPath: removal.register] >> removal.bit & 1 != 0 else {
            try Test.cancel("this host lends no \(removal.code)")
        }
        #expect(try outcome(removal, has: true) == "executed")
        #expect(try outcome(removal, has: false) == "vector 6")
    }
}
