// The first program of the interface's documentation, on each hypervisor that this machine has.

import GuestMemory
import KVM
import KVMABI
import TestLimits
import Testing

/// An exit that a test did not expect, with what it was.
struct UnexpectedExit: Error {
    let reason: ExitReason
    let rawBytes: [UInt8]

    init(_ reason: ExitReason, _ rawBytes: [UInt8]) {
        self.reason = reason
        self.rawBytes = rawBytes
    }
}

/// The hypervisors that open here. On a machine without `/dev/kvm` the kernel's is left out.
let present: [Hypervisor] = [Hypervisor.kernel, .software].filter { (try? System($0)) != nil }

@Suite(.within(minutes: 20)) struct FirstProgramTests {
    @Test(arguments: present)
    func firstProgram(_ hypervisor: Hypervisor) throws {
        let machine = try KVM.System(hypervisor).makeVirtualMachine()
        let memory = try GuestMemory(size: 1 << 20)
        try machine.addSlot(memory, at: 0)
        try memory.write([0xb0, 0x48, 0xe6, 0x10, 0xf4], at: 0x1000)  // mov al,'H'; out 0x10,al; hlt
        var cpu = try machine.makeVirtualCPU()
        try cpu.update {
            $0.cs.base = 0
            $0.rip = 0x1000
        }
        var output: [UInt8] = []
        run: while true {
            try cpu.run()
            switch cpu.exit {
            case .portOut(let access):
                #expect(access.port == 0x10)
                output += access.bytes
            case .halt: break run
            case let exit: throw UnexpectedExit(exit.reason, exit.rawBytes)
            }
        }
        #expect(output == [0x48])
    }
}
