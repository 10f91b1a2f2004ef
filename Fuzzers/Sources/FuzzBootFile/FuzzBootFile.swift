import FuzzInput
import VMM

/// The input is how to boot, then a kernel file. A file that is taken must lie in memory as the protocol has it.
@c public func LLVMFuzzerTestOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    var input = unsafe FuzzInput(data, size)
    BootCase(&input).run(kernel: Array(input.rest))
    return 0
}

@c public func LLVMFuzzerInitialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    writeSeeds { BootCase.seeds }
    return 0
}
