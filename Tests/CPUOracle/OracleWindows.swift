/// The linear addresses at which code may work, the same in the native process and in the guest, all below 2 GiB for the
/// sake of 32-bit code. What lies beside a window is not mapped.
public enum OracleWindows {
    public static let page = 4096

    /// Two pages of code, not writable.
    public static let code: UInt64 = 0x1000_0000
    public static let codeSize = 2 * page
    /// Two pages of data and a third that is not writable.
    public static let data: UInt64 = 0x2000_0000
    public static let dataSize = 2 * page
    public static let readOnly = data + UInt64(dataSize)
    public static let readOnlySize = page
    /// A page of stack.
    public static let stack: UInt64 = 0x3000_0000
    public static let stackSize = page
    /// Where 16-bit code finds it in its stack segment: at the end, so that SP wraps.
    public static let stackOffset16: UInt64 = 0xF000

    /// What is set before and compared after each case: the data, then the stack.
    public static let imageSize = dataSize + stackSize

    /// What the code window holds where there is no code: HLT, which is #GP(0) at user level.
    public static let filler: UInt8 = 0xF4

    /// How many patterns there are.
    public static let backgroundCount = 17
    /// The last one: runs of two bytes, so that strings are equal for a while.
    static let runs: UInt32 = 16
    static let runBytes: [UInt8] = [7, 9]

    /// A pattern of memory: numbers of every kind that instructions care for. The one for the page that is not writable is 0's
    /// beginning.
    public static func background(_ number: UInt32) -> [UInt8] {
        var random = OracleRandom(seed: 0x5EED + UInt64(number))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(imageSize)
        if number == runs {
            while bytes.count < imageSize {
                bytes += [UInt8](repeating: random.pick(runBytes), count: 1 + random.below(96))
            }
            return Array(bytes.prefix(imageSize))
        }
        while bytes.count < imageSize {
            let word = number == 0 ? 0 : random.value()
            for shift in stride(from: 0 as UInt64, to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return bytes
    }
}
