/// CPUID features that rows of the opcode table belong to; an executor refuses (#UD) rows whose feature it doesn't offer.
///
/// Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
public enum Feature: UInt8, CaseIterable, Sendable {
    case fpu, tsc, msr, cx8, sep, cmov, clflush, mmx, fxsr, sse, sse2
    case sse3, pclmulqdq, ssse3, fma, cx16, sse4_1, sse4_2, movbe, popcnt, aes, xsave, avx, f16c, rdrand
    case fsgsbase, bmi1, avx2, bmi2, invpcid, rdseed, adx, smap, clflushopt, clwb, sha, rdpid, pku, vaes, vpclmulqdq
    case xsaveopt, xsavec, xsaves
    case lahf, lzcnt, prefetchw, syscall, rdtscp
}

/// A set of features.
public struct Features: OptionSet, Sendable, Hashable {
    public let rawValue: UInt64
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable public init(_ feature: Feature) { rawValue = 1 << UInt64(feature.rawValue) }
    /// Every feature that a row can name.
    public static let all = Features(rawValue: (1 << UInt64(Feature.allCases.count)) - 1)

    @inlinable public func contains(_ feature: Feature) -> Bool { rawValue >> UInt64(feature.rawValue) & 1 != 0 }
    /// Whether a row may be executed: true of rows without a feature.
    @inlinable public func permits(_ feature: Feature?) -> Bool {
        guard let feature else { return true }
        return contains(feature)
    }
}

/// Whose processor the guest thinks that it has, for behaviour that differs.
public enum Vendor: UInt8, Sendable {
    case intel, amd
}
