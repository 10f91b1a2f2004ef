/// Where the guest's vector registers with MXCSR, or its x87 state, are.
enum RegisterPlace: UInt8 {
    /// In the XSAVE area.
    case state
    /// In the host's registers; what the area has of them is old.
    case host
    /// In the area for as long as emitted code calls Swift; then they are the host's again.
    case lent
}
