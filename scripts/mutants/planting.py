"""The list of bugs (Tests/Mutants/*.toml), and a copy of the sources in which each is planted behind its number.

An entry's name is its table's. Its keys:
  bug         what is wrong, in a sentence
  file        where, under Sources
  expression  what is there, and `becomes`, what is there with the bug: both expressions;
  statement   or statements: `becomes` may be empty, and neither declares anything that is used later
  within      where `file` has it more than once: a text that it has once, behind which the first is meant
  seen_by     suites, or "Suite/test", that are expected to see it; they run first

White space in what is looked for stands for any white space.
"""
import os
import re
import shutil
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LISTS = os.path.join(ROOT, "Tests/Mutants")
KEYS = {"bug", "file", "expression", "statement", "becomes", "within", "seen_by"}

# A file of its own in each module that has bugs: no module has to import another for it.
MODULE_FILE = """import Glibc

/// Which bug of the list this process has: the one that MARTLET_MUTANT names by its number.
enum Mutant {
    private static let planted: UInt32 = unsafe getenv("MARTLET_MUTANT").map { unsafe UInt32(strtoul($0, nil, 10)) } ?? 0
    static func isPlanted(_ number: UInt32) -> Bool { planted == number }
}
"""


class Stale(Exception):
    """An entry that no longer fits the sources."""


class Bug:
    def __init__(self, name, table, source):
        self.name, self.where = name, f"{os.path.relpath(source, ROOT)}: {name}"
        unknown = set(table) - KEYS
        if unknown:
            raise Stale(f"{self.where}: there is no key {', '.join(sorted(unknown))}")
        if missing := {"bug", "file", "becomes", "seen_by"} - set(table):
            raise Stale(f"{self.where}: lacks {', '.join(sorted(missing))}")
        if ("expression" in table) == ("statement" in table):
            raise Stale(f"{self.where}: needs one of expression and statement")
        self.text, self.file, self.within = table["bug"], table["file"], table.get("within")
        self.isStatement = "statement" in table
        self.original = table["statement" if self.isStatement else "expression"].strip()
        self.becomes = table["becomes"].strip()
        self.suites = table["seen_by"].split()

    @property
    def number(self):
        """Of the name alone, so that a new entry leaves the others' files as they are (FNV-1a)."""
        value = 0x811C9DC5
        for byte in self.name.encode():
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
        return value

    @property
    def module(self):
        return self.file.split("/")[0]

    def span(self, text):
        """Where its original is in its file."""
        start = 0
        if self.within:
            places = [place.end() for place in pattern(self.within).finditer(text)]
            if len(places) != 1:
                raise Stale(f"{self.where}: `within` is in Sources/{self.file} {len(places)} times, and has to be once")
            start = places[0]
        found = list(pattern(self.original).finditer(text, start))
        if not found or len(found) > 1 and not self.within:
            kind = "statement" if self.isStatement else "expression"
            raise Stale(f"{self.where}: the {kind} is in Sources/{self.file} {len(found)} times, and has to be once"
                        + (" (name a place by `within`)" if found else ""))
        return found[0].span()


def pattern(snippet):
    text = r"\s+".join(re.escape(part) for part in snippet.split())
    # No names are cut.
    before, after = (r"(?<!\w)" if snippet[0].isalnum() else ""), (r"(?!\w)" if snippet[-1].isalnum() else "")
    return re.compile(before + text + after)


def read_list():
    """All bugs, in the order of the files' names and of the entries."""
    bugs = []
    for name in sorted(os.listdir(LISTS)):
        if not name.endswith(".toml"):
            continue
        path = os.path.join(LISTS, name)
        with open(path, "rb") as file:
            try:
                tables = tomllib.load(file)
            except tomllib.TOMLDecodeError as error:
                raise Stale(f"{os.path.relpath(path, ROOT)}: {error}") from None
        bugs += [Bug(key, table, path) for key, table in tables.items()]
    for what in ("name", "number"):
        seen = {}
        for bug in bugs:
            if other := seen.get(getattr(bug, what)):
                raise Stale(f"{bug.where}: has the {what} of {other}")
            seen[getattr(bug, what)] = bug.where
    return bugs


def troubles(bugs):
    """What doesn't fit the sources and the tests, a line for each."""
    lines = []
    suites, functions = declarations("Tests")
    for file in sorted({bug.file for bug in bugs}):
        mine = [bug for bug in bugs if bug.file == file]
        path = os.path.join(ROOT, "Sources", file)
        if not os.path.exists(path):
            lines += [f"{bug.where}: there is no Sources/{file}" for bug in mine]
            continue
        with open(path) as source:
            text = source.read()
        spans = []
        for bug in mine:
            try:
                spans.append((bug.span(text), bug))
            except Stale as stale:
                lines.append(str(stale))
        spans.sort(key=lambda pair: pair[0])
        for (one, bug), (two, other) in zip(spans, spans[1:]):
            if one != two and two[0] < one[1]:
                lines.append(f"{other.where}: overlaps {bug.name}")
            if one == two and bug.isStatement != other.isStatement:
                lines.append(f"{other.where}: is a statement, {bug.name} an expression, or the other way round")
    for bug in bugs:
        if pattern(bug.becomes or "x").fullmatch(bug.original):
            lines.append(f"{bug.where}: changes nothing")
        for suite in bug.suites:
            name, _, function = suite.partition("/")
            if name not in suites:
                lines.append(f"{bug.where}: there is no suite {name}")
            elif function and function not in functions:
                lines.append(f"{bug.where}: there is no test {function}")
    return lines


def declarations(folder):
    """The names of all types and functions."""
    types, functions = set(), set()
    for where, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in names:
            if name.endswith(".swift"):
                with open(os.path.join(where, name)) as file:
                    text = file.read()
                types.update(re.findall(r"\b(?:struct|class|actor) (\w+)", text))
                functions.update(re.findall(r"\bfunc (\w+)", text))
    return types, functions


def planted(text, bugs):
    """The text of a file with its bugs, each taken where its number is the process's."""
    places = {}
    for bug in bugs:
        places.setdefault(bug.span(text), []).append(bug)
    for (start, end), several in sorted(places.items(), reverse=True):
        kept = text[start:end]
        for bug in several:
            condition = f"Mutant.isPlanted({bug.number})"
            if bug.isStatement:
                kept = f"if {condition} {{\n{bug.becomes}\n}} else {{\n{kept}\n}}"
            else:
                kept = f"({condition} ? ({bug.becomes}) : ({kept}))"
        text = text[:start] + kept + text[end:]
    return text


def plant(bugs, target):
    """Makes `target` a copy of the project with every bug in it. Files that stay as they are keep their times."""
    wanted = {}
    for where, folders, names in os.walk(ROOT):
        # Guests are linked; what was built, found or fetched is no source.
        folders[:] = [name for name in folders if not name.startswith(".") and name not in ("guests", "findings")]
        for name in names:
            path = os.path.relpath(os.path.join(where, name), ROOT)
            if not name.startswith(".") and not os.path.islink(os.path.join(ROOT, path)):
                with open(os.path.join(ROOT, path), "rb") as file:
                    wanted[path] = file.read()
    # A bug may leave a variable unused or code unreached.
    wanted["Package.swift"] = wanted["Package.swift"].replace(b".treatAllWarnings(as: .error),", b"")
    for file in {bug.file for bug in bugs}:
        path = f"Sources/{file}"
        wanted[path] = planted(wanted[path].decode(), [bug for bug in bugs if bug.file == file]).encode()
    for module in {bug.module for bug in bugs}:
        wanted[f"Sources/{module}/Mutant.swift"] = MODULE_FILE.encode()
    for where, folders, names in os.walk(target):
        for name in names:
            path = os.path.relpath(os.path.join(where, name), target)
            if path not in wanted and path != "Package.resolved":
                os.remove(os.path.join(where, name))
    for path, contents in wanted.items():
        place = os.path.join(target, path)
        if os.path.exists(place):
            with open(place, "rb") as file:
                if file.read() == contents:
                    continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(contents)
        shutil.copymode(os.path.join(ROOT, path) if os.path.exists(os.path.join(ROOT, path)) else __file__, place)
    guests = os.path.join(ROOT, "guests")
    link = os.path.join(target, "guests")
    if os.path.exists(guests) and not os.path.lexists(link):
        os.symlink(os.path.realpath(guests), link)
