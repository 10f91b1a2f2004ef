/// Why the execution of an instruction ends other than by going on to the next one; thrown by semantics and memory accesses.
struct Stop: Error, Equatable {
    enum Kind: UInt8 {
        /// A block boundary: `CPUState.rip` is where to go on.
        case boundary
        /// An exception at the running instruction, whose state is as it was before (a fault). `vector`, `code`.
        case fault
        /// The running instruction is to be executed again by itself, with deferred MMIO writes (`VirtualProcessor.step`).
        case careful
        /// Userspace must act first: `VirtualProcessor.exit` says what; the instruction is executed again with the answer.
        case exitBefore
        /// Userspace must act; the instruction is complete and `CPUState.rip` is past it.
        case exitAfter
    }

    var kind: Kind
    var vector: UInt8 = 0
    var hasErrorCode = false
    var errorCode: UInt32 = 0

    static let boundary = Stop(kind: .boundary)
    static let careful = Stop(kind: .careful)
    static let exitBefore = Stop(kind: .exitBefore)
    static let exitAfter = Stop(kind: .exitAfter)

    /// A fault without an error code.
    static func fault(_ vector: UInt8) -> Stop { Stop(kind: .fault, vector: vector) }
    /// A fault with an error code.
    static func fault(_ vector: UInt8, code: UInt32) -> Stop {
        Stop(kind: .fault, vector: vector, hasErrorCode: true, errorCode: code)
    }

    static let divideError = fault(0)
    static let invalidOpcode = fault(6)
    static let deviceNotAvailable = fault(7)
    static let generalProtection = fault(13, code: 0)
    static func generalProtection(_ selector: UInt16) -> Stop { fault(13, code: UInt32(selector)) }
    static let stackFault = fault(12, code: 0)
}
