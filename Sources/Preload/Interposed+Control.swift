// ioctl and mmap, by which a client talks to KVM; sigaction and signal, by which it arranges to be interrupted.

internal import Glibc
internal import KVMABI

@c(ioctl) public func interposedIOCtl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int32 {
    guard UInt8(truncatingIfNeeded: request >> 8) == UInt8(truncatingIfNeeded: Request.type) else {
        return next.ioctl(descriptor, request, argument)
    }
    // The kernel takes 32 bits of a request.
    let wanted = Request(rawValue: request & 0xFFFF_FFFF)
    guard let found = HandleTable.shared.find(descriptor) else {
        return recorded(descriptor, wanted, argument) { next.ioctl(descriptor, wanted.rawValue, argument) }
    }
    return ThreadSignals.inside {
        recorded(descriptor, wanted, argument) {
            do throws(Errno) {
                return try Hypervisor.ioctl(descriptor, found, wanted, argument)
            } catch {
                return failed(error)
            }
        }
    }
}

private func recorded(_ descriptor: Int32, _ request: Request, _ argument: UInt, _ answer: () -> Int32) -> Int32 {
    guard let conversation = Conversation.shared else { return answer() }
    return conversation.record(descriptor, request, argument, answer)
}

@c(mmap) public func interposedMap(
    _ address: UnsafeMutableRawPointer?, _ length: Int, _ protection: Int32, _ flags: Int32, _ descriptor: Int32,
    _ offset: Int
) -> UnsafeMutableRawPointer? {
    guard descriptor >= 0, flags & MAP_ANONYMOUS == 0, let found = HandleTable.shared.verify(descriptor) else {
        return unsafe next.map(address, length, protection, flags, descriptor, offset)
    }
    return unsafe ThreadSignals.inside {
        do throws(Errno) {
            return unsafe try Hypervisor.map(
                found, at: address, length: length, protection: protection, flags: flags, offset: offset)
        } catch {
            errno = error.rawValue
            return unsafe MAP_FAILED
        }
    }
}

@c(mmap64) public func interposedMap64(
    _ address: UnsafeMutableRawPointer?, _ length: Int, _ protection: Int32, _ flags: Int32, _ descriptor: Int32,
    _ offset: Int
) -> UnsafeMutableRawPointer? {
    unsafe interposedMap(address, length, protection, flags, descriptor, offset)
}

// MARK: Cancellation

/// The C library's signal for it finds the thread's own requests not to be cancelled: the run is ended from here.
@c(pthread_cancel) public func interposedCancel(_ thread: UInt) -> Int32 {
    ThreadSignals.cancelling(thread) { next.cancel(thread) }
}

// MARK: Signals

@c(sigaction) public func interposedAction(
    _ signal: Int32, _ new: UnsafeRawPointer?, _ old: UnsafeMutableRawPointer?
) -> Int32 {
    unsafe ClientSignals.shared.act(
        signal, new?.assumingMemoryBound(to: sigaction.self), old?.assumingMemoryBound(to: sigaction.self))
}

/// Returns the former handler. BSD's signals: the handler stays, and system calls go on.
@c(signal) public func interposedSignal(_ signal: Int32, _ handler: UInt) -> UInt {
    ClientSignals.shared.signal(signal, handler, flags: SA_RESTART)
}

@c(bsd_signal) public func interposedBSDSignal(_ signal: Int32, _ handler: UInt) -> UInt {
    interposedSignal(signal, handler)
}

/// System V's: the handler serves once.
@c(sysv_signal) public func interposedSystemVSignal(_ signal: Int32, _ handler: UInt) -> UInt {
    ClientSignals.shared.signal(signal, handler, flags: Int32(bitPattern: 0xC000_0000))  // SA_RESETHAND | SA_NODEFER
}

@c(__sysv_signal) public func interposedOldSignal(_ signal: Int32, _ handler: UInt) -> UInt {
    interposedSystemVSignal(signal, handler)
}
