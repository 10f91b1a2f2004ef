"""The table of a run of the benchmarks, on a terminal and in docs/performance.md."""

import datetime
import os
import re
import subprocess

import programs
from machine_rows import ALL as MACHINE_ROWS
from machines import QEMU, ROOT

DOCUMENT = os.path.join(ROOT, "docs/performance.md")
BEGIN, END = "<!-- the table of `make bench` -->\n", "<!-- its end -->\n"


def number(ratio):
    return "–" if ratio is None else f"{ratio:.3g}" if ratio < 100 else f"{ratio:.0f}"


def columns(against):
    if against:
        return [("martlet ÷ native", "martlet", "native"), ("martlet ÷ the other", "martlet", "against")]
    return [
        ("martlet ÷ native", "martlet", "native"), ("TCG ÷ native", "tcg", "native"), ("TCG ÷ martlet", "tcg", "martlet"),
    ]


def table(rows, machine, rounds, against=None):
    lines = []
    if machine:
        other = "the other" if against else "TCG"
        lines += [f"| machine, medians of {rounds} | martlet ÷ {other} | martlet |", "|---|---|---|"]
        lines += [f"| {MACHINE_ROWS[name][1]} | {number(ratio)} | {note} |" for name, (ratio, note) in machine.items()]
        lines.append("")
    if rows:
        shown = columns(against)
        lines.append(f"| program, medians of {rounds} | " + " | ".join(title for title, _, _ in shown) + " |")
        lines.append("|---" * (len(shown) + 1) + "|")
        for row in rows:
            lines.append(f"| {row.program} | " + " | ".join(number(row.ratio(a, b)) for _, a, b in shown) + " |")
        for title, names in (("geometric mean", None), ("of FP and SIMD", programs.FLOATING)):
            means = [programs.mean(rows, a, b, names) for _, a, b in shown]
            if any(means):
                lines.append(f"| **{title}** | " + " | ".join(f"**{number(mean)}**" for mean in means) + " |")
    return lines


def processor():
    with open("/proc/cpuinfo") as info:
        text = info.read()
    field = lambda name: re.search(rf"^{name}\s*: (.*)$", text, re.M).group(1)
    return f"{field('model name')}, family {field('cpu family')}, model {field('model')}, {text.count('processor')} of them"


def qemu_version():
    return subprocess.run([QEMU, "--version"], capture_output=True, text=True).stdout.split("\n")[0]


def write(rows, machine, rounds):
    with open(DOCUMENT) as file:
        text = file.read()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    lines = [f"{datetime.date.today()}, {processor()}; {qemu_version()}.", ""] + table(rows, machine, rounds)
    with open(DOCUMENT, "w") as file:
        file.write(head + BEGIN + "\n".join(lines) + "\n" + END + tail)
