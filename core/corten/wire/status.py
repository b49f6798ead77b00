"""The one place where an error becomes a status on the wire, for gRPC and ttrpc alike."""

import logging

from corten.errors import CortenError, Internal, Unknown
from corten.values import dataclass

log = logging.getLogger(__name__)

MAX_TEXT = 2400
"""Bytes of a status text: clients refuse trailers of over 8 KiB, and non-ASCII text takes three times its bytes."""


@dataclass(frozen=True, slots=True)
class Status:
    """A gRPC status code and the text for a person."""

    code: int
    text: str


def status_of(error: BaseException, path: str) -> Status:
    """The status for an error raised while `path` was served.

    An error of `corten.errors` keeps its code and message; anything else is a bug of the service: it is logged with
    its traceback, and answered as Unknown with its own text.
    """
    if isinstance(error, CortenError):
        if isinstance(error, Internal):
            log.error("%s: %s", path, error.message, exc_info=error)
        return Status(error.code, shortened(error.message))
    log.error("%s: unexpected %s", path, type(error).__name__, exc_info=error)
    return Status(Unknown.code, shortened(f"{type(error).__name__}: {error}"))


def shortened(text: str) -> str:
    """`text` if it fits into a status, else its beginning and its end."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_TEXT:
        return data.decode()
    head, tail = data[: MAX_TEXT * 2 // 3], data[-MAX_TEXT // 4 :]
    dropped = len(data) - len(head) - len(tail)
    return f"{head.decode(errors='ignore')} […{dropped} bytes…] {tail.decode(errors='ignore')}"
