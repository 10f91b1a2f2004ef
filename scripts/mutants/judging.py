"""Runs tests of the build that has the bugs in it, with one of them or with none."""
import ctypes
import json
import os
import selectors
import signal
import subprocess
import time

# What a test leaves behind when it is ended falls to this process, which ends it.
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Outcome:
    """How a run of tests ended: `failure` is None, or what was seen; `test` is the one that saw it, where that is known."""

    def __init__(self, failure, test, count, seconds, log):
        self.failure, self.test, self.count, self.seconds, self.log = failure, test, count, seconds, log


class Judge:
    def __init__(self, build, folder):
        self.bundle = os.path.join(build, "martletPackageTests.xctest")
        self.folder = folder
        self.log = os.path.join(folder, "last.log")

    def run(self, filters, skips=(), mutant=0, limit=None):
        """Runs what any of `filters` names and none of `skips`, up to its first failure. `limit` is in seconds."""
        reader, writer = os.pipe()
        command = [self.bundle, "--testing-library", "swift-testing"]
        command += ["--event-stream-output-path", f"/dev/fd/{writer}", "--event-stream-version", "0"]
        for name in filters:
            command += ["--filter", name]
        for name in skips:
            command += ["--skip", name]
        environment = dict(os.environ, NO_COLOR="1", SWIFT_BACKTRACE="enable=no", MARTLET_MUTANT=str(mutant))
        start = time.monotonic()
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, pass_fds=[writer], start_new_session=True, preexec_fn=no_cores)
        os.close(writer)
        try:
            failure, test, count = watch(process, reader, start + limit if limit else None)
        finally:
            os.close(reader)
            end(process)
        return Outcome(failure, test, count, time.monotonic() - start, self.log)


def no_cores():
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def watch(process, reader, deadline):
    """Reads the tests' events until the first issue, the end or the deadline."""
    running, count, rest, ended = {}, 0, b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if selector.select(0.2):
                piece = os.read(reader, 1 << 16)
                lines = (rest + piece).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    record = json.loads(line)
                    payload = record["payload"]
                    if record["kind"] != "event":
                        continue
                    test = payload.get("testID", "")
                    kind = payload["kind"]
                    if kind == "issueRecorded" and not payload["issue"]["isKnown"]:
                        text = next((message["text"] for message in payload["messages"]), "an issue")
                        return text, short(test), count
                    if kind == "testStarted" and "/" in test:
                        running[test] = True
                    if kind == "testEnded" and running.pop(test, None):
                        count += 1
                    ended = ended or kind == "runEnded"
                if piece:
                    continue
            # The stream may outlive the process in those that it has started.
            status = process.poll()
            if status is not None:
                here = short(next(iter(running), ""))
                if status < 0:
                    return f"ended by {signal.Signals(-status).name}", here, count
                # 69 (EX_UNAVAILABLE): no test is named so.
                return (None if status in (0, 69) and ended else f"exit status {status}"), here, count
            if deadline and time.monotonic() > deadline:
                return "hangs", short(next(iter(running), "")), count


def short(test):
    """Module.Suite/function of an identifier that ends in a place in a file."""
    return "/".join(part for part in test.split("/")[:-1]) if test.count("/") else test


def end(process):
    """Ends what is left of a run, whatever its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    while orphans := children():
        for child in orphans:
            try:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]
