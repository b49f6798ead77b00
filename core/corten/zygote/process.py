"""The prctl(2) calls that the zygote's children make about themselves."""

import ctypes
import os
import signal
import sys

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
