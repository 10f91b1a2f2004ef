// How ISA interrupts reach the interrupt controllers. The routes given to the hypervisor and the overrides in the MADT
// come from the same value, so they agree.

public import KVM

/// The machine's interrupt wiring.
public enum InterruptWiring: Sendable {
    /// A PC's: IRQ 0 is pin 2 of the I/O APIC, whose pin 0 is free; the others are the pin of their number.
    case pc
    /// Every IRQ is the pin of its number, which is how a hypervisor starts that can't be told otherwise.
    case straight

    /// ISA interrupts of the devices.
    public enum IRQ {
        public static let timer: UInt32 = 0
        public static let keyboard: UInt32 = 1
        public static let com1: UInt32 = 4
        public static let rtc: UInt32 = 8
        public static let sci: UInt32 = 9
    }

    static let ioapicPins: UInt32 = 24
    static let ioapicAddress: UInt32 = 0xfec0_0000
    static let localAPICAddress: UInt32 = 0xfee0_0000

    /// The I/O APIC pin of an ISA interrupt.
    public func pin(ofIRQ irq: UInt32) -> UInt32 { self == .pc && irq == IRQ.timer ? 2 : irq }

    /// The routes to set; `nil` leaves the hypervisor's own.
    public var routes: [InterruptRoute]? {
        guard self == .pc else { return nil }
        var routes: [InterruptRoute] = []
        for gsi in 0..<16 as Range<UInt32> where gsi != 2 {
            routes.append(.irqchip(gsi: gsi, chip: gsi < 8 ? 0 : 1, pin: gsi % 8))
        }
        for gsi in 0..<Self.ioapicPins where gsi != 2 {
            routes.append(.irqchip(gsi: gsi, chip: 2, pin: pin(ofIRQ: gsi)))
        }
        return routes
    }
}
