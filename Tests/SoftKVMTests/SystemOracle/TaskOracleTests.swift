// Task switches by JMP, CALL, IRET, INT n and exceptions, through task gates and without, to 16-bit and 32-bit TSSs: which are
// refused, what is saved, and what a bad segment in the new TSS comes to. Intel SDM vol. 3, 7.2 to 7.4.

import KVMABI
import TestLimits
import Testing

@Suite(.within(minutes: 20, long: 120)) struct TaskOracleTests {
    /// How the switch comes about.
    private enum Way: CaseIterable { case jump, call, gateJump, gateCall, int, exception, iret }

    /// The new task.
    private struct NewTask {
        var isWide = true
        var level = 3
        var access: UInt64 = 0x89
        var limit: UInt64 = 0x8F
        var eip = Layout.target
        var flags: UInt64 = 0x3002
        var ldt: UInt16 = 0
        /// ES, CS, SS, DS, FS, GS.
        var selectors: [UInt16]

        init(level: Int) {
            self.level = level
            let data = Selectors.data32[level]
            selectors = [data, Selectors.code32[level], data, data, data, data]
        }
    }

    private func put(_ task: NewTask, _ setup: inout CaseSetup) {
        let base = task.isWide ? Layout.otherTask : Layout.otherTask16
        setup.putDescriptor(Selectors.slot, descriptor(base: base, limit: task.limit, access: task.access, flags: 0))
        func word(_ value: UInt64, _ wide: UInt64, _ narrow: UInt64) {
            if task.isWide {
                setup.put(UInt32(truncatingIfNeeded: value), at: base + wide)
            } else {
                setup.put(UInt16(truncatingIfNeeded: value), at: base + narrow)
            }
        }
        word(task.eip, 0x20, 0x0E)
        word(task.flags, 0x24, 0x10)
        for register in UInt64(0)..<8 {
            let value = register == 4 ? Layout.stacks[task.level] - 0x40 : 0x1100 * (register + 1)
            word(value, 0x28 + register * 4, 0x12 + register * 2)
        }
        for (place, selector) in task.selectors.enumerated() where task.isWide || place < 4 {
            word(UInt64(selector), 0x48 + UInt64(place) * 4, 0x22 + UInt64(place) * 2)
        }
        word(UInt64(task.ldt), 0x60, 0x2A)
        // The stack of level 0.
        word(Layout.stacks[0] - 0x400, 4, 2)
        word(UInt64(Selectors.data32[0]), 8, 4)
        if task.isWide { setup.put(UInt16(0x68), at: base + 0x66) }
    }

    private func run(
        _ sweep: Sweep, _ way: Way, _ task: NewTask, cpl: Int = 0, rpl: UInt16 = 0, title: String,
        _ change: (inout CaseSetup) -> Void = { _ in }
    ) throws {
        var task = task
        let isBusy = way == .iret
        if isBusy, task.access & 0x17 == 1 { task.access |= 2 }
        if !task.isWide {
            task.access &= ~8
            // The upper halves of registers are ones then: an error code needs a 16-bit stack.
            if way == .exception {
                guard task.level % 3 == 0 else { return }
                task.selectors[2] = Selectors.data16[task.level]
            }
        }
        let tss = Selectors.slot | rpl
        let gateSelector = Selectors.slot2 | rpl
        var setup: CaseSetup
        switch way {
        case .jump, .call: setup = FarTransferOracleTests.setup(.protected32, cpl: cpl, tss, call: way == .call)
        case .gateJump, .gateCall:
            setup = FarTransferOracleTests.setup(.protected32, cpl: cpl, gateSelector, call: way == .gateCall)
        case .int: setup = CaseSetup(.protected32, cpl: cpl, [0xCD, 0x40])
        case .exception: setup = CaseSetup(.protected32, cpl: cpl, [0x8E, 0xD8])
        case .iret:
            setup = CaseSetup(.protected32, cpl: cpl, [0xCF])
            setup.state.general.rflags |= 0x4000
            setup.put(tss, at: Layout.task)
        }
        setup.state.general.rax = 0x3F8
        setup.state.general.rbx = 0x1234_5678
        setup.state.general.rflags |= 0x8C5
        setup.state.debug.dr7 |= 0x300
        put(task, &setup)
        setup.putDescriptor(gateSelector, gate(tss, 0, access: 0xE5))
        if way == .int || way == .exception {
            setup.put(gate(tss, 0, access: 0xE5), at: Layout.idt + (way == .int ? 0x40 : 13) * 8)
        }
        change(&setup)
        try sweep.check(setup, "\(way), CPL \(cpl), RPL \(rpl), \(title)") { (model: inout Model) throws(Fault) in
            let next = model.state.general.rip
            switch way {
            case .jump, .call: try model.farTransfer(tss, Layout.target, call: way == .call ? 4 : nil)
            case .gateJump, .gateCall:
                try model.farTransfer(gateSelector, Layout.target, call: way == .gateCall ? 4 : nil)
            case .int: try model.deliver(0x40, code: nil, source: .software, next: next)
            case .exception: throw .gp(0x3F8)
            case .iret: try model.iret(4)
            }
        }
    }

    @Test func toEveryKindOfTSS() throws {
        let sweep = try Sweep("task switches to each kind of TSS", long: false)
        for way in Way.allCases {
            for access in UInt64(0)..<256 where access & 0x10 == 0 {
                for cpl in [0, 3] {
                    for rpl in [UInt16(0), 3] where way != .iret || rpl == 0 {
                        // A fault of its own gate would come back for ever.
                        if way == .exception, access & 0x87 != 0x81 { continue }
                        // A task gate in a task gate's place, or a call gate.
                        if way == .jump || way == .call, [4, 5, 12].contains(access & 15) { continue }
                        var task = NewTask(level: 3)
                        task.access = access
                        task.isWide = access & 8 != 0
                        if way == .iret, access & 7 == 1 { continue }
                        try run(sweep, way, task, cpl: cpl, rpl: rpl, title: "access \(String(access, radix: 16))")
                    }
                }
            }
            for limit in [UInt64(0x2A), 0x2B, 0x66, 0x67, 0] where way != .exception {
                for isWide in [false, true] {
                    var task = NewTask(level: 0)
                    task.limit = limit
                    task.isWide = isWide
                    try run(sweep, way, task, title: "32-bit \(isWide), limit \(limit)")
                }
            }
        }
        sweep.finish()
    }

    @Test func newTasks() throws {
        let sweep = try Sweep("what a TSS holds", long: false)
        for way in Way.allCases {
            for isWide in [false, true] {
                for level in 0..<4 {
                    for flags in [UInt64(0x3002), 0x7CD7, 0x24_3202] {
                        var task = NewTask(level: level)
                        task.isWide = isWide
                        task.flags = flags
                        for ldt in [UInt16(0), Selectors.ldt, Selectors.ldt | 3] {
                            task.ldt = ldt
                            try run(
                                sweep, way, task, title: "level \(level), flags \(String(flags, radix: 16)), LDT \(ldt)"
                            )
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    /// One selector of the new TSS is bad, in every way. The new task's level is 3, so that its handlers have a stack.
    @Test func badSegments() throws {
        let sweep = try Sweep("bad segments in a TSS", long: false)
        for way in Way.allCases where way != .exception {
            for isWide in [false, true] {
                for place in 0..<6 where isWide || place < 4 {
                    for access in UInt64(0)..<256 {
                        var task = NewTask(level: 3)
                        task.isWide = isWide
                        task.selectors[place] = Selectors.slot3 | 3
                        try run(sweep, way, task, title: "segment \(place)") { setup in
                            setup.putDescriptor(Selectors.slot3, descriptor(access: access, flags: 0xC))
                        }
                    }
                    for selector in [UInt16(3), 7, Selectors.limit + 4, Selectors.data32[0], Selectors.code32[0]] {
                        var task = NewTask(level: 3)
                        task.isWide = isWide
                        // CS's RPL makes the level.
                        task.selectors[place] = selector | 3
                        try run(sweep, way, task, title: "segment \(place) \(selector)")
                    }
                }
                for ldt in [UInt16(4), Selectors.limit + 1, Selectors.task, Selectors.data32[0]] {
                    var task = NewTask(level: 3)
                    task.isWide = isWide
                    task.ldt = ldt
                    try run(sweep, way, task, title: "LDT \(ldt)")
                }
            }
        }
        sweep.finish()
    }

    /// The T bit of a 32-bit TSS, from every place that a 16-bit one has none at.
    @Test func trapBit() throws {
        let sweep = try Sweep("the T bit of a TSS", long: false)
        for way in Way.allCases where way != .exception {
            for isWide in [false, true] {
                for level in 0..<4 {
                    for (dr6, dr7) in [
                        (UInt64(0xFFFF_0FF0), UInt64(0x400)), (0xFFFF_4FFF, 0x2400), (0xFFFF_2FF2, 0x4FF),
                    ] {
                        for word in [UInt16(0), 1, 0xFFFE, 0xFFFF] {
                            var task = NewTask(level: level)
                            task.isWide = isWide
                            try run(sweep, way, task, title: "level \(level), T \(word), DR6 \(String(dr6, radix: 16))")
                            {
                                $0.put(word, at: Layout.otherTask + 0x64)
                                $0.state.debug.dr6 = dr6
                                $0.state.debug.dr7 = dr7
                                // Breakpoints that nothing meets.
                                $0.state.debug.db = (0xF000, 0xF100, 0xF200, 0xF300)
                            }
                        }
                    }
                }
            }
        }
        sweep.finish()
    }

    /// The new task's CR3: its first instruction lies in the page that the switch itself was fetched from, and by the old tables
    /// there is #UD.
    @Test func changesTheAddressSpace() throws {
        let sweep = try Sweep(
            "CR3 of a TSS", long: false, notKernel: "this kind of /dev/kvm has no paging but that of IA-32e mode")
        let directory: UInt64 = 0x1_C000, table: UInt64 = 0x1_D000, page: UInt64 = 0xD000
        let place: UInt64 = 0x100
        for way in Way.allCases where way != .exception {
            for level in 0..<4 {
                for changes in [false, true] {
                    var task = NewTask(level: level)
                    task.eip = Layout.code + place
                    try run(sweep, way, task, title: "level \(level), CR3 changes \(changes)") { setup in
                        setup.changesPageTables = true
                        setup.state.special.cr0 |= 1 << 31
                        setup.state.special.cr3 = Layout.directory32
                        setup.put(UInt32(changes ? directory : Layout.directory32), at: Layout.otherTask + 0x1C)
                        setup.put(UInt32(table | 0x67), at: directory)
                        for number in UInt64(0)..<32 {
                            let target = number << 12 == Layout.code ? page : number << 12
                            setup.put(UInt32(target | 0x67), at: table + number * 4)
                        }
                        setup.put(UInt16(0x00E6), at: page + place)
                        setup.put(UInt16(changes ? 0x0B0F : 0x00E6), at: Layout.code + place)
                    }
                }
            }
        }
        sweep.finish()
    }
}
