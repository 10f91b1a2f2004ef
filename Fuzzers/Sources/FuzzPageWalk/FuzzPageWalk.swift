import FuzzInput

/// The input is a paging mode, entries of paging structures, and accesses; every access must have the outcome that the reference
/// has for it, and leave the same bytes in memory.
@c public func LLVMFuzzerTestOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    var paging = unsafe PagingCase(FuzzInput(data, size))
    paging.run()
    return 0
}

@c public func LLVMFuzzerInitialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    writeSeeds { PagingCase.seeds }
    return 0
}
