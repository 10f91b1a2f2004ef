// Structures tried bit by bit: what is refused, what is ignored, what is kept.

import KVMABI
import Testing

/// What a hypervisor makes of one bit.
enum BitOutcome: Hashable, CustomStringConvertible {
    case refused(Errno)
    case accepted
    /// Accepted, and read back as it was set; or as if it had not been.
    case kept
    case ignored

    var description: String {
        switch self {
        case .refused(let error): error.name
        case .accepted: "accepted"
        case .kept: "kept"
        case .ignored: "ignored"
        }
    }
}

/// One request whose structure is tried.
struct ReservedTrial: Sendable, CustomTestStringConvertible {
    let request: Request
    /// What tells it from others of the same request, or "".
    var variant = ""
    /// The structures that the argument is made of, each with what comes before its fields' names.
    let parts: [(prefix: String, layout: StructureLayout, offset: Int)]
    /// Fields that are not tried, nor compared: they may hold anything, or say where other memory is.
    var values: Set<String> = []
    /// The same for what is this process's own: descriptors and addresses.
    var places: Set<String> = []
    /// The request that reads what this one sets.
    var reads: Request?
    /// Takes back what setting the former state again leaves.
    var undo: @Sendable (ReservedBench) throws -> Void = { _ in }
    var chips = ReservedBench.Chips.all
    let handle: @Sendable (ReservedBench) -> Handle
    /// A structure that is accepted.
    let base: @Sendable (ReservedBench) throws -> [UInt8]

    var name: String { variant.isEmpty ? request.name : "\(request.name), \(variant)" }
    var testDescription: String { name }

    /// The fields that are tried, with the bytes of each.
    var fields: [(name: String, range: Range<Int>)] {
        everyField.filter { !values.contains($0.name) && !places.contains($0.name) && !$0.range.isEmpty }
    }

    private var everyField: [(name: String, range: Range<Int>)] {
        parts.flatMap { part in
            part.layout.extents.flatMap { extent in
                ReservedTrial.inner(extent).map { (part.prefix + $0.name, $0.range.shifted(by: part.offset)) }
            }
        }
    }

    /// A field that is a structure itself, by its own fields.
    private static func inner(_ field: (name: String, range: Range<Int>)) -> [(name: String, range: Range<Int>)] {
        let structures = ["gdt": "kvm_dtable", "idt": "kvm_dtable"]
        let segments = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"]
        let structure = structures[field.name] ?? (segments.contains(field.name) ? "kvm_segment" : nil)
        guard let structure, let layout = StructureLayout[structure] else { return [field] }
        return layout.extents.map { ("\(field.name).\($0.name)", $0.range.shifted(by: field.range.lowerBound)) }
    }

    // MARK: Trying

    /// What becomes of each bit of each field, one at a time, in the order of `fields`.
    func outcomes(on makeEndpoint: () throws -> any Endpoint) throws -> [(field: String, bits: [BitOutcome])] {
        let endpoint = try makeEndpoint()
        var bench = try ReservedBench(endpoint, chips)
        var refused: [[UInt8]] = []
        let outcomes = try fields.map { field in
            (
                field.name,
                try field.range.flatMap { byte in
                    try (0..<8).map { bit in
                        let base = try base(bench)
                        var tried = base
                        tried[byte] ^= 1 << UInt8(bit)
                        let outcome = try outcome(tried, base, bench)
                        if case .refused = outcome {
                            if reads == nil { refused.append(tried) }
                        } else if reads == nil {
                            bench = try ReservedBench(endpoint, chips)
                        }
                        return outcome
                    }
                }
            )
        }
        try expectNothingChanged(by: refused, endpoint)
        return outcomes
    }

    private func outcome(_ tried: [UInt8], _ base: [UInt8], _ bench: ReservedBench) throws -> BitOutcome {
        let handle = handle(bench)
        do {
            try bench.call(handle, request, tried)
        } catch let error as Errno {
            if let reads {
                let back = comparable(try bench.call(handle, reads, base))
                #expect(back == comparable(base), "\(name): refused, yet changed")
            }
            return .refused(error)
        }
        guard let reads else { return .accepted }
        let back = comparable(try bench.call(handle, reads, base))
        try bench.call(handle, request, base)
        try undo(bench)
        return back == comparable(tried) ? .kept : back == comparable(base) ? .ignored : .accepted
    }

    /// A structure without the fields that change by themselves.
    private func comparable(_ structure: [UInt8]) -> [UInt8] {
        var structure = structure
        for field in everyField where values.contains(field.name) {
            for byte in field.range { structure[byte] = 0 }
        }
        return structure
    }

    /// What was refused has left no trace: the structure that is right is accepted as on a new machine.
    private func expectNothingChanged(by refused: [[UInt8]], _ endpoint: any Endpoint) throws {
        guard !refused.isEmpty else { return }
        let bench = try ReservedBench(endpoint, chips)
        let base = try base(bench)
        for tried in refused {
            var tried = tried
            for field in placeRanges { tried.replaceSubrange(field, with: base[field]) }
            #expect(throws: Errno.self, "\(name)") { try bench.call(handle(bench), request, tried) }
        }
        #expect(throws: Never.self, "\(name): refused, yet changed") { try bench.call(handle(bench), request, base) }
    }

    private var placeRanges: [Range<Int>] {
        everyField.filter { places.contains($0.name) }.map(\.range)
    }
}

extension Range<Int> {
    fileprivate func shifted(by offset: Int) -> Range<Int> { lowerBound + offset..<upperBound + offset }
}

/// Bits by what becomes of them: "0–2 accepted, 3–31 EINVAL".
func summary(_ bits: [BitOutcome]) -> String {
    var runs: [(first: Int, outcome: BitOutcome)] = []
    for (bit, outcome) in bits.enumerated() where runs.last?.outcome != outcome { runs.append((bit, outcome)) }
    if runs.count == 1 { return "\(runs[0].outcome)" }
    return runs.enumerated().map { index, run in
        let last = (index + 1 < runs.count ? runs[index + 1].first : bits.count) - 1
        return run.first == last ? "\(last) \(run.outcome)" : "\(run.first)–\(last) \(run.outcome)"
    }.joined(separator: ", ")
}
