"""The socket of a daemon that was killed: taken away before anything else, so that clients wait for the next daemon.

Clients of containerd wait for a socket that is not there yet, but give up at once where nobody listens on one that is.
"""

from __future__ import annotations

import os
import socket
import stat
import sys


def clear(address: str) -> None:
    """Unlink the socket at `address` if it is Corten's, no daemon holds its lock, and nobody listens on it.

    Raises nothing: whatever stands in the way is for the start itself to find and to tell.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        lock = os.open(f"{address}.lock", os.O_RDWR | os.O_NOFOLLOW)  # only a daemon of Corten's leaves one
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISSOCK(os.lstat(address).st_mode) and _abandoned(address):
            os.unlink(address)
    except OSError:
        pass
    finally:
        os.close(lock)


def _abandoned(address: str) -> bool:
    """Whether nobody listens. Raises OSError if that cannot be told."""
    if sys.platform == "win32":
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            return True
    return False
