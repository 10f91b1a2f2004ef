// Requests in words: what a client handed over and what it got, field by field where a field is not zero.

internal import Glibc
internal import KVMABI

/// The argument of a request as text.
enum RequestDescription {
    /// What goes in, in parentheses.
    static func question(_ request: Request, _ argument: UInt) -> String {
        if request == .checkExtension, let number = UInt32(exactly: argument) {
            return "(\(Capability(rawValue: number).name))"
        }
        guard request.takesAddress else { return argument == 0 ? "()" : "(\(hex(UInt64(argument))))" }
        // The direction of KVM_SET_IRQCHIP and others is the wrong way round: what is set is shown, whatever it says.
        let isRead = request.direction == .read && !request.name.contains("_SET_")
        return isRead ? "(\(hex(UInt64(argument))))" : "(\(contents(request, argument)))"
    }

    /// What came back, behind the result.
    static func reply(_ request: Request, _ argument: UInt) -> String {
        guard request.takesAddress, request.direction.contains(.read), !request.name.contains("_SET_") else {
            return ""
        }
        return " \(contents(request, argument))"
    }

    private static func contents(_ request: Request, _ argument: UInt) -> String {
        guard argument != 0 else { return "null" }
        guard let bytes = copy(argument, request.size) else { return "\(hex(UInt64(argument))): not memory" }
        guard let layout = request.structure else {
            return hex(integer(bytes, 0..<min(8, bytes.count)))
        }
        return fields(of: layout, bytes) + tail(request, argument, bytes)
    }

    /// The fields that are not zero.
    static func fields(of layout: StructureLayout, _ bytes: [UInt8], named: (String) -> String? = { $0 }) -> String {
        var words: [String] = []
        for extent in layout.extents {
            guard let name = named(extent.name) else { continue }
            let range = extent.range.clamped(to: 0..<bytes.count)
            guard bytes[range].contains(where: { $0 != 0 }) else { continue }
            words.append("\(name)=\(value(name, bytes, range))")
        }
        return "{\(words.joined(separator: " "))}"
    }

    private static func value(_ name: String, _ bytes: [UInt8], _ range: Range<Int>) -> String {
        if range.count <= 8 { return hex(integer(bytes, range)) }
        if let part = parts[name], let layout = StructureLayout[part] { return fields(of: layout, Array(bytes[range])) }
        let shown = bytes[range].prefix(24).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return shown + (range.count > 24 ? "… (\(range.count) bytes)" : "")
    }

    /// Fields that are structures themselves.
    private static let parts: [String: String] = {
        let segments = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"].map { ($0, "kvm_segment") }
        return Dictionary(uniqueKeysWithValues: segments + [("gdt", "kvm_dtable"), ("idt", "kvm_dtable")])
    }()

    /// The entries behind a structure of variable length: the MSRs with their values, else how many there are.
    private static func tail(_ request: Request, _ argument: UInt, _ bytes: [UInt8]) -> String {
        guard request == .getMSRS || request == .setMSRS else { return "" }
        let count = Int(min(integer(bytes, 0..<4), 64))
        guard count > 0, let entries = copy(argument &+ 8, count * 16) else { return "" }
        let words = (0..<count).map { index in
            hex(integer(entries, index * 16..<index * 16 + 4)) + "="
                + hex(integer(entries, index * 16 + 8..<index * 16 + 16))
        }
        return " [\(words.joined(separator: " "))]"
    }

    // MARK: Exits

    /// Why a run ended, from the first page of the vCPU's area.
    static func exit(_ area: [UInt8]) -> String {
        guard let reason = StructureLayout.offset("kvm_run", "exit_reason"), let layout = StructureLayout["kvm_run"],
            area.count >= layout.size
        else { return "" }
        let number = ExitReason(rawValue: UInt32(truncatingIfNeeded: integer(area, reason..<reason + 4)))
        let members: [UInt32: String] = [
            0: "hw", 1: "ex", 2: "io", 3: "hypercall", 4: "debug", 6: "mmio", 9: "fail_entry", 12: "tpr_access",
            17: "internal", 24: "system_event", 26: "eoi", 27: "hyperv", 29: "msr", 30: "msr", 34: "xen", 37: "notify",
        ]
        guard let member = members[number.rawValue] else { return " \(number.name)" }
        let parts = layout.fields.filter { $0.name.hasPrefix("\(member).") }
        // The union is 256 bytes; no field of an exit but these is longer than 8.
        let long = ["internal.data", "hypercall.args", "system_event.data", "debug.arch"]
        let end = parts.last.map { long.contains($0.name) ? 288 : $0.offset + 8 } ?? 288
        let payload = StructureLayout(name: member, size: end, fields: parts)
        let text = fields(of: payload, area) { String($0.dropFirst(member.count + 1)) }
        return " \(number.name) \(text)"
    }

    // MARK: Bytes

    private static func integer(_ bytes: [UInt8], _ range: Range<Int>) -> UInt64 {
        bytes[range].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    static func hex(_ value: UInt64) -> String { value < 10 ? "\(value)" : "0x\(String(value, radix: 16))" }

    /// The client's memory, which need not be there.
    private static func copy(_ address: UInt, _ count: Int) -> [UInt8]? {
        try? ClientArgument(address).loadBytes(count)
    }
}
