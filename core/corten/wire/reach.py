"""Why a server cannot be reached, in a sentence that names the address and the remedy."""

import errno
import socket
import sys

from corten.errors import CortenError, PermissionDenied, Unavailable

from .address import Address


def unreachable(address: Address) -> CortenError | None:
    """Try the socket; None when it takes connections, so that the failure has another cause. Does not wait."""
    try:
        _connect(address)
    except BlockingIOError:  # a full backlog: somebody listens
        return None
    except OSError as error:
        return explained(address, error)
    return None


def explained(address: Address, error: OSError) -> CortenError:
    """The error for a failed connect."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Unavailable(f"socket {address}: it does not exist (is cortend running? is the address right?)")
        case errno.ECONNREFUSED:
            return Unavailable(f"socket {address}: nobody listens on it (is cortend running?)")
        case errno.EACCES | errno.EPERM:
            return PermissionDenied(
                f"socket {address}: permission denied (run as root, or as a member of the socket's group)"
            )
        case _:
            return Unavailable(f"socket {address}: cannot connect: {error.strerror or error}")


def _connect(address: Address) -> None:
    if sys.platform == "win32" or not address.path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        probe.connect(address.path)
