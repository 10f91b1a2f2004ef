import CPUOracle
import Glibc

// The program beside the tests: the native process that they start, and the fuzzer of `make fuzz-cpu`.

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "--native" { NativeServer.serve() }
do {
    exit(try CPUFuzzer(Array(arguments)).run() ? 0 : 1)
} catch {
    print("cpu-oracle: \(error)")
    exit(2)
}
