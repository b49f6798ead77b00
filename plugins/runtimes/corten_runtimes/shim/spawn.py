"""Running runc: the command line of each verb, and its failure as an error with runc's own words."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from corten.errors import (
    AlreadyExists,
    CortenError,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    Unavailable,
    Unknown,
)

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import Later, Loop, Steps
from .reaper import Ended, Reaper

DEADLINE = 120.0
"""Seconds that a command may take unless the settings say otherwise."""
NULL = -1
"""In place of a descriptor: /dev/null."""
# Plain numbers and a plain dict: every object that is only looked at costs a forked shim the page it lies on.
DEFAULTS = sorted(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_ENVIRON = dict(os.environ)
_KINDS: Mapping[str, type[CortenError]] = {
    "does not exist": NotFound,
    "already exists": AlreadyExists,
    "not running": FailedPrecondition,
    "not paused": FailedPrecondition,
    "has stopped": FailedPrecondition,
    "process already finished": NotFound,
}


class RuncSettings(NamedTuple):
    """How runc is called for one container: binary, runc's state folder, flags of `containerd.runc.v1.Options`."""

    binary: str
    root: str
    systemd_cgroup: bool = False
    no_pivot_root: bool = False
    no_new_keyring: bool = False
    criu_work_path: str = ""
    deadline: float = DEADLINE


def command(settings: RuncSettings, log: str, verb: Sequence[str]) -> list[str]:
    """The whole command line for a verb with its arguments."""
    words = [settings.binary, "--root", settings.root, "--log", log, "--log-format", "json"]
    if settings.systemd_cgroup:
        words.append("--systemd-cgroup")
    return [*words, *verb]


def create(settings: RuncSettings, id: str, bundle: str, pid_file: str, console: str) -> list[str]:
    """`runc create`."""
    words = ["create", "--bundle", bundle, "--pid-file", pid_file]
    if console:
        words += ["--console-socket", console]
    if settings.no_pivot_root:
        words.append("--no-pivot")
    if settings.no_new_keyring:
        words.append("--no-new-keyring")
    return [*words, id]


def restore(
    settings: RuncSettings, id: str, bundle: str, pid_file: str, console: str, image: str, work: str
) -> list[str]:
    """`runc restore` of what criu wrote to the folder `image`, detached."""
    words = ["restore", "--detach", "--no-subreaper", "--bundle", bundle, "--pid-file", pid_file]
    words += ["--image-path", image, "--work-path", work]
    if console:
        words += ["--console-socket", console]
    if settings.no_pivot_root:
        words.append("--no-pivot")
    return [*words, id]


def execute(id: str, process: str, pid_file: str, console: str) -> list[str]:
    """`runc exec`, detached."""
    words = ["exec", "--detach", "--process", process, "--pid-file", pid_file]
    if console:
        words += ["--console-socket", console]
    return [*words, id]


def no_program(binary: str) -> NotFound:
    """The error for a runtime that is not installed."""
    where = "" if "/" in binary else " on PATH"
    return NotFound(f'runtime "{binary}": no such program{where} (install it, or set another as binary_name)')


def spawn(reaper: Reaper, words: Sequence[str], streams: Sequence[int]) -> tuple[int, Later[Ended]]:
    """Start a command with these three streams, a clean signal state and a process group of its own.

    Returns its pid, and how it ends later. Raises Unavailable, NotFound.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null if fd == NULL else fd, target) for target, fd in enumerate(streams)]
    try:
        pid = os.posix_spawnp(
            words[0], list(words), _ENVIRON, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=DEFAULTS
        )
    except FileNotFoundError:
        raise no_program(words[0]) from None
    except OSError as error:
        raise Unavailable(f"runtime {words[0]}: cannot start: {error}") from None
    finally:
        os.close(null)
    return pid, reaper.expect(pid)


def run(
    loop: Loop,
    reaper: Reaper,
    settings: RuncSettings,
    log: str,
    verb: Sequence[str],
    streams: Sequence[int] | None = None,
) -> Steps[None]:
    """Run runc to its end; raises what it says in its log, which is removed, or DeadlineExceeded when it was killed.

    Without `streams` what it prints goes to the log as well, for a runc that fails before it knows its log.
    """
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        pid, ended = spawn(reaper, command(settings, log, verb), streams or (NULL, NULL, fd))
    finally:
        os.close(fd)
    late = loop.after(settings.deadline, lambda: os.killpg(pid, signal.SIGKILL))  # it is not reaped before `ended`
    status = (yield from ended.wait()).status
    try:
        if late[0] <= time.monotonic():
            raise DeadlineExceeded(
                f"OCI runtime {verb[0]} failed: it was not done in {settings.deadline:g} s, and killed"
            )
        loop.cancel(late)
        if status:
            raise failure(settings.binary, verb[0], status, _read(log))
    finally:
        os.unlink(log)


def failure(binary: str, verb: str, status: int, log: str) -> CortenError:
    """The error for a verb that ended with `status` and this log: its last error line, as it may warn before."""
    message = last_error(log) or f"{binary} ended with status {status} and said nothing"
    kind = next((cls for words, cls in _KINDS.items() if words in message), Unknown)
    return kind(f"OCI runtime {verb} failed: {message}")


def last_error(log: str) -> str:
    """The message of the last line of level error or worse; else the last line that is not JSON."""
    message = plain = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
            if entry.get("level") in ("error", "fatal", "panic"):
                message = str(entry.get("msg", ""))
        except (ValueError, AttributeError):
            plain = line.strip() or plain
    return message or plain


def _read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read(1 << 20)
