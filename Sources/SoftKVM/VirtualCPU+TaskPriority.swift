// The task priority, shared: exits that tell the client of the guest's accesses to it (KVM_TPR_ACCESS_REPORTING), and a word in
// the guest's memory that stands for it (KVM_SET_VAPIC_ADDR). Documentation/virt/kvm/api.rst, KVM_EXIT_TPR_ACCESS; the order
// of things is that of vcpu_enter_guest: the word is shown at entries and taken at exits.

internal import Chipset
internal import KVMABI
internal import Processor

/// Who else knows a vCPU's task priority.
struct TaskPrioritySharing {
    /// Accesses to the register are exits.
    var reportsAccesses = false
    /// An access that is still to be reported. As in the kernel, another exit of the same instruction comes first.
    var access: (rip: UInt64, isWrite: Bool, witness: ExitWitness)?
    /// The guest-physical address of the word; 0: none.
    var wordAddress: UInt64 = 0
    /// What the word was last given; it is written when that is no longer so.
    var shown: UInt32?
    /// The word is new: what it holds counts before it is written.
    var isNew = false
}

extension VirtualCPU {
    // MARK: Reports

    /// struct kvm_tpr_access_ctl { enabled, flags, reserved }. The reserved fields are ignored, as in the kernel.
    func setTaskPriorityReporting(_ argument: ClientArgument) throws(Errno) {
        let record = Record(try argument.loadBytes(40))
        guard record.load(4, as: UInt32.self) == 0 else { throw .invalidArgument }
        taskPrioritySharing.reportsAccesses = record.load(0, as: UInt32.self) != 0
        processor.isolatesHostAccesses = taskPrioritySharing.reportsAccesses
        try argument.storeBytes(record.bytes)
    }

    /// The guest accesses the APIC page.
    func noteTaskPriorityAccess(_ offset: UInt32, size: Int, isWrite: Bool) {
        guard taskPrioritySharing.reportsAccesses,
            chipset?.isTaskPriority(Int(id), offset: offset, size: size, isWrite: isWrite) == true
        else { return }
        noteTaskPriorityAccess(isWrite: isWrite)
    }

    /// The guest accesses an MSR, which may be the register in x2APIC mode.
    func noteTaskPriorityAccess(msr: UInt32, writing value: UInt64? = nil) {
        guard taskPrioritySharing.reportsAccesses, msr == 0x808, chipset != nil, apicBase & 0xC00 == 0xC00 else {
            return
        }
        // A value that is refused never reaches the register.
        if let value, value >> 32 != 0 { return }
        noteTaskPriorityAccess(isWrite: value != nil)
    }

    private func noteTaskPriorityAccess(isWrite: Bool) {
        guard let witness = witness(.tprAccess) else { return }
        taskPrioritySharing.access = (processor.instructionPointer, isWrite, witness)
        doorbell.call()
    }

    /// Writes the exit for an access that is still to be reported.
    func reportTaskPriorityAccess() -> Bool {
        guard let access = taskPrioritySharing.access else { return false }
        taskPrioritySharing.access = nil
        area.run.store(access.rip, ExitLayout.tprAccessRIP)
        area.run.store(UInt32(access.isWrite ? 1 : 0), ExitLayout.tprAccessIsWrite)
        area.run.leave(with: access.witness)
        return true
    }

    // MARK: The word

    /// struct kvm_vapic_addr. What the word holds counts from the next exit on.
    func setTaskPriorityWord(_ argument: ClientArgument) throws(Errno) {
        guard let chipset else { throw .invalidArgument }
        let address: UInt64 = try argument.load()
        let isUsable = address == 0 || machine.isWritable(address, 4)
        guard isUsable else { throw .invalidArgument }
        taskPrioritySharing.wordAddress = address
        taskPrioritySharing.shown = nil
        // Before the first run the APIC has everything still to show.
        taskPrioritySharing.isNew = hasRun
        chipset.setTaskPriorityMirrored(Int(id), address != 0)
    }

    /// Before guest code runs: the word follows the APIC.
    func showTaskPriority() {
        let address = taskPrioritySharing.wordAddress
        guard address != 0 else { return }
        if taskPrioritySharing.isNew {
            taskPrioritySharing.isNew = false
            takeTaskPriority()
        }
        guard let word = chipset?.taskPriorityWord(Int(id)), word != taskPrioritySharing.shown else {
            return
        }
        taskPrioritySharing.shown = word
        machine.writePhysical(address, word, by: self)
    }

    /// After guest code has run: the APIC follows the word.
    func takeTaskPriority() {
        let address = taskPrioritySharing.wordAddress
        guard address != 0, let chipset, let word = machine.readPhysical32(address) else { return }
        let priority = UInt8(truncatingIfNeeded: word)
        if let shown = taskPrioritySharing.shown {
            if UInt8(truncatingIfNeeded: shown) == priority { return }
            taskPrioritySharing.shown = shown & ~0xFF | UInt32(priority)
        }
        chipset.setTaskPriority(Int(id), priority)
    }

    /// What the kernel would exit for: the word counts before it, and follows it.
    func sharingTaskPriority<Result>(_ body: () -> Result) -> Result {
        guard taskPrioritySharing.wordAddress != 0 else { return body() }
        takeTaskPriority()
        defer { showTaskPriority() }
        return body()
    }
}
