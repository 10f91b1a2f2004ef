/// What a run ended with.
public enum ProcessorExit: Sendable, Equatable {
    /// Nothing more to do now: a request (`ExitRequest.leave`) was seen at a boundary.
    case requested
    /// IN, INS: the data is given back by `VirtualProcessor.completeRead`. `count` elements of `size` bytes.
    case portRead(port: UInt16, size: Int, count: Int)
    /// OUT, OUTS: the bytes are in `VirtualProcessor.withExitData`. Completed by the next run.
    case portWrite(port: UInt16, size: Int, count: Int)
    /// The data is given back by `completeRead`. At most 8 bytes.
    case mmioRead(address: UInt64, size: Int)
    /// The bytes are in `withExitData`; the instruction is complete (or the next piece follows on the next run).
    case mmioWrite(address: UInt64, size: Int)
    /// HLT, complete.
    case halted
    /// Triple fault.
    case shutdown
    /// `debugStatus`: DR6, DR7, and the linear address, as KVM_EXIT_DEBUG shows them; guest debugging asked for it.
    case debug(vector: UInt8, dr6: UInt64, dr7: UInt64, pc: UInt64)
    /// An answer is given back by `completeMSR`.
    case readMSR(index: UInt32, reason: UInt32)
    case writeMSR(index: UInt32, value: UInt64, reason: UInt32)
    /// VMCALL, VMMCALL: the result is given back by `completeHypercall`.
    case hypercall
    /// The instruction at RIP is one of `VirtualProcessor.intercepts`; nothing of it has happened.
    case intercepted(Intercepts)
    /// Interrupts can be taken now and the client asked to know (request_interrupt_window).
    case interruptWindow
    /// Task priority lowered by the guest without a local APIC here.
    case taskPriorityChanged
    /// The host's memory behind the guest's failed.
    case hostFault(address: UInt64)
    /// The processor can't go on: delivery of an event needed memory that is MMIO, and the like.
    case internalError(suberror: UInt32)
}
