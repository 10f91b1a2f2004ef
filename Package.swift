// swift-tools-version: 6.2
import PackageDescription

/// The settings that every target is built with.
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

/// A module of the library, with what it may import.
func module(_ name: String, _ imports: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .target(name: name, dependencies: imports, exclude: exclude, cSettings: gnu, swiftSettings: settings)
}

/// The tests of one module.
func tests(of name: String, _ imports: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.byName(name: name), "TestSupport", "TestLimits"] + imports,
        exclude: exclude,
        cSettings: gnu, swiftSettings: settings)
}

let gnu: [CSetting] = [.define("_GNU_SOURCE")]

let package = Package(
    name: "martlet",
    products: [
        .library(name: "KVM", targets: ["KVM"]),
        .library(name: "VMM", targets: ["VMM"]),
        .executable(name: "martlet", targets: ["martlet"]),
        .library(name: "martlet-kvm", type: .dynamic, targets: ["Preload"]),
        // For the fuzzers, which are a package of their own.
        .library(name: "TestSupport", targets: ["TestSupport"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        .systemLibrary(name: "CLinuxKVM"),
        module("Locking"),
        module("GuestMemory"),
        module("X86"),
        module("KVMABI", ["CLinuxKVM"]),
        module("Processor", ["X86", "GuestMemory", "Locking"]),
        module("Chipset", ["Locking"]),
        module("SoftKVM", ["KVMABI", "X86", "Processor", "Chipset", "GuestMemory", "Locking"]),
        module("Preload", ["KVMABI", "SoftKVM", "Processor", "KVM2006", "Locking"], exclude: ["exports.map"]),
        module("KVM", ["KVMABI", "SoftKVM", "Processor", "GuestMemory"]),
        module("KVM2006", ["KVMABI", "X86", "Locking"]),
        module("Devices", ["GuestMemory"]),
        module(
            "VMM",
            ["KVM", "KVMABI", "Devices", "GuestMemory", "X86", .product(name: "Logging", package: "swift-log")]),
        .executableTarget(
            name: "martlet",
            dependencies: [
                "VMM", "KVM", "KVMABI", "X86",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            cSettings: gnu, swiftSettings: settings),

        .target(
            name: "TestSupport", dependencies: ["Processor", "X86"], path: "Tests/TestSupport", swiftSettings: settings),
        // Apart, since programs without Testing use the former.
        .target(
            name: "TestLimits", dependencies: ["TestSupport"], path: "Tests/TestLimits", swiftSettings: settings),

        // The host's CPU as oracle: a library that tests use, and the program that it starts and that fuzzes.
        .target(
            name: "CPUOracle",
            dependencies: ["KVM", "KVMABI", "SoftKVM", "GuestMemory", "Processor", "X86", "TestSupport"],
            path: "Tests/CPUOracle", cSettings: gnu, swiftSettings: settings),
        .executableTarget(
            name: "cpu-oracle", dependencies: ["CPUOracle"], path: "Tests/CPUOracleCommand", cSettings: gnu,
            swiftSettings: settings),

        tests(of: "CPUOracle", ["Processor", "X86", "cpu-oracle"], exclude: ["Cases"]),

        tests(of: "GuestMemory"),
        tests(of: "X86"),
        tests(of: "KVMABI", ["CLinuxKVM"]),
        tests(of: "Processor", ["X86", "GuestMemory"]),
        tests(of: "Chipset"),
        tests(
            of: "SoftKVM", ["KVMABI", "KVM", "GuestMemory", "X86", "Processor"], exclude: ["Guests"]),
        // By the command alone: linked into the tests the library would stand before their own C library.
        .testTarget(
            name: "PreloadTests", dependencies: ["martlet", "TestSupport", "TestLimits"],
            exclude: ["Clients", "FirstClients", "HostileClients"], cSettings: gnu, swiftSettings: settings),
        tests(of: "KVM", ["KVMABI", "SoftKVM", "Processor", "GuestMemory"]),
        tests(of: "KVM2006", ["KVMABI", "SoftKVM"]),
        tests(of: "Devices", ["GuestMemory"]),
        tests(
            of: "VMM",
            [
                "KVM", "KVMABI", "Devices", "GuestMemory", "X86",
                .product(name: "Logging", package: "swift-log"),
            ]),
    ]
)
