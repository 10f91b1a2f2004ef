// Products of 64-bit numbers over a 64-bit number, exact and without overflow.

/// `value * numerator / denominator`, rounded down; saturates at `UInt64.max`, and does so for a zero denominator.
package func scaled(_ value: UInt64, by numerator: UInt64, over denominator: UInt64) -> UInt64 {
    let product = value.multipliedFullWidth(by: numerator)
    guard product.high < denominator else { return .max }
    return denominator.dividingFullWidth(product).quotient
}

/// `a + b`, saturating.
package func saturatingSum(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let (sum, overflow) = a.addingReportingOverflow(b)
    return overflow ? .max : sum
}
