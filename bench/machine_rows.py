"""What a machine costs beside its programs: a boot, a port write, memory; ours and another's, interleaved."""

import os
import statistics
import struct
import subprocess
import tempfile
import time

import programs
from machines import GUESTS, MEMORY, Failure, martlet, qemu, qemu_on_martlet

KERNEL, INITRD = os.path.join(GUESTS, "vmlinuz"), os.path.join(GUESTS, "initramfs")

# Both machines power off: QEMU's by sleep type 0, martlet's by 5, each at port 0x604.
OFF = b"".join(b"\x66\xba\x04\x06\x66\xb8" + struct.pack("<H", value) + b"\x66\xef" for value in (0x2000, 0x3401))
OFF += b"\xf4\xeb\xfd"


def elf(code):
    """An ELF kernel at 1 MiB with a PVH note, which both start."""
    entry = 0x100000
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", entry)
    offset = 64 + 2 * 56
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, offset, entry, entry, len(code), len(code), 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, offset + len(code), 0, 0, len(note), len(note), 4)
    return header + load + notes + code + note


def integer_loop(count):
    # mov ecx,count; again: add eax,ecx; xor edx,eax; dec ecx; jnz again
    return elf(b"\xb9" + struct.pack("<I", count) + b"\x01\xc8\x31\xc2\x49\x75\xf9" + OFF)


def port_loop(count):
    # mov ecx,count; again: out 0x80,al; dec ecx; jnz again
    return elf(b"\xb9" + struct.pack("<I", count) + b"\xe6\x80\x49\x75\xfb" + OFF)


def seconds(command):
    start = time.monotonic()
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=600)
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise Failure(f"{' '.join(command)} ended with {ended.returncode}: {said}")
    return time.monotonic() - start


def interleaved(commands, rounds):
    times = [[] for _ in commands]
    for _ in range(rounds):
        for list, command in zip(times, commands):
            list.append(seconds(command))
    return [statistics.median(list) for list in times]


def overhead(command):
    """MiB resident beyond the guest's own memory when the guest has reached /init."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in process.stdout:
        if b"init reached" in line:
            break
    resident, size = 0, 0
    with open(f"/proc/{process.pid}/smaps") as maps:
        for line in maps:
            if line.startswith("Size:"):
                size = int(line.split()[1])
            if line.startswith("Rss:") and size < MEMORY * 1024:
                resident += int(line.split()[1])
    process.kill()
    process.wait()
    return resident / 1024


BOOT = "console=ttyS0 panic=-1 martlet.then=poweroff"


def boot(other, rounds):
    ours, theirs = interleaved([martlet(KERNEL, INITRD, BOOT), other(KERNEL, INITRD, BOOT)], rounds)
    return ours / theirs, f"{ours:.1f} s"


def boot_under_qemu(other, rounds):
    """QEMU with `-accel kvm` on the preload library: only beside QEMU with its own accelerator."""
    if other is not qemu:
        return None
    ours, theirs = interleaved([qemu_on_martlet(KERNEL, INITRD, BOOT), qemu(KERNEL, INITRD, BOOT)], rounds)
    return ours / theirs, f"{ours:.1f} s"


def loop(guest, count, other, rounds):
    """The time of what the long guest does more than the short one."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for turns in (1, count):
            paths.append(os.path.join(folder, str(turns)))
            with open(paths[-1], "wb") as out:
                out.write(guest(turns))
        short, other_short, long, other_long = interleaved(
            [start(path) for path in paths for start in (martlet, other)], rounds)
    return max(long - short, 1e-9), max(other_long - other_short, 1e-9)


def integer(other, rounds, count=50_000_000):
    ours, theirs = loop(integer_loop, count, other, rounds)
    return ours / theirs, f"{4 * count / ours / 1e6:.0f} M instructions/s"


def port(other, rounds, count=1_000_000):
    ours, theirs = loop(port_loop, count, other, rounds)
    return ours / theirs, f"{ours / count * 1e6:.2f} µs each"


def translation_time(start):
    """Nanoseconds of the translator's for each instruction that it translates while a guest boots; None where nothing is counted."""
    command = start(KERNEL, INITRD, BOOT)
    ended = subprocess.run(
        command[:2] + ["--stats"] + command[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, timeout=600)
    words = [line.split()[-2:] for line in ended.stderr.decode(errors="replace").splitlines() if "translator_" in line]
    counters = {name: int(value) for name, value in words}
    count = counters.get("translator_instructions")
    return counters["translator_time_ns"] / count if count else None


def translation(other, rounds):
    """Of a boot, since little is translated twice there: the translator's own code is as cold as it usually is."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(translation_time(martlet))
        if other is not qemu:
            theirs.append(translation_time(other))
    if None in ours:
        return None
    ours = statistics.median(ours)
    ratio = ours / statistics.median(theirs) if theirs and None not in theirs else None
    return ratio, f"{ours:.0f} ns for each guest instruction"


def memory(other, _):
    ours, theirs = (overhead(start(KERNEL, INITRD, "console=ttyS0")) for start in (martlet, other))
    return ours / theirs, f"{ours:.0f} MiB"


def parallel(_, rounds):
    return None, f"two vCPUs do {programs.parallel(rounds):.2f} × what one does"


# By name: what measures it, and what it is.
ALL = {
    "boot": (boot, "boot to /init and power-off"),
    "boot-qemu": (boot_under_qemu, "the same, QEMU as a client"),
    "integer-loop": (integer, "integer loop, no memory"),
    "port": (port, "port write"),
    "translation": (translation, "translation, cold"),
    "memory": (memory, "memory beyond the guest's"),
    "parallel": (parallel, "parallel work"),
}


def measure(names, rounds, against, say):
    """For each row its ratio to the other machine, where it has one, and a note."""
    def another(*arguments, **options):
        return martlet(*arguments, **options, command=against)

    result = {}
    for name in names:
        say(name)
        row = ALL[name][0](another if against else qemu, rounds)
        if row:
            result[name] = row
    return result
