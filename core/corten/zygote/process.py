"""What the zygote and its children say of themselves to the kernel: prctl(2), and their command line."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

assert sys.platform != "win32"

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_prctl_raw = ctypes.CDLL(None, use_errno=True).prctl


def _prctl(option: int, argument: int | bytes) -> None:
    if _prctl_raw(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked this one (pid `parent`) ends, also if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Set what `ps -o comm` shows; the kernel cuts at 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode())


def become_subreaper(become: bool = True) -> None:
    """Become, or cease to be, the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(become))


_title: list[int] = []
"""Where the kernel reads the command line, and how much of it there is; empty until `reserve_title`."""


def reserve_title() -> None:
    """Find the command line's memory: to be called once by the zygote, whose children inherit what it finds."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, fields 48 and 49 of proc_pid_stat(5)
    _title[:] = start, end - start


def set_title(words: Sequence[str]) -> None:
    """Write over the command line, which is what `ps` shows; it is cut where the room ends.

    prctl(PR_SET_MM) would point the kernel elsewhere, but needs CAP_SYS_RESOURCE.
    """
    if not _title:
        return
    start, room = _title
    text = "\0".join(words).encode(errors="replace")[: room - 1]
    try:
        fd = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(fd, text.ljust(room, b"\0"), start)
        os.close(fd)
    except OSError:
        pass  # a kernel that allows nobody to write there: only `ps` is the poorer
