"""The machines that benchmarks compare: the commands that start them, and a session with one that runs programs."""

import os
import queue
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUESTS = os.path.join(ROOT, "guests")
MARTLET = os.path.join(ROOT, ".build/release/martlet")
QEMU = "qemu-system-x86_64"
MEMORY = 512


def martlet(kernel, initrd=None, append=None, memory=MEMORY, cpus=1, command=MARTLET):
    line = [command, "run", "--hypervisor", "software", "--no-reboot", "--kernel", kernel, "--memory", f"{memory}M"]
    line += ["--cpus", str(cpus)] if cpus > 1 else []
    line += ["--initrd", initrd] if initrd else []
    return line + (["--cmdline", append] if append else [])


def qemu(kernel, initrd=None, append=None, memory=MEMORY, accelerator="tcg,thread=single", cpus=1):
    line = [QEMU, "-accel", accelerator, "-cpu", "max", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]
    line += ["-m", str(memory), "-kernel", kernel]
    line += ["-smp", str(cpus)] if cpus > 1 else []
    line += ["-initrd", initrd] if initrd else []
    return line + (["-append", append] if append else [])


def qemu_on_martlet(kernel, initrd=None, append=None, memory=MEMORY):
    """QEMU as a client of the preload library."""
    return [MARTLET, "kvm", "--"] + qemu(kernel, initrd, append, memory, accelerator="kvm")


class Failure(Exception):
    pass


class Session:
    """A machine, or the host, that runs one program after the other (`guest-session`)."""

    def __init__(self, name, command, patience=180):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._await("ready", patience)

    def _read(self):
        for line in self.process.stdout:
            # Stamped here, so that nothing that this process does in between counts.
            self.lines.put((time.monotonic(), line.decode(errors="replace").strip()))
        self.lines.put((time.monotonic(), None))

    def _await(self, word, patience):
        deadline = time.monotonic() + patience
        while True:
            try:
                at, line = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failure(f"{self.name} did not say “{word}” within {patience} s") from None
            if line is None:
                raise Failure(f"{self.name} has ended")
            if line.startswith("programs:") or "not found" in line:
                raise Failure(f"{self.name}: {line}")
            if line == word or line.startswith(word + " "):
                return at, line

    def run(self, program, count, patience=900):
        """Seconds and result of `count` turns."""
        self.process.stdin.write(f"{program} {count}\n".encode())
        begin, _ = self._await("begin", patience)
        end, line = self._await("end", patience)
        return end - begin, line

    def close(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def native_session():
    """The same files on the host: by chroot, which needs root or a user namespace."""
    folder = os.path.join(GUESTS, ".work/root-bench")
    chroot = ["chroot", folder, "/bin/busybox", "sh", "/session"]
    return Session("the host", chroot if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"] + chroot)


def guest_session(name, line, **options):
    """A machine with Debian's cloud kernel: `line` is `martlet` or `qemu`."""
    append = "console=ttyS0 quiet panic=-1"
    return Session(
        name, line(os.path.join(GUESTS, "vmlinuz"), os.path.join(GUESTS, "initramfs-bench"), append, memory=1024, **options))
