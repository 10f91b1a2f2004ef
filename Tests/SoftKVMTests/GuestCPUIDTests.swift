// CPUID as the guest executes it: subleaves, and what follows the vCPU's state. Documentation/virt/kvm/api.rst, section 4.42;
// Intel SDM vol. 2, CPUID.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct GuestCPUIDTests {
    /// What the guest writes to its port, until it halts.
    private func output(_ cpu: inout VirtualCPU) throws -> [UInt32] {
        var values: [UInt32] = []
        while true {
            try cpu.run()
            switch cpu.exit {
            case .portOut(let out): values.append(out.value)
            case .halt: return values
            default: throw Unexpected(cpu.exit)
            }
        }
    }

    private func entry(_ leaf: UInt32, _ subleaf: UInt32, ebx: UInt32, hasIndex: Bool) -> kvm_cpuid_entry2 {
        var entry = kvm_cpuid_entry2()
        entry.function = leaf
        entry.index = subleaf
        entry.flags = hasIndex ? UInt32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX) : 0
        entry.eax = leaf == 0 ? 4 : 0
        entry.ebx = ebx
        return entry
    }

    /// A leaf with subleaves answers by ECX, with zeros where there is none; another answers whatever ECX is.
    @Test func subleaves() throws {
        let machine = try TestMachine(
            .software,
            source: """
                %macro ask 2
                mov eax, %1
                mov ecx, %2
                cpuid
                mov eax, ebx
                out 0xe9, eax
                %endmacro
                ask 4, 0
                ask 4, 1
                ask 4, 2
                ask 3, 0
                ask 3, 1
                hlt
                """)
        var cpu = try machine.makeCPU()
        try cpu.setCPUID([
            entry(0, 0, ebx: 1, hasIndex: false), entry(3, 0, ebx: 0x30, hasIndex: false),
            entry(4, 0, ebx: 0x40, hasIndex: true), entry(4, 1, ebx: 0x41, hasIndex: true),
        ])
        #expect(try output(&cpu) == [0x40, 0x41, 0, 0x30, 0x30])
    }

    /// OSXSAVE shows CR4's bit, there and back.
    @Test(arguments: hypervisors)
    func whetherTheSystemUsesXSAVE(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(
            hypervisor,
            source: """
                %macro show 0
                mov eax, 1
                cpuid
                mov eax, ecx
                and eax, 1 << 27
                out 0xe9, eax
                %endmacro
                %macro toggle 0
                mov rax, cr4
                xor eax, 1 << 18
                mov cr4, rax
                %endmacro
                show
                toggle
                show
                toggle
                show
                hlt
                """)
        var cpu = try machine.makeCPU()
        #expect(try output(&cpu) == [0, 1 << 27, 0])
    }
}
