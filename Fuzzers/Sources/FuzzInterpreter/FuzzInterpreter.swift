import FuzzInput

/// The input is a processor's state and code. The code is executed instruction by instruction, then by blocks; both must end at
/// the same exit with the same registers and the same memory.
@c public func LLVMFuzzerTestOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    unsafe Comparison.shared.run([UInt8](UnsafeBufferPointer(start: data, count: size)))
    return 0
}

@c public func LLVMFuzzerInitialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    writeSeeds { GuestState.seeds }
    return 0
}
