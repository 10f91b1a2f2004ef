// The tests that there are, read from their sources.

import Foundation

enum TestNames {
    /// Each as `Suite/function`, of every test target.
    static let all: Set<String> = {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
        let files = FileManager.default.enumerator(at: root.standardizedFileURL, includingPropertiesForKeys: nil)
        var names: Set<String> = []
        while let file = files?.nextObject() as? URL {
            guard file.pathExtension == "swift", let text = try? String(contentsOf: file, encoding: .utf8) else {
                continue
            }
            names.formUnion(tests(in: text))
        }
        return names
    }()

    private static func tests(in text: String) -> [String] {
        var names: [String] = []
        var suite = ""
        var isTest = false
        for line in text.split(separator: "\n") {
            let words = line.split(whereSeparator: { " (:<{".contains($0) })
            if line.first != " ",
                let keyword = words.firstIndex(where: { ["struct", "class", "extension"].contains($0) }),
                keyword + 1 < words.count
            {
                suite = String(words[keyword + 1])
            }
            if line.contains("@Test") { isTest = true }
            if isTest, let keyword = words.firstIndex(of: "func"), keyword + 1 < words.count {
                names.append("\(suite)/\(words[keyword + 1])")
                isTest = false
            }
        }
        return names
    }
}
