// Requests with arguments that can't be read, that come too late, or that are none.

import KVM
import KVMABI
import TestLimits
import Testing

@Suite(.enabled(if: Assembler.isAvailable, "nasm is not installed"), .within(minutes: 20))
struct BadArgumentTests {
    @Test(arguments: hypervisors)
    func argumentsAtBadAddressesAreEFAULT(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt") { try $0.createInterruptControllers() }
        let cpu = try machine.makeCPU()
        let ofCPU: [Request] = [
            .getRegs, .setRegs, .getSREGS, .setSREGS, .getSREGS2, .setSREGS2, .getFPU, .setFPU, .getLAPIC, .setLAPIC,
            .getMSRS, .setMSRS, .setCPUID2, .getCPUID2, .getVCPUEvents, .setVCPUEvents, .getDebugregs, .setDebugregs,
            .getXSAVE, .setXSAVE, .getXCRS, .setXCRS, .getMPState, .setMPState, .translate, .setGuestDebug, .enableCap,
            .setVAPICAddr, .tprAccessReporting, .setSignalMask, .x86SetupMCE, .interrupt,
        ]
        // Null is the thread's own mask for KVM_SET_SIGNAL_MASK; the last page below the kernel's half is nobody's.
        for bad in [UInt(8), 0x7fff_ffff_e000, UInt.max - 4095] {
            for request in ofCPU {
                #expect(throws: KVMError.failed(request, .badAddress), "\(request) at \(String(bad, radix: 16))") {
                    unsafe try cpu.request(request, bad)
                }
            }
            let ofMachine: [Request] = [
                .setUserMemoryRegion, .getDirtyLog, .irqLine, .irqLineStatus, .getIRQCHIP, .setIRQCHIP, .createPIT2,
                .setGSIRouting, .irqfd, .ioeventfd, .setClock, .getClock, .signalMSI, .registerCoalescedMMIO,
                .x86SetMSRFilter, .enableCap, .clearDirtyLog,
            ]
            for request in ofMachine {
                #expect(throws: KVMError.failed(request, .badAddress), "\(request) at \(String(bad, radix: 16))") {
                    unsafe try machine.machine.request(request, bad)
                }
            }
        }
    }

    // The order of checks: that there are vCPUs already comes before the argument is read.
    @Test(arguments: hypervisors)
    func theIdentityMapIsTooLateOnceThereIsACPU(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        #expect(throws: KVMError.failed(.setIdentityMapAddr, .badAddress)) {
            unsafe try machine.machine.request(.setIdentityMapAddr, 8)
        }
        let cpu = try machine.makeCPU()
        #expect(throws: KVMError.failed(.setIdentityMapAddr, .invalidArgument)) {
            unsafe try machine.machine.request(.setIdentityMapAddr, 8)
        }
        _ = cpu.id
    }

    @Test(arguments: hypervisors)
    func anUnknownRequestIsENOTTY(_ hypervisor: Hypervisor) throws {
        let machine = try TestMachine(hypervisor, source: "hlt")
        let cpu = try machine.makeCPU()
        let unknown = Request(rawValue: 0xaeff)
        #expect(throws: KVMError.failed(unknown, .inappropriateRequest)) { unsafe try machine.machine.request(unknown) }
        #expect(throws: KVMError.failed(.createVM, .inappropriateRequest)) {
            unsafe try machine.machine.request(.createVM)
        }
        #expect(throws: KVMError.self) { unsafe try cpu.request(unknown) }
        #expect(throws: KVMError.failed(.run, .invalidArgument)) { unsafe try cpu.request(.run, 1) }
    }
}
