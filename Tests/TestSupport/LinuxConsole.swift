/// What a Linux guest prints.
public enum LinuxConsole {
    /// Lines that a healthy kernel does not print, or that have one of `words`.
    public static func troubles(in text: String, also words: [String] = []) -> [Substring] {
        let signs = [
            "WARNING: CPU", "BUG:", "Oops", "Call Trace", "Kernel panic", "general protection", "unchecked MSR",
        ]
        return text.split(whereSeparator: \.isNewline).filter { line in (signs + words).contains { line.contains($0) } }
    }
}
