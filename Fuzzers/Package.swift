// swift-tools-version: 6.2
import PackageDescription

// Coverage-guided fuzzers, a package of their own so that the library's build stays as it is. `make fuzz` builds and runs them.

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .define("_GNU_SOURCE"),
]

/// The library's modules: VMM stands on all of them, and they are imported by name.
let martlet = Target.Dependency.product(name: "VMM", package: "martlet")
let support = Target.Dependency.product(name: "TestSupport", package: "martlet")

/// A fuzzer: libFuzzer has the main function, so that the module must have none.
func fuzzer(_ name: String) -> Target {
    .executableTarget(
        name: name, dependencies: ["FuzzInput", martlet, support], cSettings: [.define("_GNU_SOURCE")],
        swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])])
}

let package = Package(
    name: "fuzzers",
    dependencies: [.package(name: "martlet", path: "..")],
    targets: [
        .target(name: "FuzzInput", swiftSettings: settings),
        fuzzer("FuzzDecoder"),
        fuzzer("FuzzPageWalk"),
        fuzzer("FuzzInterpreter"),
        fuzzer("FuzzBootFile"),
    ]
)
