/// The handlers of the binary operations: a C function can't be made from a generic one, so each operation, form and
/// width is a closure that calls the generic body of `Interpreter+Arithmetic.swift`.
extension Interpreter {
    static let add = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), Add.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), Add.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), Add.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), Add.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), Add.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), Add.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), Add.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), Add.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), Add.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), Add.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), Add.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), Add.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), Add.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), Add.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), Add.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), Add.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), Add.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), Add.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), Add.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), Add.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), Add.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), Add.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), Add.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), Add.self, UInt64.self) }))

    static let adc = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), AddWithCarry.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), AddWithCarry.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), AddWithCarry.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), AddWithCarry.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), AddWithCarry.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), AddWithCarry.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), AddWithCarry.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), AddWithCarry.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), AddWithCarry.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), AddWithCarry.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), AddWithCarry.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), AddWithCarry.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), AddWithCarry.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), AddWithCarry.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), AddWithCarry.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), AddWithCarry.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), AddWithCarry.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), AddWithCarry.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), AddWithCarry.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), AddWithCarry.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), AddWithCarry.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), AddWithCarry.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), AddWithCarry.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), AddWithCarry.self, UInt64.self) }))

    static let sub = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), Subtract.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), Subtract.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), Subtract.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), Subtract.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), Subtract.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), Subtract.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), Subtract.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), Subtract.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), Subtract.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), Subtract.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), Subtract.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), Subtract.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), Subtract.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), Subtract.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), Subtract.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), Subtract.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), Subtract.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), Subtract.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), Subtract.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), Subtract.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), Subtract.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), Subtract.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), Subtract.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), Subtract.self, UInt64.self) }))

    static let sbb = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), SubtractWithBorrow.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), SubtractWithBorrow.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), SubtractWithBorrow.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), SubtractWithBorrow.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), SubtractWithBorrow.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), SubtractWithBorrow.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), SubtractWithBorrow.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), SubtractWithBorrow.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), SubtractWithBorrow.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), SubtractWithBorrow.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), SubtractWithBorrow.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), SubtractWithBorrow.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), SubtractWithBorrow.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), SubtractWithBorrow.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), SubtractWithBorrow.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), SubtractWithBorrow.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), SubtractWithBorrow.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), SubtractWithBorrow.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), SubtractWithBorrow.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), SubtractWithBorrow.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), SubtractWithBorrow.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), SubtractWithBorrow.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), SubtractWithBorrow.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), SubtractWithBorrow.self, UInt64.self) }))

    static let cmp = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), Compare.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), Compare.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), Compare.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), Compare.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), Compare.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), Compare.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), Compare.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), Compare.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), Compare.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), Compare.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), Compare.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), Compare.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), Compare.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), Compare.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), Compare.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), Compare.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), Compare.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), Compare.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), Compare.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), Compare.self, UInt64.self) }))

    static let and = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), And.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), And.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), And.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), And.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), And.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), And.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), And.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), And.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), And.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), And.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), And.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), And.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), And.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), And.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), And.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), And.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), And.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), And.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), And.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), And.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), And.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), And.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), And.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), And.self, UInt64.self) }))

    static let or = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), Or.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), Or.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), Or.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), Or.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), Or.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), Or.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), Or.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), Or.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), Or.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), Or.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), Or.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), Or.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), Or.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), Or.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), Or.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), Or.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), Or.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), Or.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), Or.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), Or.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), Or.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), Or.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), Or.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), Or.self, UInt64.self) }))

    static let xor = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), Xor.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), Xor.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), Xor.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), Xor.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), Xor.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), Xor.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), Xor.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), Xor.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), Xor.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), Xor.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), Xor.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), Xor.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), Xor.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), Xor.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), Xor.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), Xor.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), Xor.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), Xor.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), Xor.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), Xor.self, UInt64.self) }),
        locked: Widths(
            byte: { CPU($0).locked(OpCursor($1), Xor.self, UInt8.self) },
            word: { CPU($0).locked(OpCursor($1), Xor.self, UInt16.self) },
            long: { CPU($0).locked(OpCursor($1), Xor.self, UInt32.self) },
            quad: { CPU($0).locked(OpCursor($1), Xor.self, UInt64.self) }))

    static let test = BinaryForms(
        rr: Widths(
            byte: { CPU($0).rr(OpCursor($1), Test.self, UInt8.self) },
            word: { CPU($0).rr(OpCursor($1), Test.self, UInt16.self) },
            long: { CPU($0).rr(OpCursor($1), Test.self, UInt32.self) },
            quad: { CPU($0).rr(OpCursor($1), Test.self, UInt64.self) }),
        ri: Widths(
            byte: { CPU($0).ri(OpCursor($1), Test.self, UInt8.self) },
            word: { CPU($0).ri(OpCursor($1), Test.self, UInt16.self) },
            long: { CPU($0).ri(OpCursor($1), Test.self, UInt32.self) },
            quad: { CPU($0).ri(OpCursor($1), Test.self, UInt64.self) }),
        rm: Widths(
            byte: { CPU($0).rm(OpCursor($1), Test.self, UInt8.self) },
            word: { CPU($0).rm(OpCursor($1), Test.self, UInt16.self) },
            long: { CPU($0).rm(OpCursor($1), Test.self, UInt32.self) },
            quad: { CPU($0).rm(OpCursor($1), Test.self, UInt64.self) }),
        mr: Widths(
            byte: { CPU($0).mr(OpCursor($1), Test.self, UInt8.self) },
            word: { CPU($0).mr(OpCursor($1), Test.self, UInt16.self) },
            long: { CPU($0).mr(OpCursor($1), Test.self, UInt32.self) },
            quad: { CPU($0).mr(OpCursor($1), Test.self, UInt64.self) }),
        mi: Widths(
            byte: { CPU($0).mi(OpCursor($1), Test.self, UInt8.self) },
            word: { CPU($0).mi(OpCursor($1), Test.self, UInt16.self) },
            long: { CPU($0).mi(OpCursor($1), Test.self, UInt32.self) },
            quad: { CPU($0).mi(OpCursor($1), Test.self, UInt64.self) }))
}
