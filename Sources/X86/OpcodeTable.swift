/// The opcode table: every encoding that Martlet knows, as text that is parsed once.
///
/// A row is `encoding | mnemonic | operands | attributes`. `#` opens a comment; `@` gives the class and the attributes that
/// rows after it start from (an attribute of the row replaces one of the same kind).
///
/// **Encoding**: an optional mandatory prefix (`NP 66 F3 F2`, `NFx`: 66 allowed but not F2 and F3), the opcode's bytes, then
/// `/r` or `/0`…`/7` for a ModRM byte, `:C8` for a fixed one, `mem` or `reg` for what it must name, `W0`/`W1`, `noB` (no REX.B),
/// `+r` and `+c` on an opcode whose low 3 or 4 bits are a register or a condition.
/// VEX forms open with `VEX.L.prefix.map.W` (L: 128, 256, Lx for both, LIG for ignored). Rows without an operand in VEX.vvvv
/// demand 1111 there.
///
/// **Operands** are the manuals' letters (`OperandForm.Kind`; signed byte immediates are `Is`; `sw` is a segment register as
/// destination) with sizes (`OperandForm.SizeCode`); `/` adds another size for memory. The first operand is written, the others
/// are read, unless `!` (read and written), `:` (read) or `=` (written) stands before.
///
/// **Attributes**: `w=`, `r=`, `u=` flags written, read, left undefined (o s z a p c d i t, n for NT, v for VM and RF); `may`:
/// flags may be kept; `lock`; `d64`, `f64`: default and forced 64-bit operand size; `i64`, `o64`, `prot`: invalid in 64-bit
/// mode, only there, not in real and v86 mode; `cpl0`, `cpl0ud`, `iopl`, `cr4`: privilege (`Privilege`); `br`, `cond`, `end`, `seg`:
/// branch, conditional one, block boundary, that by segment (`Flow`); `mem`, `nomem`: implicit memory, none (`MemoryUse`); `x4`:
/// exception type; `unal`: may be unaligned; `vsib`; `#class`; `v=`: vendor difference; else a CPUID feature, with `+` another for
/// 256 bits (`avx+2` for AVX2).
///
/// Intel SDM vol. 2 (chapters 3–5, appendix A and B); AMD APM vol. 3–5.
public enum OpcodeTable {
    /// Every row; `Instruction.row` is an index here.
    public static let rows: [OpcodeRow] = {
        var rows: [OpcodeRow] = []
        rows.reserveCapacity(1400)
        let mnemonics = Dictionary(uniqueKeysWithValues: Mnemonic.allCases.map { ($0.rawValue, $0) })
        let features = Dictionary(uniqueKeysWithValues: Feature.allCases.map { (String(describing: $0), $0) })
        for text in [textInteger, textSystem, textX87, textSSE, textVEX] {
            var parser = OpcodeRowParser(text, mnemonics: mnemonics, features: features)
            while let row = parser.next() { rows.append(row) }
            precondition(parser.mistakes.isEmpty, "opcode table: \(parser.mistakes[0])")
        }
        return rows
    }()

    /// The rows where they are found at once.
    @usableFromInline static let published = PublishedRows(rows)

    /// SAFETY: allocated once, filled before they are published, never freed or written again; indices are below the count.
    @usableFromInline @safe struct PublishedRows: Sendable {
        @usableFromInline nonisolated(unsafe) let rows: UnsafePointer<OpcodeRow>
        @usableFromInline let count: Int

        init(_ table: [OpcodeRow]) {
            let memory = UnsafeMutablePointer<OpcodeRow>.allocate(capacity: table.count)
            for (index, row) in table.enumerated() { unsafe (memory + index).initialize(to: row) }
            unsafe rows = UnsafePointer(memory)
            count = table.count
        }

        /// A row; that of no instruction beyond them.
        @inlinable subscript(index: UInt16) -> OpcodeRow {
            Int(index) < count ? unsafe rows[Int(index)] : OpcodeRow()
        }
    }
}
