"""What a worker leaves for the next: the objects of the shim as bytes, and its descriptors with their numbers.

Objects that every worker makes anew (loop, reaper, service …) are told by name; all others are pickled as they are, so
whatever lives longer than an operation holds no generator and no local function. Nothing of this leaves the shim: the
bytes are read by a process with the same code in its memory.
"""

import _socket
import copyreg
import fcntl
import os
import sys
from _pickle import Pickler, Unpickler
from collections.abc import Mapping, Sequence
from io import BytesIO
from struct import Struct
from typing import Any

assert sys.platform != "win32"

FDS_MAX = 250
"""The kernel takes 253 descriptors in a message (SCM_MAX_FD, unix(7))."""
SIZE_MAX = 96 * 1024
"""Bytes of a message; the kernel takes 208 KiB at least."""


def pack(state: object, roots: Mapping[str, object]) -> bytes:
    """The state with everything that hangs on it, but for `roots`. Raises what pickle does for what cannot be told."""
    file = BytesIO()
    pickler = _Pickler(file, 5)
    pickler.names = {id(root): name for name, root in roots.items()}
    pickler.dump(state)
    return file.getvalue()


def unpack(data: bytes, roots: Mapping[str, object]) -> Any:
    """What `pack` was given; sockets have the descriptors that they had."""
    unpickler = _Unpickler(BytesIO(data))
    unpickler.roots = roots
    return unpickler.load()


class _Pickler(Pickler):
    names: Mapping[int, str]

    def persistent_id(self, thing: object) -> str | None:
        return self.names.get(id(thing))


class _Unpickler(Unpickler):
    roots: Mapping[str, object]

    def persistent_load(self, name: str) -> object:
        return self.roots[name]


def _told(peer: _socket.socket) -> tuple[Any, tuple[int]]:
    return _socket_of, (peer.fileno(),)


def _socket_of(fd: int) -> _socket.socket:
    if fd >= 0:
        return _socket.socket(fileno=fd)
    closed = _socket.socket(_socket.AF_UNIX)
    closed.close()
    return closed


copyreg.pickle(_socket.socket, _told)


def open_fds(but: Sequence[int]) -> list[int]:
    """All open descriptors except the standard streams and those."""
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return [fd for fd in listed if fd > 2 and fd not in but and _is_open(fd)]


def _is_open(fd: int) -> bool:
    """Not so for the one with which they were listed."""
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def leave(lot: _socket.socket, data: bytes, fds: Sequence[int]) -> bool:
    """Send it all as one message; False if it is too much for one."""
    numbers = Struct(f"={len(fds)}i").pack(*fds)
    message = Struct("=i").pack(len(fds)) + numbers + data
    if len(fds) > FDS_MAX or len(message) > SIZE_MAX:
        return False
    try:
        lot.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)] if fds else [])
    except OSError:  # more are under way than this user may have (ETOOMANYREFS)
        return False
    return True


def take(lot: _socket.socket) -> bytes:
    """What was left; its descriptors are open under the numbers that they had."""
    message, ancillary, _, _ = lot.recvmsg(SIZE_MAX, _socket.CMSG_SPACE(4 * FDS_MAX), _socket.MSG_CMSG_CLOEXEC)
    (count,) = Struct("=i").unpack_from(message)
    numbers = Struct(f"={count}i").unpack_from(message, 4)
    came = Struct(f"={count}i").unpack(ancillary[0][2]) if count else ()
    _renumber(came, numbers)
    return message[4 * (count + 1) :]


def _renumber(came: Sequence[int], numbers: Sequence[int]) -> None:
    """By way of numbers beyond all of them, for one may be in another's place."""
    beyond = max((*came, *numbers), default=0) + 1
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, beyond) for fd in came]
    for fd in came:
        os.close(fd)
    for fd, number in zip(moved, numbers, strict=True):
        os.dup2(fd, number, inheritable=False)
        os.close(fd)
