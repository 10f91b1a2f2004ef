// Short timers by the thousand, each armed while the thread that serves them may be firing another or going to sleep.

import KVM
import KVMABI
import TestLimits
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct DeadlineTests {
    /// Timers between two reports.
    private static let batch = 256

    /// Every other timer is armed right after the last has fired, while the thread that fired it looks for the next. The others
    /// come nearer first, from half a minute on, so that the thread is told again and again while it wakes. How long the guest
    /// waits in between, and each timer's time of at most 8 µs, come from a generator in ESI.
    private static func source(waiting: String) -> String {
        """
        mov dword [0x6d000 + 0x31 * 16], (8 << 16) + fired  ; the same from each vCPU
        mov dword [0x6d000 + 0x31 * 16 + 4], 0x8e00
        mov r12d, 0xfee00000
        mov dword [r12 + 0xf0], 0x1ff
        mov dword [r12 + 0x320], 0x31   ; the timer's entry: one shot
        mov dword [r12 + 0x3e0], 0xa    ; divided by 128
        batch: mov ebp, \(batch)
        arm: mov ebx, 0
        test ebp, 1
        jz .alone
        mov ecx, 64
        .nearer: mov eax, ecx
        shl eax, 22
        mov [r12 + 0x380], eax
        dec ecx
        jnz .nearer
        .alone: imul esi, esi, 1664525
        add esi, 1013904223
        mov eax, esi
        shr eax, 25
        .delay: dec eax
        jns .delay
        mov eax, esi
        shr eax, 19
        and eax, 63
        inc eax
        mov [r12 + 0x380], eax
        \(waiting)
        dec ebp
        jnz arm
        report 1
        jmp batch
        fired: mov dword [r12 + 0xb0], 0
        mov ebx, 1
        iretq
        """
    }

    /// Waits for EBX, which the handler sets.
    enum Waiting: String, CaseIterable {
        case halted = """
            .sleep: cli
            test ebx, ebx
            jnz .awake
            sti
            hlt
            jmp .sleep
            .awake: sti
            """
        case running = """
            sti
            .spin: test ebx, ebx
            jz .spin
            cli
            """
    }

    @Test(arguments: [(Waiting.running, 1), (.halted, 1), (.halted, 4)], hypervisors)
    func everyTimerFires(_ machines: (waiting: Waiting, cpus: Int), _ hypervisor: Hypervisor) throws {
        var batches = 128
        // An interrupt takes the kernel's emulator a tick of the host's clock, and an unoptimised build is slow.
        if hypervisor == .kernel { batches = 1 }
        #if DEBUG
            batches = min(batches, 2)
        #endif
        let machine = try TestMachine(hypervisor, source: Self.source(waiting: machines.waiting.rawValue)) {
            try $0.createInterruptControllers()
        }
        let rounds = batches
        let helpers = (0..<machines.cpus).map { number in
            Helper { try Self.run(try machine.makeCPU(id: UInt32(number)), batches: rounds) }
        }
        do { for helper in helpers { try helper.join() } } catch {
            // A thread that can't be told of timers can't be told to end: that would hang in place of failing.
            _ = unsafe Unmanaged.passRetained(machine)
            throw error
        }
    }

    private static func run(_ made: consuming VirtualCPU, batches: Int) throws {
        var cpu = made
        let number = UInt64(cpu.id)
        try cpu.setMultiprocessorState(.runnable)
        try cpu.update { registers in
            registers.rsp = Place.stack - number * 0x1000
            registers.rsi = number &* 0x9e37_79b9
        }
        let watchdog = Watchdog(cpu.kickHandle, patience: .seconds(120), of: .wall)
        for _ in 0..<batches {
            watchdog.begin()
            try cpu.run()
            watchdog.end()
            guard case .portOut = cpu.exit else {
                throw NeverFired(vcpu: cpu.id, exit: Unexpected(cpu.exit), state: try describe(cpu))
            }
        }
    }

    private struct NeverFired: Error {
        let vcpu: UInt32
        let exit: Unexpected
        /// What the guest waits in, and its timer.
        let state: String
    }

    private static func describe(_ cpu: borrowing VirtualCPU) throws -> String {
        let registers = try cpu.registers()
        let apic = try cpu.localAPIC()
        let fields: [(String, UInt64)] =
            [
                ("rip", registers.rip), ("rflags", registers.rflags), ("rbx", registers.rbx), ("rbp", registers.rbp),
                ("state", UInt64(try cpu.multiprocessorState().rawValue)),
            ]
            + [("ISR", 0x110), ("IRR", 0x210), ("LVT", 0x320), ("initial count", 0x380), ("current count", 0x390)].map {
                offset in
                let value = unsafe withUnsafeBytes(of: apic) {
                    unsafe $0.loadUnaligned(fromByteOffset: offset.1, as: UInt32.self)
                }
                return (offset.0, UInt64(value))
            }
        return fields.map { "\($0.0) \(String($0.1, radix: 16))" }.joined(separator: ", ")
    }
}
