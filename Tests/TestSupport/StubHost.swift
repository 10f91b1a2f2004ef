public import Processor

/// A hypervisor with nothing in it: every port, device and MSR is the client's or is not there. What a test wants otherwise it
/// overrides.
open class StubHost: ProcessorHost {
    open var timeStampCounter: UInt64 = 0
    open var taskPriority: UInt8 = 0
    open var hasLocalAPIC = true

    public init() {}

    open func readMMIO(_ address: UInt64, size: Int) -> UInt64? { nil }
    open func writeMMIO(_ address: UInt64, size: Int, value: UInt64) -> Bool { false }
    open func readPort(_ port: UInt16, size: Int) -> UInt32? { nil }
    open func writePort(_ port: UInt16, size: Int, value: UInt32) -> Bool { false }
    open func readMSR(_ index: UInt32) -> MSRAnswer { .invalid }
    open func writeMSR(_ index: UInt32, _ value: UInt64) -> MSRAnswer { .invalid }
    open func allowsMSR(_ index: UInt32, write: Bool) -> Bool { true }
    open func cpuid(leaf: UInt32, subleaf: UInt32) -> (eax: UInt32, ebx: UInt32, ecx: UInt32, edx: UInt32) {
        (0, 0, 0, 0)
    }
    open func acknowledgeInterrupt() -> UInt8? { nil }
    open func hypercall() -> Bool { false }
    open func pageDirtied(slot: UInt32, page: Int) {}
    open func codeChanged() {}
    open func newCodePage() -> Bool { false }
    open func droppedWrites() {}
    open var othersMayHoldWrites: Bool { false }
    open func stopOthers() {}
    open func letOthersRun() {}
    open func returnInterrupt(_ vector: UInt8) {}
}
