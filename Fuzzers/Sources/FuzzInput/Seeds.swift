internal import Glibc

/// Writes the seeds of a target's corpus to the folder that MARTLET_SEEDS names, and ends the process; without that variable
/// does nothing. To be called by `LLVMFuzzerInitialize`.
public func writeSeeds(_ seeds: () -> [[UInt8]]) {
    guard let folder = unsafe getenv("MARTLET_SEEDS").map({ unsafe String(cString: $0) }) else { return }
    for (index, seed) in seeds().enumerated() {
        guard let file = unsafe fopen("\(folder)/seed-\(index)", "w") else { report("can't write to \(folder)") }
        unsafe fwrite(seed, 1, seed.count, file)
        unsafe fclose(file)
    }
    exit(0)
}

/// The bytes of a file, as far as `limit`; none where it can't be read.
public func contents(of path: String, limit: Int) -> [UInt8] {
    guard let file = unsafe fopen(path, "r") else { return [] }
    defer { unsafe fclose(file) }
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = unsafe fread(&bytes, 1, limit, file)
    return Array(bytes.prefix(count))
}

/// Little-endian bytes.
public func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T(truncatingIfNeeded: $0 * 8)) }
}
