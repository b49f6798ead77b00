"""A unix socket that appears in its place whole: owner and mode set, served, and never over another's.

The socket is bound in a private directory (0700) beside its place, so that nobody connects while it still has the
mode that bind(2) gave it. It is then renamed into place, which replaces the socket of a daemon that died in the same
step. Whoever calls holds the lock of the address; a socket that somebody listens on is refused all the same.
On removal only the very socket that was placed is unlinked.
"""

import os
import socket
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path

from corten.errors import FailedPrecondition, mapped
from corten.values import dataclass

from .address import socket_path

assert sys.platform != "win32"

_NAME = "s"
DIRECTORY_MODE = 0o711
"""Of directories that are made on the way: a member of the socket's group must get through."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may connect; -1 leaves the daemon's own uid or gid."""

    uid: int = -1
    gid: int = -1
    mode: int = 0o660


class PlacedSocket:
    """One socket on its way: `prepare`, bind to `bind_path`, listen, `publish`; at the end `remove`.

    Every step raises errors of `corten.errors` that name the path.
    """

    def __init__(self, path: str, owner: Owner | None = None) -> None:
        self.path = socket_path(path.removeprefix("unix://"))
        self._owner = owner or Owner()
        folder, name = os.path.split(self.path)
        self._private = Path(folder, f".{name}.new")
        self._directory = -1
        self._identity: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"PlacedSocket({self.path}, {'placed' if self._identity else 'not placed'})"

    @property
    def bind_path(self) -> str:
        """Where to bind: short whatever the length of the directory's name."""
        return f"/proc/self/fd/{self._directory}/{_NAME}"

    def prepare(self) -> None:
        """Make the private directory. Raises FailedPrecondition if the place is taken."""
        refuse_taken(self.path)
        with mapped(f"socket {self.path}: cannot make its directory"):
            os.makedirs(os.path.dirname(self.path), DIRECTORY_MODE, exist_ok=True)
            self._clear()
            os.mkdir(self._private, 0o700)
            self._directory = os.open(self._private, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def publish(self) -> None:
        """Give the bound socket its owner and mode, and let it appear. Raises FailedPrecondition if taken."""
        refuse_taken(self.path)
        with mapped(f"socket {self.path}: cannot put it in place"):
            os.chown(_NAME, self._owner.uid, self._owner.gid, dir_fd=self._directory, follow_symlinks=False)
            os.chmod(_NAME, self._owner.mode, dir_fd=self._directory)
            found = os.stat(_NAME, dir_fd=self._directory, follow_symlinks=False)
            os.rename(_NAME, self.path, src_dir_fd=self._directory)
        self._identity = (found.st_dev, found.st_ino)
        self._clear()

    def unlink(self) -> None:
        """Take the socket away if it is still the one that was placed; nothing happens if it is not."""
        if self._identity and _identity(self.path) == self._identity:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        self._identity = None

    def remove(self) -> None:
        """`unlink`, and give back what is held; the server must have stopped."""
        self.unlink()
        self._clear()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _clear(self) -> None:
        for take in (self._private.joinpath(_NAME).unlink, self._private.rmdir):
            with suppress(OSError):  # not there; what really is in the way fails the mkdir
                take()


def refuse_taken(path: str) -> None:
    """Raises FailedPrecondition if `path` is no socket, or one that somebody listens on; passes a dead one."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise FailedPrecondition(f"socket {path}: something else is there, and it is left alone (remove or move it)")
    if (pid := listener(path)) is not None:
        raise FailedPrecondition(
            f"socket {path}: process {pid} ({_name(pid)}) serves it (stop that one, or choose another address)"
        )


def listener(path: str) -> int | None:
    """The process that listens on a socket (0 if it cannot be told); None for a socket left by a dead one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:  # of another type, its backlog full, or not for us: in use
            return 0
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "unknown"
