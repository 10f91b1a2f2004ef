import X86

/// From an offset in a segment to a linear address, and what is asked of linear addresses before paging.
/// Intel SDM vol. 3, 3.3, 3.4 and 5.3.
extension CPU {
    /// The linear address of `offset` in a segment, with the checks of every mode but 64-bit.
    /// Intel SDM vol. 3, 5.3 and 5.5; violations are #SS(0) for SS and #GP(0) for the others.
    func checkedLinear(_ name: SegmentName, offset: UInt64, size: Int, _ access: MemoryAccess) throws(Stop) -> UInt64 {
        let segment = self[segment: name]
        if state.codeMode.codeSize == 8 {
            return name == .fs || name == .gs ? offset &+ segment.base : offset
        }
        let violation = name == .ss ? Stop.stackFault : Stop.generalProtection
        let attributes = segment.attributes
        // Present, usable, code or data.
        guard attributes & 0x190 == 0x90 else { throw violation }
        let type = attributes & 15
        if type & 8 != 0 {
            // Code: not writable but in real mode; readable by its R bit.
            guard access != .write || state.codeMode.contains(.realOrV86), access == .execute || type & 2 != 0 else {
                throw violation
            }
        } else if access == .write {
            guard type & 2 != 0 else { throw violation }
        }
        let last = offset &+ UInt64(truncatingIfNeeded: size &- 1)
        if type & 0xC == 4 {
            // Expand-down: valid offsets are above the limit.
            let top: UInt64 = attributes & 0x4000 != 0 ? 0xFFFF_FFFF : 0xFFFF
            guard offset > UInt64(segment.limit), last <= top else { throw violation }
        } else {
            guard last <= UInt64(segment.limit) else { throw violation }
        }
        return (segment.base &+ offset) & 0xFFFF_FFFF
    }

    /// #SS or #GP for an operand that isn't all canonical in 64-bit mode, or reaches beyond 4 GiB in a flat segment of other
    /// modes: before any of its pages is looked at.
    @inline(__always) func checkCanonical(_ linear: UInt64, size: Int = 1, _ segment: SegmentName) throws(Stop) {
        let last = linear &+ UInt64(truncatingIfNeeded: size &- 1)
        if state.codeMode.codeSize == 8 {
            if CPU.isCanonical(linear), CPU.isCanonical(last) { return }
        } else {
            if linear > 0xFFFF_FFFF || last <= 0xFFFF_FFFF || self[segment: segment].base != 0 { return }
            // The processor's own accesses to tables and stacks wrap; what limits them is checked where they are made.
            if processor.underWay.actsAsSupervisor { return }
        }
        throw segment == .ss ? .stackFault : .generalProtection
    }

    /// Outside of 64-bit mode linear addresses have 32 bits.
    @inline(__always) func wrapped(_ linear: UInt64) -> UInt64 {
        state.codeMode.codeSize == 8 ? linear : isLongMode ? linear : linear & 0xFFFF_FFFF
    }

    /// Where an access that crosses a page goes on, once it is known to be allowed as a whole: in compatibility mode, as in the
    /// others of 32 bits, addresses wrap, but a stack or a table of 64 bits may be reached from there. Intel SDM vol. 1,
    /// 3.3.7.1; vol. 3, 5.3.1.
    func following(_ linear: UInt64, _ count: Int) -> UInt64 {
        let next = linear &+ UInt64(count)
        return state.codeMode.codeSize != 8 && linear >> 32 == 0 ? next & 0xFFFF_FFFF : next
    }
}
