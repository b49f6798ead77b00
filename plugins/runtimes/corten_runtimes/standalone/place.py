"""Where the standing zygote and the shims' sockets of a state directory are."""

import _socket
import hashlib
import os
import sys

assert sys.platform != "win32"

BASE = "/run/corten/shims"
"""Paths of sockets are short (107 bytes, unix(7)), so they cannot lie in the state directory itself."""
RECORD = "socket"
"""The file in a bundle that names the socket of its shim."""


def folder(bundle: str) -> str:
    """For all bundles `STATE/NAMESPACE/ID` of one state directory."""
    state = os.path.dirname(os.path.dirname(os.path.realpath(bundle)))
    return f"{BASE}/{_digest(state)[:16]}"


def socket(directory: str, address: str, namespace: str, group: str) -> str:
    """The socket of a shim: the same for all containers of a group, as their starts must find it."""
    return f"{directory}/{_digest(address, namespace, group)[:32]}"


def listens(path: str) -> bool:
    """Whether a shim is at the socket; one that is left over is removed."""
    peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        if not peer.connect_ex(path):
            return True
        if os.path.lexists(path):
            os.unlink(path)
        return False
    finally:
        peer.close()


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
