// A client of several threads that share their handles, stale ones among them.

import Dispatch
import Glibc
import KVMABI
import SoftKVM
import Synchronization

/// One hypervisor under attack. Everything that it gave out is given back at the end.
final class HostileClient: @unchecked Sendable {
    private struct Shared {
        /// Every number that was ever given out, of each kind.
        var systems: [Handle] = []
        var machines: [Handle] = []
        var vcpus: [Handle] = []
        /// Addresses of mappings, which only go, and are only used, under the lock.
        /// `shown` bytes from the beginning on are there; behind them an access is SIGBUS, here as on a kernel.
        var areas: [(address: UInt, length: Int, shown: Int)] = []
        var events: [Int32] = []
        var answers = HostileAnswers()
    }

    private let endpoint = SoftwareEndpoint()
    private let memory = HostileMemory()
    private let shared = Mutex(Shared())
    private let runs = DispatchSemaphore(value: 0)
    private let seed: UInt64
    var forks = false

    init(seed: UInt64) throws {
        self.seed = seed
        let system = try endpoint.open()
        let machine = Handle(rawValue: try endpoint.ioctl(system, .createVM, 0))
        shared.withLock { shared in
            shared.systems = [system]
            shared.machines = [machine]
        }
    }

    /// Makes `calls` calls on each of three threads, while a fourth ends the runs.
    func exercise(calls: Int) throws -> HostileAnswers {
        let threads = (0..<3).map { number in
            HostileThread { [self] window in
                var draw = HostileDraw(seed: seed &* 64 &+ UInt64(number))
                for _ in 0..<calls { step(&draw, window) }
            }
        }
        let kicker = HostileThread { [self] _ in
            while true {
                // A thread is about to run a vCPU, or done.
                runs.wait()
                if threads.allSatisfy(\.isDone) { return }
                for vcpu in shared.withLock({ $0.vcpus }) { endpoint.kick(vcpu) }
                // A run of a handle that is closed has no other end.
                for thread in threads { thread.signal() }
            }
        }
        for thread in threads { thread.waitUntilDone() }
        runs.signal()
        kicker.join()
        for thread in threads { thread.join() }
        end()
        return shared.withLock { $0.answers }
    }

    private func end() {
        let left = shared.withLock { shared in
            let left = shared
            shared.areas = []
            shared.events = []
            return left
        }
        for area in left.areas { unmap(area.address, area.length) }
        for handle in left.vcpus + left.machines + left.systems { endpoint.close(handle) }
        for event in left.events { Glibc.close(event) }
    }

    // MARK: Steps

    private func step(_ draw: inout HostileDraw, _ window: RunWindow) {
        switch draw.below(100) {
        case 0..<3: keep(\.systems) { try endpoint.open() }
        case 3..<7: create(.createVM, on: \.systems, 0, into: \.machines)
        case 7..<14: create(.createVCPU, on: \.machines, UInt(draw.below(6)), into: \.vcpus)
        case 14..<17: close(&draw)
        case 17..<20: changeEvents(&draw)
        case 20..<25: changeMemory(&draw)
        case 25..<30: map(&draw)
        case 30..<40: scribble(&draw)
        case 40..<48: begin(&draw)
        case 48..<62: run(&draw, window)
        case 62 where forks: fork(&draw)
        default: call(&draw)
        }
    }

    private func keep(_ path: WritableKeyPath<Shared, [Handle]>, _ make: () throws -> Handle) {
        guard let handle = try? make() else { return }
        shared.withLock { $0[keyPath: path].append(handle) }
    }

    private func create(
        _ request: Request, on path: WritableKeyPath<Shared, [Handle]>, _ argument: UInt,
        into kept: WritableKeyPath<Shared, [Handle]>
    ) {
        guard let handle = shared.withLock({ $0[keyPath: path].last }) else { return }
        keep(kept) { Handle(rawValue: try endpoint.ioctl(handle, request, argument)) }
    }

    private func anyHandle(_ draw: inout HostileDraw) -> Handle {
        let (systems, machines, vcpus) = shared.withLock { ($0.systems, $0.machines, $0.vcpus) }
        switch draw.below(20) {
        case 0: return Handle(rawValue: Int32(truncatingIfNeeded: draw.value()))
        case 1, 2: return draw.pick(systems) ?? Handle(rawValue: -1)
        case 3..<10: return draw.pick(machines.suffix(3)) ?? Handle(rawValue: -1)
        default: return draw.pick(vcpus.suffix(6)) ?? Handle(rawValue: -1)
        }
    }

    /// The number stays among those that are used.
    private func close(_ draw: inout HostileDraw) { endpoint.close(anyHandle(&draw)) }

    /// An eventfd more, or one that is closed while it is registered.
    private func changeEvents(_ draw: inout HostileDraw) {
        if draw.chance(60) {
            let event = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
            if event >= 0 { shared.withLock { $0.events.append(event) } }
            return
        }
        let event = shared.withLock { $0.events.popLast() }
        if let event { Glibc.close(event) }
    }

    private func changeMemory(_ draw: inout HostileDraw) {
        if draw.chance(40) { memory.takeAway(&draw) } else { memory.giveBack() }
        let program = draw.pick(HostileDraw.programs) ?? []
        for _ in 0..<4 { memory.write(program, at: draw.below(HostileMemory.size / 4096) * 4096) }
    }

    private func map(_ draw: inout HostileDraw) {
        if draw.chance(25) {
            // Under the lock: nobody is writing to it now.
            shared.withLock { shared in
                if let area = shared.areas.popLast() { unmap(area.address, area.length) }
            }
            return
        }
        let (length, page) = draw.pick([(4096, 0), (12288, 0), (8192, 1), (4096, 2), (4096, 64), (16384, 0), (0, 1)])!
        guard let address = unsafe try? endpoint.map(anyHandle(&draw), length: length, offset: page * 4096) else {
            return
        }
        let place = UInt(bitPattern: address)
        let pages = (0..<length / 4096).prefix { page in
            (try? ClientArgument(place + UInt(page) * 4096).load(UInt8.self)) != nil
        }
        shared.withLock { $0.areas.append((place, length, pages.count * 4096)) }
    }

    private func unmap(_ address: UInt, _ length: Int) {
        guard let pointer = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
        unsafe endpoint.unmap(pointer, length: length)
    }

    /// Random words into run areas, before, during and after a run.
    private func scribble(_ draw: inout HostileDraw) {
        let places = (0..<8).map { _ in (draw.next(), draw.value()) }
        let isKind = draw.chance(50)
        shared.withLock { shared in
            for (place, value) in places where !shared.areas.isEmpty {
                let area = shared.areas[Int(place % UInt64(shared.areas.count))]
                // Mostly the words that the hypervisor reads.
                let limit = isKind ? min(area.shown, 2352) : area.shown
                guard limit > 0 else { continue }
                let offset = UInt(place >> 20) % UInt(max(1, limit / 8)) * 8
                unsafe UnsafeMutablePointer<UInt64>(bitPattern: area.address + offset)?.pointee = value
            }
        }
    }

    /// A vCPU at a small program, in memory that is likely there.
    private func begin(_ draw: inout HostileDraw) {
        let (machine, vcpu) = shared.withLock { ($0.machines.last, $0.vcpus.last) }
        guard let machine, let vcpu else { return }
        var region = kvm_userspace_memory_region()
        region.memory_size = UInt64(HostileMemory.size)
        region.userspace_addr = memory.address(0)
        region.flags = draw.chance(50) ? 1 : 0
        send(machine, .setUserMemoryRegion, &region)
        let page = UInt64(1 + draw.below(15))
        memory.write(draw.pick(HostileDraw.programs) ?? [], at: Int(page) * 4096)
        var sregs = kvm_sregs()
        guard send(vcpu, .getSREGS, &sregs) else { return }
        sregs.cs.base = 0
        sregs.cs.selector = 0
        send(vcpu, .setSREGS, &sregs)
        var regs = kvm_regs()
        regs.rip = page * 4096
        regs.rsp = 0x8000
        regs.rcx = draw.value()
        regs.rflags = 2
        send(vcpu, .setRegs, &regs)
    }

    @discardableResult
    private func send<T>(_ handle: Handle, _ request: Request, _ value: inout T) -> Bool {
        unsafe withUnsafeMutablePointer(to: &value) { pointer in
            (try? endpoint.ioctl(handle, request, UInt(bitPattern: pointer))) != nil
        }
    }

    private func run(_ draw: inout HostileDraw, _ window: RunWindow) {
        let handle = anyHandle(&draw)
        let argument: UInt = draw.chance(5) ? 1 : 0
        window.prepare()
        runs.signal()
        note(.run) { _ = try endpoint.ioctl(handle, .run, argument, window: window) }
    }

    private func call(_ draw: inout HostileDraw) {
        guard let (_, request) = draw.pick(Request.all), request != .run, request != .createVM, request != .createVCPU,
            request != .getStatsFD
        else { return }
        let events = shared.withLock { $0.events }
        let handle = anyHandle(&draw)
        guard request.takesAddress else {
            let argument = UInt(truncatingIfNeeded: draw.value())
            note(request) { _ = try endpoint.ioctl(handle, request, argument) }
            return
        }
        if draw.chance(5) {
            let argument = draw.pick([0, 1, UInt.max, UInt(memory.address(HostileMemory.size - 4))])!
            note(request) { _ = try endpoint.ioctl(handle, request, argument) }
            return
        }
        var argument = draw.argument(of: request, memory, events: events)
        let canary = [UInt8](repeating: 0xC5, count: 256)
        let size = argument.count
        argument += canary
        note(request) {
            try unsafe argument.withUnsafeMutableBytes { bytes in
                _ = try endpoint.ioctl(handle, request, UInt(bitPattern: bytes.baseAddress))
            }
        }
        if !argument[size...].elementsEqual(canary) {
            shared.withLock { $0.answers.overrun = $0.answers.overrun ?? request.name }
        }
    }

    private func note(_ request: Request, _ body: () throws -> Void) {
        let succeeds = (try? body()) != nil
        shared.withLock { shared in
            shared.answers.calls += 1
            if succeeds {
                if request == .run { shared.answers.runs += 1 }
                shared.answers.succeeded.insert(request.rawValue)
            } else {
                shared.answers.failed.insert(request.rawValue)
            }
        }
    }

    /// The child ends at once: a parent's locks may be held for ever there.
    private func fork(_ draw: inout HostileDraw) {
        let child = forkProcess()
        if child == 0 { _exit(0) }
        // The other threads' signals end a wait; a child that never ends must not be missed.
        while child > 0, waitpid(child, nil, 0) < 0, errno == EINTR {}
    }
}
