import Foundation
import Glibc
import KVMABI
import TestLimits
import Testing

@testable import SoftKVM

@Suite(.within(minutes: 20)) struct InterfaceReportTests {
    private static let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../../docs/abi.md").standardizedFileURL

    /// With MARTLET_ABI_REPORT it is written instead: `make abi`.
    @Test func theDocumentIsWhatTheTablesSay() throws {
        if unsafe getenv("MARTLET_ABI_REPORT") != nil {
            try InterfaceReport.text.write(to: Self.file, atomically: true, encoding: .utf8)
        }
        let document = try String(contentsOf: Self.file, encoding: .utf8)
        let (written, wanted) = (document.split(separator: "\n"), InterfaceReport.text.split(separator: "\n"))
        for (line, want) in zip(written, wanted) where line != want {
            Issue.record("docs/abi.md has \(line), the tables \(want): make abi")
            return
        }
        #expect(document == InterfaceReport.text, "make abi")
    }

    @Test func theTestsThatItNamesAreThere() {
        #expect(TestNames.all.count > 300)
        for test in Evidence.tests.sorted() { #expect(TestNames.all.contains(test), "\(test)") }
        #expect(Evidence.strayRows.isEmpty)
    }
}
