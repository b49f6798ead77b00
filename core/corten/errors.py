"""The closed vocabulary of errors: one class for each gRPC status code, and nothing else crosses a contract.

A message names the object, the action and the cause, and the remedy where there is one:
`snapshot "sha256:ab" in overlayfs: cannot remove: it has 2 children (remove them first)`.
Foreign errors (OSError, lmdb.Error, a runc that failed) are translated where they enter, with `mapped`.
The numbers are those of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html);
containerd's clients recognise errors by them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar


class CortenError(Exception):
    """What every error of Corten's is; raised itself only through its subclasses."""

    code: ClassVar[int] = 2

    @property
    def message(self) -> str:
        """The sentence for a person."""
        return str(self.args[0]) if self.args else type(self).__name__


class Cancelled(CortenError):
    """The caller went away, and the work stopped at a named point."""

    code = 1


class Unknown(CortenError):
    """A failure that fits no other class; a bug in a plugin ends up here with its own text."""

    code = 2


class InvalidArgument(CortenError):
    """The request is wrong whatever the state of the system: the caller must change it."""

    code = 3


class DeadlineExceeded(CortenError):
    """The work did not end in the time it was given."""

    code = 4


class NotFound(CortenError):
    """The named object does not exist in this namespace."""

    code = 5


class AlreadyExists(CortenError):
    """The named object exists already; for a content writer: the blob needs no writing."""

    code = 6


class PermissionDenied(CortenError):
    """The caller, or the daemon on this host, may not do this."""

    code = 7


class ResourceExhausted(CortenError):
    """A stated bound was reached, or the disk or a pool is full."""

    code = 8


class FailedPrecondition(CortenError):
    """The object is in a state that forbids this; the caller must change that state first."""

    code = 9


class Aborted(CortenError):
    """Another caller got in between; trying the whole again may succeed."""

    code = 10


class OutOfRange(CortenError):
    """An offset or a number lies outside of what the object has."""

    code = 11


class Unimplemented(CortenError):
    """This implementation does not do that (a differ that does not know a media type, say)."""

    code = 12


class Internal(CortenError):
    """An invariant of Corten's own is broken: our bug."""

    code = 13


class Unavailable(CortenError):
    """Held by another for the moment, or not started yet; trying again later may succeed."""

    code = 14


class DataLoss(CortenError):
    """Stored data is damaged or gone."""

    code = 15


class Unauthenticated(CortenError):
    """Credentials are missing or were refused."""

    code = 16


BY_CODE: Mapping[int, type[CortenError]] = {
    cls.code: cls
    for cls in (
        Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied,
        ResourceExhausted, FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable,
        DataLoss, Unauthenticated,
    )
}  # fmt: skip


def from_code(code: int, message: str) -> CortenError:
    """The error of this vocabulary for a gRPC status code; `Unknown` for a code that does not exist."""
    return BY_CODE.get(code, Unknown)(message)


def code_of(error: BaseException) -> int:
    """The gRPC status code that stands for `error`."""
    if isinstance(error, CortenError):
        return error.code
    return next((cls.code for kind, cls in _OS_ERRORS.items() if isinstance(error, kind)), Unknown.code)


_OS_ERRORS: Mapping[type[BaseException], type[CortenError]] = {
    FileNotFoundError: NotFound,
    FileExistsError: AlreadyExists,
    PermissionError: PermissionDenied,
    TimeoutError: DeadlineExceeded,
    MemoryError: ResourceExhausted,
}


@contextmanager
def mapped(action: str, errors: Mapping[type[BaseException], type[CortenError]] = _OS_ERRORS) -> Iterator[None]:
    """Translate foreign errors raised inside: the first matching class of `errors`; other `OSError`s as `Unknown`.

    `action` says what was tried on which object; the foreign error's own text follows it.
    """
    foreign: tuple[type[BaseException], ...] = (OSError, *errors)
    try:
        yield
    except CortenError:
        raise
    except foreign as error:
        cls = next((target for kind, target in errors.items() if isinstance(error, kind)), Unknown)
        if isinstance(error, OSError) and error.errno in _FULL:
            cls = ResourceExhausted
        raise cls(f"{action}: {_told(error, action)}") from error


def _told(error: BaseException, action: str) -> str:
    """The system's own words, and of the file in it what `action` does not name already."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    names = [str(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return ": ".join([error.strerror, *(name for name in names if name not in action)])


_FULL = frozenset({28, 122})  # ENOSPC, EDQUOT
