import X86

/// What the run loop, an event or an instruction has begun and ends itself before it returns.
///
/// A fault of the host's memory (`HostFault`) abandons all frames between the access and the run loop, and what they would
/// have done on their way out with them. So everything that they would have to undo is in this one value: `recover` puts back
/// what it tells and begins with a fresh one, and what is added here can't stay behind.
struct UnderWay {
    /// A handler is running: the address of the instruction is its op's.
    var isExecuting = false
    /// One instruction is executed by itself, or an event is delivered: MMIO writes are put off until it is complete.
    var isCareful = false
    /// CPL is hidden while the processor reaches its own tables and stacks (`CPU.asSupervisor`).
    var actsAsSupervisor = false
    /// A system data structure is being reached (`CPU.implicitly`).
    var accessIsImplicit = false
    /// The running instruction's memory operand needn't be aligned, whatever EFLAGS.AC says.
    var isExemptFromAlignment = false
    /// Every other vCPU stands still (`CPU.exclusively`).
    var othersAreStopped = false
    /// What stepping has taken away from the instruction, which is still to be executed under it.
    var interruptShadow: UInt8?
    var resumeFlag = false
    /// RSP, where POP has moved it for the address of its destination.
    var stackPointer: UInt64?
    /// MXCSR, where an instruction runs with its exceptions masked to see which there are.
    var mxcsr: UInt32?
    /// An instruction changes the x87 state and stores afterwards; the state before.
    var storesX87 = false
    var x87 = X87Image(repeating: 0)
    /// An exception, interrupt or NMI on its way to its handler.
    var event: Event?
    /// A task switch has left the old task: what goes wrong is the new one's, and no instruction is to be executed again.
    var isInNewTask = false
}

/// The first twenty words of the XSAVE area: x87 state, and MXCSR in the fourth.
typealias X87Image = InlineArray<20, UInt64>

extension CPU {
    /// Puts the x87 state back, and leaves MXCSR alone.
    func restore(_ image: X87Image) {
        for index in image.indices where index != 3 { state.xsave[index] = image[index] }
    }

    /// Runs `body`, which changes the x87 state and then stores: what stops the store undoes the change.
    @inline(__always) func storingX87(_ body: () throws(Stop) -> Void) throws(Stop) {
        let processor = processor
        // In one piece: the copy shows in the cost of FSTP. The state begins with the area.
        unsafe processor.underWay.x87 = UnsafeRawPointer(pointer).load(as: X87Image.self)
        processor.underWay.storesX87 = true
        do throws(Stop) {
            try body()
            processor.underWay.storesX87 = false
        } catch {
            processor.underWay.storesX87 = false
            restore(processor.underWay.x87)
            throw error
        }
    }
}

extension VirtualProcessor {
    /// After a fault of the host's memory: the guest is as before the instruction or the event that met it.
    /// - Parameter hostMXCSR: the host's register as the abandoned frames left it.
    func recover(hostMXCSR: UInt32) {
        let abandoned = underWay
        underWay = UnderWay()
        // First of all: whoever is asked something later has MXCSR settled.
        cpu.settleMXCSR(from: hostMXCSR)
        cpu.abandonTranslation()
        if let mxcsr = abandoned.mxcsr { cpu.mxcsr = mxcsr }
        if abandoned.othersAreStopped { host.letOthersRun() }
        if abandoned.storesX87 { cpu.restore(abandoned.x87) }
        if let pointer = abandoned.stackPointer { cpu.rsp = pointer }
        if abandoned.actsAsSupervisor { cpu.state.cpl = 3 }
        if abandoned.isInNewTask {
            // Neither task can go on: the owner hears of it.
            stuck = true
            request(.careful)
        } else {
            if abandoned.isExecuting { cpu.state.rip = cpu.instructionRIP }
            if let shadow = abandoned.interruptShadow { cpu.state.interruptShadow = shadow }
            if abandoned.resumeFlag { cpu.state.systemFlags |= RFLAGS.RF.rawValue }
            if let event = abandoned.event { keep(event) }
        }
        unfinished.restart()
        cpu.updateMode()
    }

    /// Keeps an event that could not be delivered for another attempt.
    func keep(_ event: Event) {
        guard event.origin == .external else { return raise(event.vector, code: event.errorCode, isInjected: true) }
        if event.vector == Exception.nonMaskableInterrupt.vector {
            cpu.state.nmiBlocked = false
            host.returnNMI()
            request(.nmi)
        } else {
            host.returnInterrupt(event.vector)
            request(.interrupt)
        }
    }
}
