// IA32_TSC_ADJUST as the guest writes it: the counter moves by what the register changes. Intel SDM vol. 3, 18.17.3.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct TimeStampAdjustTests {
    @Test func theCounterMovesByTheChange() throws {
        // 2⁵⁰ twice, then 0; in between nothing takes 2⁴⁸ ticks.
        let machine = try TestMachine(
            .software,
            source: """
                %macro show 0
                rdtsc
                out 0xe9, eax
                mov eax, edx
                out 0xe9, eax
                %endmacro
                %macro adjust 1
                mov ecx, 0x3b
                xor eax, eax
                mov edx, %1
                wrmsr
                %endmacro
                show
                adjust 1 << 18
                show
                adjust 1 << 18
                show
                adjust 0
                show
                hlt
                """)
        var cpu = try machine.makeCPU()
        var cpuid = try System(.software).supportedCPUID()
        for index in cpuid.indices where cpuid[index].function == 7 && cpuid[index].index == 0 { cpuid[index].ebx |= 2 }
        try cpu.setCPUID(cpuid)
        var halves: [UInt64] = []
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .portOut(let out): halves.append(UInt64(out.value))
            case .halt: break run
            default: throw Unexpected(cpu.exit)
            }
        }
        try #require(halves.count == 8)
        let readings = (0..<4).map { halves[2 * $0] | halves[2 * $0 + 1] << 32 }
        #expect((readings[1] &- readings[0]) >> 48 == 4)
        #expect((readings[2] &- readings[1]) >> 48 == 0)
        #expect((readings[2] &- readings[3]) >> 48 == 3)
        #expect(try cpu.msr(0x3b) == 0)
    }
}
