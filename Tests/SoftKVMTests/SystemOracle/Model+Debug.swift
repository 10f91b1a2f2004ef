// Debug exceptions: which breakpoints an instruction meets, which traps follow it, and what DR6 says of them.
// Intel SDM vol. 3, 17.2, 17.3.1 and 6.8.3; AMD APM vol. 2, 13.1.

import KVMABI

/// Memory or a port that an instruction reaches.
struct Touch {
    enum Kind { case read, write, port }
    let kind: Kind
    let address: UInt64
    let size: Int
}

/// An instruction as debugging sees it.
struct WatchedInstruction {
    let code: [UInt8]
    /// What it reaches, by the state before it; one iteration's with REP.
    var touches: (Model) -> [Touch] = { _ in [] }
    /// It takes the single-step trap with it: INT n and its kin, and SYSCALL where it masks TF.
    var takesTrap = false
    /// SYSRET: the trap is TF's as it leaves it.
    var goesByNewTF = false
    /// INT1: its #DB tells of what MOV SS has held back as well.
    var isDebugException = false
    /// MOV SS and POP SS: traps wait for the end of the next instruction.
    var holdsTraps = false
    /// What follows it in memory is not what is executed next.
    var leaves = false
    /// REP: another iteration is to come.
    var goesRound: (Model) -> Bool = { _ in false }
    let run: (inout Model) throws(Fault) -> Void
}

extension Model {
    private enum Condition: UInt64 { case execute, write, port, readWrite }

    private static let singleStep: UInt64 = 1 << 14, generalDetect: UInt64 = 1 << 13

    /// The enabled breakpoints of which `isMet` is true, as bits of DR6. Vol. 3, 17.2.4 and 17.2.5.
    private func breakpoints(_ isMet: (Condition, _ address: UInt64, _ length: UInt64) -> Bool) -> UInt64 {
        let (dr7, db) = (state.debug.dr7, state.debug.db)
        var hits: UInt64 = 0
        for (index, address) in [db.0, db.1, db.2, db.3].enumerated() where dr7 >> UInt64(index * 2) & 3 != 0 {
            let control = dr7 >> UInt64(16 + index * 4)
            let length: UInt64 = [1, 2, 8, 4][Int(control >> 2 & 3)]
            guard let condition = Condition(rawValue: control & 3) else { continue }
            if isMet(condition, address & ~(length - 1), length) { hits |= 1 << UInt64(index) }
        }
        return hits
    }

    private var codeAddress: UInt64 {
        is64Bit ? state.general.rip : (state.special.cs.base &+ state.general.rip) & 0xFFFF_FFFF
    }

    private func instructionBreakpoints() -> UInt64 {
        flag(1 << 16) ? 0 : breakpoints { condition, address, _ in condition == .execute && address == codeAddress }
    }

    private func breakpoints(_ touches: [Touch]) -> UInt64 {
        breakpoints { condition, address, length in
            touches.contains { touch in
                let isWatched =
                    switch touch.kind {
                    case .read: condition == .readWrite
                    case .write: condition == .readWrite || condition == .write
                    case .port: condition == .port && state.special.cr4 & 8 != 0
                    }
                return isWatched && touch.address < address + length && address < touch.address + UInt64(touch.size)
            }
        }
    }

    /// #DB, with what it says in DR6: B0 to B3 anew, the others on top.
    private mutating func raiseDebug(_ bits: UInt64) {
        state.debug.dr6 = state.debug.dr6 & ~0xF | bits
        state.debug.dr7 &= ~(1 << 13)
        raise(Fault(vector: 1, code: nil))
    }

    /// Executes instructions that lie one behind the other up to the first exception, and looks ahead to the OUT that
    /// follows, behind them or in a handler.
    mutating func runWatched(from start: UInt64, _ instructions: [WatchedInstruction]) {
        state.general.rip = start
        var held: UInt64 = 0, isShadowed = false
        for instruction in instructions {
            let isOver = runWatched(instruction, &held, &isShadowed)
            if isOver || instruction.leaves { break }
        }
        finishWatched(held, isShadowed: isShadowed)
    }

    /// One instruction. True: an exception came of it.
    private mutating func runWatched(
        _ instruction: WatchedInstruction, _ held: inout UInt64, _ isShadowed: inout Bool
    ) -> Bool {
        let place = state.general.rip
        var goesRound = false
        repeat {
            if meetsInstructionBreakpoint(isShadowed: &isShadowed, &held) { return true }
            set(1 << 16, false)
            let trap = flag(1 << 8) ? Model.singleStep : 0
            let touches = instruction.touches(self)
            let fault = attempt { (model: inout Model) throws(Fault) in
                model.state.general.rip = place &+ UInt64(instruction.code.count)
                try instruction.run(&model)
            }
            if let fault {
                // What is held is lost with a fault that is not a debug exception itself. Vol. 3, 26.7.3.
                if fault.vector == 1 { raiseDebug(Model.generalDetect | held) } else { raise(fault) }
                held = 0
                return true
            }
            if instruction.isDebugException, held != 0 {
                state.debug.dr6 = state.debug.dr6 & ~0xF | held
                held = 0
            }
            goesRound = instruction.goesRound(self)
            if goesRound {
                state.general.rip = place
                set(1 << 16, true)
            }
            held |= breakpoints(touches)
            isShadowed = instruction.holdsTraps
            if isShadowed { return false }
            let newTrap = flag(1 << 8) ? Model.singleStep : 0
            let bits = held | (instruction.takesTrap ? 0 : instruction.goesByNewTF ? newTrap : trap)
            if bits != 0 {
                held = 0
                raiseDebug(bits)
                return true
            }
        } while goesRound
        return false
    }

    /// The check before an instruction. AMD's processors let MOV SS hold nothing back here.
    private mutating func meetsInstructionBreakpoint(isShadowed: inout Bool, _ held: inout UInt64) -> Bool {
        let hits = instructionBreakpoints()
        guard hits != 0, !isShadowed || OracleMachine.isAMD else { return false }
        let bits = hits | held
        (isShadowed, held) = (false, 0)
        raiseDebug(bits)
        return true
    }

    /// The OUT: the trap that it leaves is not delivered yet when the client sees it.
    private mutating func finishWatched(_ held: UInt64, isShadowed: Bool) {
        var held = held, isShadowed = isShadowed
        _ = meetsInstructionBreakpoint(isShadowed: &isShadowed, &held)
        let port = [Touch(kind: .port, address: 0, size: 1)]
        let bits = held | breakpoints(port) | (flag(1 << 8) ? Model.singleStep : 0)
        guard bits != 0, !isShutDown else { return }
        state.debug.dr6 = state.debug.dr6 & ~0xF | bits
        state.events.exception.injected = 1
        state.events.exception.nr = 1
    }
}
