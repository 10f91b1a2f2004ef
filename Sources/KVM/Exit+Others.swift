// The payloads of the rarer exits. Documentation/virt/kvm/api.rst, section 5.

public import KVMABI

/// RDMSR: answered with a value, or with #GP.
public struct MSRRead: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var index: UInt32 { view.load(12) }
    /// Why it came.
    public var cause: CapabilitySetting.MSRExit { .init(rawValue: view.load(8)) }

    public func answer(_ value: UInt64) {
        view.store(value, 16)
        view.store(UInt8(0), 0)
    }
    /// Raises #GP in the guest.
    public func refuse() { view.store(UInt8(1), 0) }
}

/// WRMSR: accepted, or answered with #GP.
public struct MSRWrite: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var index: UInt32 { view.load(12) }
    public var value: UInt64 { view.load(16) }
    /// Why it came.
    public var cause: CapabilitySetting.MSRExit { .init(rawValue: view.load(8)) }

    /// Lets the instruction end as if the write had happened.
    public func accept() { view.store(UInt8(0), 0) }
    /// Raises #GP in the guest.
    public func refuse() { view.store(UInt8(1), 0) }
}

/// A hypercall; the answer goes to RAX.
public struct Hypercall: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var number: UInt64 { view.load(0) }
    /// An argument, 0 to 5.
    public func argument(_ index: Int) -> UInt64 { (0..<6).contains(index) ? view.load(8 + index * 8) : 0 }
    public var isLongMode: Bool { view.load(64, as: UInt32.self) & 1 != 0 }
    public func answer(_ value: UInt64) { view.store(value, 56) }
}

/// The hypervisor gave up: why, and what it says.
public struct InternalError: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    /// `KVM_INTERNAL_ERROR_*`: 1 emulation, 2 simultaneous exceptions, 3 delivery of an event, 4 unexpected exit reason.
    public var suberror: UInt32 { view.load(0) }
    /// The words that came with it, at most 16.
    public var data: [UInt64] { view.words(8, Int(min(view.load(4, as: UInt32.self), 16))) }
    /// For suberror 1: the bytes of the instruction that could not be emulated, if they are told.
    public var instruction: [UInt8] {
        guard suberror == 1, view.load(4, as: UInt32.self) >= 3, view.load(8, as: UInt64.self) & 1 != 0 else {
            return []
        }
        return view.bytes(17, Int(min(view.load(16, as: UInt8.self), 15)))
    }
}

/// Shutdown, reset or crash.
public struct SystemEvent: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    /// `KVM_SYSTEM_EVENT_*`: 1 shutdown, 2 reset, 3 crash, 4 wakeup, 5 suspend, 6 end of a confidential guest.
    public var type: UInt32 { view.load(0) }
    /// The words that came with it, at most 16.
    public var data: [UInt64] { view.words(8, Int(min(view.load(4, as: UInt32.self), 16))) }
}

/// Hyper-V: `KVM_EXIT_HYPERV_SYNIC`, `_HCALL` or `_SYNDBG`.
public struct HyperVExit: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var type: UInt32 { view.load(0) }
    /// SynIC and SynDbg: the MSR written.
    public var msr: UInt32 { view.load(8) }
    /// SynIC: control, event page, message page; SynDbg: control, status, send, receive and pending page.
    public func word(_ index: Int) -> UInt64 { (0..<5).contains(index) ? view.load(16 + index * 8) : 0 }
    /// Hypercall: the input value; its two parameters are at `parameter`.
    public var input: UInt64 { view.load(8) }
    public func parameter(_ index: Int) -> UInt64 { (0..<2).contains(index) ? view.load(24 + index * 8) : 0 }
    /// Hypercall: the result.
    public func answer(_ value: UInt64) { view.store(value, 16) }
}

/// Xen: `KVM_EXIT_XEN_HCALL`.
public struct XenExit: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var type: UInt32 { view.load(0) }
    public var isLongMode: Bool { view.load(8, as: UInt32.self) != 0 }
    public var privilegeLevel: UInt32 { view.load(12) }
    public var input: UInt64 { view.load(16) }
    /// A parameter, 0 to 5.
    public func parameter(_ index: Int) -> UInt64 { (0..<6).contains(index) ? view.load(32 + index * 8) : 0 }
    public func answer(_ value: UInt64) { view.store(value, 24) }
}

/// A reason that this library does not know, with all of its payload in `Exit.rawBytes`.
public struct UnknownExit: ~Escapable {
    let view: PayloadView

    @_lifetime(borrow cpu)
    init(_ cpu: borrowing VirtualCPU) { view = PayloadView(cpu) }

    public var reason: ExitReason { view.area.exitReason }
    /// The 256 bytes of the payload's union.
    public var raw: [UInt8] { view.bytes(0, RunArea.payloadSize) }
}
