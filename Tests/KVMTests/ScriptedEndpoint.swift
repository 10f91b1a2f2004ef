// A hypervisor that does what a test tells it: each KVM_RUN is one step of a script, which fills in the run area through
// the header's own structure.

import KVMABI
import Synchronization

/// The scripted run area, as the header's structure.
@safe struct RunPage {
    // SAFETY: the endpoint's allocation, `ScriptedEndpoint.areaSize` bytes; steps stay inside it.
    private let base: UnsafeMutableRawPointer

    init(_ base: UnsafeMutableRawPointer) { unsafe self.base = base }

    var pointee: kvm_run {
        get { unsafe base.load(as: kvm_run.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, as: kvm_run.self) }
    }

    func store<T: BitwiseCopyable>(_ value: T, at offset: Int) {
        precondition(offset + MemoryLayout<T>.size <= ScriptedEndpoint.areaSize)
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: T.self)
    }
}

@safe final class ScriptedEndpoint: Endpoint {
    /// One KVM_RUN: fills in the run area; the errno it fails with, or 0.
    typealias Step = @Sendable (RunPage) -> Int32

    static let areaSize = 3 * 4096
    private let steps: Mutex<[Step]>
    /// Every request, in order.
    let requests = Mutex<[Request]>([])
    let kicks = Mutex<Int>(0)
    let closed = Mutex<[Handle]>([])
    let mapped = Mutex<Int>(0)
    // SAFETY: allocated for the endpoint's life; the tests run a vCPU on one thread.
    nonisolated(unsafe) let area: UnsafeMutableRawPointer

    init(_ steps: [Step] = []) {
        self.steps = Mutex(steps)
        unsafe area = .allocate(byteCount: ScriptedEndpoint.areaSize, alignment: 4096)
        unsafe area.initializeMemory(as: UInt8.self, repeating: 0, count: ScriptedEndpoint.areaSize)
    }

    deinit { unsafe area.deallocate() }

    func open() throws(Errno) -> Handle { Handle(rawValue: 100) }

    func ioctl(_ handle: Handle, _ request: Request, _ argument: UInt) throws(Errno) -> Int32 {
        requests.withLock { $0.append(request) }
        switch request {
        case .getAPIVersion: return 12
        case .getVCPUMmapSize: return Int32(ScriptedEndpoint.areaSize)
        case .checkExtension:
            switch Capability(rawValue: UInt32(argument)) {
            case .coalescedMMIO: return 2
            case .x86DisableExits: return 3
            case .exceptionPayload: return 1
            default: return 0
            }
        case .createVM: return 101
        case .createVCPU: return 102
        case .enableCap: return 0
        case .run:
            let run = unsafe RunPage(area)
            if run.pointee.immediate_exit != 0 { throw .interrupted }
            guard let step = steps.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { throw .ioError }
            let error = step(run)
            if error != 0 { throw Errno(rawValue: error) }
            return 0
        default: throw .inappropriateRequest
        }
    }

    func map(_ handle: Handle, length: Int, offset: Int) throws(Errno) -> UnsafeMutableRawPointer {
        mapped.withLock { $0 += 1 }
        return unsafe area
    }
    func unmap(_ address: UnsafeMutableRawPointer, length: Int) { mapped.withLock { $0 -= 1 } }
    func close(_ handle: Handle) { closed.withLock { $0.append(handle) } }
    func kick(_ vcpu: Handle) { kicks.withLock { $0 += 1 } }
}
