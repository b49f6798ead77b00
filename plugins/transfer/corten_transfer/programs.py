"""A program run to its end, within a time and with bounded output; blocking."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from corten import descriptors
from corten.errors import DeadlineExceeded, FailedPrecondition
from corten.values import dataclass

assert sys.platform != "win32"

MAX_OUTPUT = 32 << 10
"""Bytes of each output that are kept; the rest is read and dropped, so that no program waits for it."""
_READ = 64 << 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` is negative for a signal; the outputs are stripped, and say so when they were cut."""

    code: int
    stdout: str
    stderr: str


def run(argv: Sequence[str], stdin: bytes, env: Mapping[str, str], timeout: float) -> Outcome:
    """`timeout` in seconds is for all of it; then the program goes, and what it started in its session.

    Raises FailedPrecondition for a program that cannot be run, DeadlineExceeded.
    """
    try:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise FailedPrecondition(f"program {argv[0]}: cannot run it: {error.strerror or error}") from error
    end = time.monotonic() + timeout
    try:
        stdout, stderr = _talk(process, stdin, end)
        _await_end(process, end)
    except TimeoutError:
        raise DeadlineExceeded(f"program {argv[0]}: it took longer than {timeout:g} s, and was killed") from None
    finally:
        # Its group has its pid, which is not given to another before the wait.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):  # an unsent rest for a program that has gone
                    pipe.close()
    return Outcome(process.returncode, stdout, stderr)


def _await_end(process: "subprocess.Popen[bytes]", end: float) -> None:
    """Until it is a zombie. Raises TimeoutError."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if not descriptors.readable(pidfd, max(0.0, end - time.monotonic())):
            raise TimeoutError
    finally:
        os.close(pidfd)


def _talk(process: "subprocess.Popen[bytes]", stdin: bytes, end: float) -> tuple[str, str]:
    """Feed and read it until both outputs end. Raises TimeoutError."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    kept: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    feed = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        while kept.keys() & {key.fd for key in selector.get_map().values()}:
            if (left := end - time.monotonic()) <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                if key.fd in kept:
                    _read(selector, key.fileobj, kept[key.fd])  # type: ignore[arg-type]
                else:
                    feed = _write(selector, process.stdin, feed)
    return _text(kept[process.stdout.fileno()]), _text(kept[process.stderr.fileno()])


def _read(selector: selectors.BaseSelector, pipe: IO[bytes], kept: bytearray) -> None:
    if not (data := os.read(pipe.fileno(), _READ)):
        selector.unregister(pipe)
    kept += data[: MAX_OUTPUT + 1 - len(kept)]


def _write(selector: selectors.BaseSelector, pipe: IO[bytes], feed: memoryview) -> memoryview:
    try:
        feed = feed[os.write(pipe.fileno(), feed[:_READ]) :]
    except BrokenPipeError:  # it does not want to know all
        feed = feed[:0]
    if not feed:
        selector.unregister(pipe)
        pipe.close()
    return feed


def _text(data: bytearray) -> str:
    text = bytes(data[:MAX_OUTPUT]).decode(errors="replace").strip()
    return f"{text} (cut off)" if len(data) > MAX_OUTPUT else text
