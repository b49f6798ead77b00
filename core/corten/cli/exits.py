"""Exit codes of the command `corten`: stable, so that scripts may rely on them.

`run`, `exec`, `attach`, `start --attach` and `wait` of one container exit as the process in it did; what else goes
wrong with these is 125 to 127, as shells and docker have it.
"""

import re

from corten.errors import (
    AlreadyExists,
    CortenError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

FAILED = 1
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
DENIED = 5
UNAVAILABLE = 6
NOT_RUN = 125
NOT_EXECUTABLE = 126
NO_COMMAND = 127
INTERRUPTED = 130
KILLED = 137
UNREAD = 141

MEANINGS = {
    0: "done",
    FAILED: "the daemon refused or failed",
    USAGE: "the command line is wrong",
    NOT_FOUND: "there is no such object",
    CONFLICT: "the object exists already, or its state forbids this",
    DENIED: "permission denied, or credentials were refused",
    UNAVAILABLE: "no daemon answers, or what it needs does not",
    NOT_RUN: "run, exec, attach, start, wait: there is no process to exit as; a wrong command line, too",
    NOT_EXECUTABLE: "run, exec: the command cannot be executed",
    NO_COMMAND: "run, exec: the command does not exist in the container",
    INTERRUPTED: "interrupted from the keyboard",
    KILLED: "run, exec, attach, start, wait: the process was killed; a line tells if that was for want of memory",
    UNREAD: "run, exec: nobody reads the output any more, so the process was killed",
}

_CODES: tuple[tuple[tuple[type[CortenError], ...], int], ...] = (
    ((InvalidArgument,), USAGE),
    ((NotFound,), NOT_FOUND),
    ((AlreadyExists, FailedPrecondition), CONFLICT),
    ((PermissionDenied, Unauthenticated), DENIED),
    ((Unavailable,), UNAVAILABLE),
)


_NAME = re.compile(r"container '[^']*': ")


def of(error: CortenError) -> int:
    """The exit code for an error of a command that starts no process."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), FAILED)


def of_start(error: CortenError) -> int:
    """The exit code for an error of `run` or `exec` before the process ran; runc says why in words only."""
    text = _NAME.sub("", error.message, count=1)
    if "executable file not found" in text or ("exec" in text and "no such file or directory" in text):
        return NO_COMMAND
    if "exec" in text and ("permission denied" in text or "is a directory" in text or "exec format error" in text):
        return NOT_EXECUTABLE
    return NOT_RUN
