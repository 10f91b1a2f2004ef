"""Programs in guests: each natively, in Martlet and in QEMU TCG, interleaved, as ratios of the times of one turn."""

import contextlib
import math
import statistics
import sys

from machines import MARTLET, Failure, guest_session, martlet, native_session, qemu

FLOATING = ["n-body", "mandelbrot", "saxpy-sse", "saxpy-avx2", "x87"]
INTEGER = ["integer-mix", "sha256", "bytecode", "quicksort"]
MEMORY = ["chase-64M", "memcpy", "load-8", "store-8"]
CALLS = ["recursion", "indirect-calls", "page-crossing"]
SYSTEM = ["getppid", "fork-exec", "page-faults", "context-switches"]
REAL = ["gzip", "awk", "gcc", "python3"]
ALL = INTEGER + MEMORY + FLOATING + CALLS + SYSTEM + REAL

# Long enough that a line over a serial port does not count.
SECONDS = 0.3


class Row:
    """A program's median seconds for one turn, by machine."""

    def __init__(self, program, seconds):
        self.program = program
        self.seconds = seconds

    def ratio(self, machine, other):
        if machine not in self.seconds or other not in self.seconds:
            return None
        return self.seconds[machine] / self.seconds[other]


def calibrated(session, program):
    """How many turns take long enough there, and what one turn ends with."""
    count = 1
    seconds, result = session.run(program, count)
    if program in REAL:
        return 1, result
    first = result
    while seconds < SECONDS:
        count = max(count * 2, int(count * min(SECONDS * 1.2 / max(seconds, 1e-4), 50)))
        seconds, _ = session.run(program, count)
    return count, first


def measure(programs, rounds, against=None, say=lambda text: None):
    """A row for each program; the machines stay and take turns."""
    with contextlib.ExitStack() as stack:
        sessions = {"native": stack.enter_context(native_session())}
        sessions["martlet"] = stack.enter_context(guest_session("Martlet", martlet))
        if against:
            sessions["against"] = stack.enter_context(guest_session(against, martlet, command=against))
        else:
            sessions["tcg"] = stack.enter_context(guest_session("QEMU", qemu))
        rows = []
        for program in programs:
            say(program)
            counts, results = {}, {}
            for name, session in sessions.items():
                counts[name], results[name] = calibrated(session, program)
            if len(set(results.values())) != 1:
                raise Failure(f"{program} does not end the same everywhere: {results}")
            times = {name: [] for name in sessions}
            for _ in range(rounds):
                for name, session in sessions.items():
                    seconds, _ = session.run(program, counts[name])
                    times[name].append(seconds / counts[name])
            rows.append(Row(program, {name: statistics.median(list) for name, list in times.items()}))
        return rows


def mean(rows, machine, other, programs=None):
    """The geometric mean of the ratios."""
    ratios = [row.ratio(machine, other) for row in rows if programs is None or row.program in programs]
    ratios = [ratio for ratio in ratios if ratio]
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


def parallel(rounds):
    """How much more two vCPUs do than one: two copies of a program at once, and one."""
    with guest_session("Martlet", martlet, cpus=2) as session:
        count, _ = calibrated(session, "integer-mix")
        # Long enough that the starting of two processes, which is timed with them, does not show.
        count *= 16
        one, two = [], []
        for _ in range(rounds):
            one.append(session.run("integer-mix", count)[0])
            two.append(session.run("parallel integer-mix", count)[0])
        return 2 * statistics.median(one) / statistics.median(two)


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
