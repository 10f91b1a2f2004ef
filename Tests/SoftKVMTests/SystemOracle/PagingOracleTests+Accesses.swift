// Accesses that a walk of one page does not show: operands across two pages, and the processor's own reads of a descriptor
// table. Intel SDM vol. 3, 4.6.1 (implicit supervisor-mode accesses), 4.7 (error codes), 4.8 (accessed and dirty flags).

import KVMABI
import Testing

/// The entries of two neighbouring pages, `Layout.data` and the next, and what is above them.
private struct PagePair {
    let paging: Paging
    var leaves: [UInt64]

    init(_ paging: Paging, _ choices: inout Choices) {
        self.paging = paging
        leaves = []
        for page in [Layout.data, Layout.data + 0x1000] {
            var entry = page
            if !choices.one(in: 8) { entry |= 1 }
            if !choices.one(in: 4) { entry |= 2 }
            if !choices.one(in: 4) { entry |= 4 }
            entry |= choices.element(of: [0, 0x20, 0x60])
            leaves.append(entry)
        }
    }

    func place(_ number: Int) -> UInt64 { paging.place(0) + UInt64(number) * paging.entrySize }

    /// What the levels above say: everything is allowed, and accessed already.
    private var above: [UInt64] { [0x1_6027, 0x1_7027, 0x1_8027].prefix(paging.levels - 1).map { $0 } }

    func put(in setup: inout CaseSetup) {
        for (number, entry) in leaves.enumerated() { put(entry, at: place(number), in: &setup) }
        for (level, entry) in above.enumerated() { put(entry, at: paging.place(level + 1), in: &setup) }
    }

    private func put(_ entry: UInt64, at place: UInt64, in setup: inout CaseSetup) {
        if paging == .bits32 {
            setup.put(UInt32(truncatingIfNeeded: entry), at: place)
        } else {
            setup.put(entry, at: place)
        }
    }

    /// The error code of an access to one of them, or its entry after it.
    func walk(_ number: Int, _ access: PagedAccess, isUser: Bool, ac: Bool, _ setup: CaseSetup) -> (UInt32?, UInt64) {
        let special = setup.state.special
        let walk = Walk(
            paging: paging, entries: [leaves[number]] + above, access: access, isUser: isUser, cr0: special.cr0,
            cr4: special.cr4, efer: special.efer, ac: ac, reservedAddress: 0, gigabytePages: true)
        let outcome = walk.run()
        return (outcome.fault, outcome.entries[0])
    }
}

extension PagingOracleTests {
    private func setup(_ paging: Paging, cpl: Int, _ code: [UInt8], _ choices: inout Choices) -> CaseSetup {
        var setup = CaseSetup(paging.mode, cpl: cpl, code)
        setup.changesPageTables = true
        prepare(&setup, paging, cpl == 3)
        if choices.one(in: 2) { setup.state.special.cr0 |= 1 << 16 }
        if choices.one(in: 3) { setup.state.special.cr4 |= 1 << 21 }
        if choices.one(in: 2) { setup.state.general.rflags |= 1 << 18 }
        return setup
    }

    /// Both pages have to allow an operand that lies in both, and both are accessed, and dirty after a store.
    @Test(arguments: Paging.allCases)
    func acrossTwoPages(_ paging: Paging) throws {
        let sweep = try Sweep(
            "operands across two pages, \(paging)", long: paging == .fourLevel,
            notKernel: paging == .fourLevel ? nil : "this kind of /dev/kvm has no paging but that of IA-32e mode")
        var choices = Choices(state: 5)
        for _ in 0..<3000 {
            // mov ecx, [ebx]; mov [ebx], ecx; not dword [ebx]
            let code = choices.element(of: [[0x8B, 0x0B], [0x89, 0x0B], [0xF7, 0x13]] as [[UInt8]])
            let access: PagedAccess = code[0] == 0x8B ? .read : .write
            let cpl = choices.one(in: 2) ? 3 : 0
            var setup = setup(paging, cpl: cpl, code, &choices)
            // Where level 3 runs natively, the host has alignment checked.
            if cpl == 3 { setup.state.general.rflags &= ~(1 << 18) }
            let pair = PagePair(paging, &choices)
            pair.put(in: &setup)
            let inFirst = 1 + choices.next(3)
            let linear = paging.linear + 0x1000 - inFirst
            let physical = Layout.data + 0x1000 - inFirst
            setup.state.general.rbx = linear
            setup.state.general.rcx = 0x8765_4321
            setup.put(UInt32(0x1234_5678), at: physical)
            let ac = setup.state.general.rflags & 1 << 18 != 0
            let ends = [0, 1].map { pair.walk($0, access, isUser: cpl == 3, ac: ac, setup) }
            // Where both fault it is open which does; and what a failed access has marked: vol. 3, 4.8.
            if ends.allSatisfy({ $0.0 != nil }) { continue }
            let fault = ends.firstIndex { $0.0 != nil }
            if fault != nil { for number in 0..<2 { setup.openBits[pair.place(number)] = 0x60 } }
            let title = "\(code), CPL \(cpl), \(inFirst) in the first, \(pair.leaves.map { String($0, radix: 16) })"
            try sweep.check(setup, title) { (model: inout Model) throws(Fault) in
                if let fault {
                    throw Fault(vector: 14, code: ends[fault].0, cr2: fault == 0 ? linear : paging.linear + 0x1000)
                }
                for (number, end) in ends.enumerated() where end.1 != pair.leaves[number] {
                    model.write(pair.place(number), UInt8(end.1 & 0xFF))
                }
                switch code[0] {
                case 0x8B: model.state.general.rcx = 0x1234_5678
                case 0x89: model.write(physical, UInt32(0x8765_4321))
                default: model.write(physical, ~UInt32(0x1234_5678))
                }
            }
        }
        sweep.finish()
    }

    /// A descriptor is read as by the supervisor, at any level: U/S is clear in the error code, and SMAP holds whatever AC says.
    @Test(arguments: Paging.allCases)
    func descriptorTables(_ paging: Paging) throws {
        let sweep = try Sweep(
            "the page that the LDT lies in, \(paging)", long: paging == .fourLevel,
            notKernel: "level 3 of 64-bit mode runs natively, and there is no paging but that of IA-32e mode")
        var choices = Choices(state: 9)
        for _ in 0..<1500 {
            let cpl = Int(choices.next(4))
            // mov es, eax
            var setup = setup(paging, cpl: cpl, [0x8E, 0xC0], &choices)
            let pair = PagePair(paging, &choices)
            pair.put(in: &setup)
            let value = descriptor(access: 0xF3, flags: 0xC)
            setup.state.special.ldt.base = paging.linear
            setup.put(value, at: Layout.data + 8)
            let selector = UInt16(8 | 4 | cpl)
            setup.state.general.rax = UInt64(selector)
            let (fault, entry) = pair.walk(0, .read, isUser: false, ac: false, setup)
            if fault != nil { setup.openBits[pair.place(0)] = 0x20 }
            let linear = paging.linear + 8
            try sweep.check(setup, "CPL \(cpl), \(String(pair.leaves[0], radix: 16))") {
                (model: inout Model) throws(Fault) in
                if let fault { throw Fault(vector: 14, code: fault, cr2: linear) }
                if entry != pair.leaves[0] { model.write(pair.place(0), UInt8(entry & 0xFF)) }
                model.state.special.es = kvm_segment(selector, value)
            }
        }
        sweep.finish()
    }
}
