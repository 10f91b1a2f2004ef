import X86

/// What is looked at in every access while the view is `.watched`.
extension CPU {
    /// Alignment checks and data breakpoints, while the view is `.watched`. Intel SDM vol. 3, 6.15 (#AC) and 17.2.
    func watch(_ linear: UInt64, size: Int, _ access: MemoryAccess, _ segment: SegmentName) throws(Stop) {
        guard unsafe state.tlb == processor.tlb.entries(.watched) else { return }
        try checkAlignment(linear, size: size, segment)
        processor.noteDataBreakpoints(linear, size: size, isWrite: access == .write)
    }

    /// #AC for a user's operand that isn't aligned to its size: ten bytes to eight, YMM registers to sixteen; larger images look
    /// after themselves.
    /// An address that isn't canonical comes first. Intel SDM vol. 3, table 6-7.
    func checkAlignment(_ linear: UInt64, size: Int, _ segment: SegmentName) throws(Stop) {
        guard state.cpl == 3, state.cr0 & CR0.AM.rawValue != 0, state.systemFlags & RFLAGS.AC.rawValue != 0,
            !processor.underWay.isExemptFromAlignment
        else { return }
        let alignment = size == 10 ? 8 : size == 32 ? 16 : size
        guard alignment <= 16, alignment & (alignment - 1) == 0, linear & UInt64(alignment - 1) != 0 else { return }
        if isLongMode { try checkCanonical(linear, size: size, segment) }
        throw .fault(Exception.alignmentCheck.vector, code: 0)
    }
}
