internal import Glibc

/// Names of a guest's functions by address: from a System.map, or an ELF file's table of symbols.
struct GuestSymbols: Sendable {
    private var addresses: [UInt64] = []
    private var names: [String] = []
    /// A function has no end in a System.map; what lies farther behind its beginning is not it.
    private static let longest: UInt64 = 1 << 20
    private static let largestFile = 1 << 30

    /// - Throws: where the file can't be read, or has no symbols.
    init(file path: String) throws(TranslationTrace.Failure) {
        guard let bytes = GuestSymbols.contents(path) else {
            throw TranslationTrace.Failure(description: "\(path) can't be read, or is larger than 1 GiB")
        }
        self.init(bytes)
        guard !addresses.isEmpty else {
            throw TranslationTrace.Failure(
                description: "\(path) is neither a System.map nor a 64-bit ELF file with symbols")
        }
    }

    /// Whatever the bytes are: what is no symbol is passed over.
    init(_ bytes: [UInt8]) {
        var found: [(address: UInt64, name: String)] = []
        if bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) {
            GuestSymbols.readELF(bytes, &found)
        } else {
            GuestSymbols.readMap(bytes, &found)
        }
        found.sort { $0.address < $1.address }
        addresses = found.map(\.address)
        names = found.map(\.name)
    }

    /// The function that an address lies in.
    func name(of address: UInt64) -> String? {
        var low = 0, high = addresses.count
        while low < high {
            let middle = (low + high) / 2
            if addresses[middle] <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0, address - addresses[low - 1] < GuestSymbols.longest else { return nil }
        return names[low - 1]
    }

    /// Lines of an address, a type and a name; functions are of types t, T, w and W.
    private static func readMap(_ bytes: [UInt8], _ found: inout [(address: UInt64, name: String)]) {
        for line in bytes.split(separator: 0x0A) {
            let words = line.split(separator: 0x20, maxSplits: 2)
            guard words.count == 3, words[1].count == 1, "tTwW".utf8.contains(words[1].first ?? 0),
                let address = UInt64(String(decoding: words[0], as: UTF8.self), radix: 16)
            else { continue }
            let name = String(decoding: words[2].prefix { $0 > 0x20 }, as: UTF8.self)
            if !name.isEmpty { found.append((address, name)) }
        }
    }

    /// Symbols of type FUNC in tables of type SYMTAB. Tool Interface Standard, ELF, and its 64-bit format.
    private static func readELF(_ bytes: [UInt8], _ found: inout [(address: UInt64, name: String)]) {
        func load(_ offset: UInt64, _ count: Int) -> UInt64 {
            guard offset <= UInt64(bytes.count), UInt64(count) <= UInt64(bytes.count) - offset else { return 0 }
            return (0..<count).reduce(0) { $0 | UInt64(bytes[Int(offset) + $1]) << UInt64($1 * 8) }
        }
        let sections = load(40, 8), size = load(58, 2), count = load(60, 2)
        guard size >= 64, sections <= UInt64(bytes.count) else { return }
        for index in 0..<count {
            let header = sections + index * size
            guard load(header + 4, 4) == 2 else { continue }
            let table = load(header + 24, 8)
            let strings = load(sections + (load(header + 40, 4) & 0xFFFF) * size + 24, 8)
            guard table <= UInt64(bytes.count), strings <= UInt64(bytes.count) else { continue }
            let length = min(load(header + 32, 8), UInt64(bytes.count) - table)
            for entry in stride(from: table, to: table + length, by: 24) where load(entry + 4, 1) & 15 == 2 {
                let start = strings + load(entry, 4)
                guard start < UInt64(bytes.count), load(entry + 8, 8) != 0 else { continue }
                let name = String(decoding: bytes[Int(start)...].prefix(256).prefix { $0 > 0x20 }, as: UTF8.self)
                if !name.isEmpty { found.append((load(entry + 8, 8), name)) }
            }
        }
    }

    private static func contents(_ path: String) -> [UInt8]? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_size <= largestFile else { return nil }
        var bytes = [UInt8](repeating: 0, count: max(0, Int(status.st_size)))
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeMutableBytes { bytes in
                unsafe read(descriptor, bytes.baseAddress.unsafelyUnwrapped + done, bytes.count - done)
            }
            guard count > 0 else { return nil }
            done += count
        }
        return bytes
    }
}
