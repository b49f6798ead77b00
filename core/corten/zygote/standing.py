"""A zygote for programs that come and go: it listens on a path, and ends when nobody has needed it for a while.

It is needed as long as a child of it lives, or somebody is connected. `borrow` is the programs' side: it reaches the
zygote of a folder, and starts it if there is none. All in the folder happens under the lock of the folder, so that one
that ends and one that is started do not meet.
"""

import fcntl
import os
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from corten.errors import Unavailable

from . import process, server
from .client import ROOM, Zygote, environment

assert sys.platform != "win32"

LINGER = 5.0
"""Seconds that it stays when nobody needs it."""
PATIENCE = 10.0
"""Seconds that one who is connected may take to ask, or to take the answer: others wait meanwhile."""
BACKLOG = 128


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be; whoever has it last may remove both."""
    fd = _lock(folder)
    try:
        yield
    finally:
        os.close(fd)


def borrow(folder: str, modules: Sequence[str]) -> Zygote:
    """The zygote that stands in `folder`; to be called, and its first fork to be asked for, under `locked`.

    Raises Unavailable. The first takes as long as a Python process that imports `modules`; later ones a millisecond.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    path = f"{folder}/zygote"
    try:
        control.connect(path)
    except OSError:
        _start(path, modules)
        control.connect(path)  # it answers when it has imported
    return Zygote.reach(control)


def main(path: str, fd: int, modules: Sequence[str]) -> None:
    """The zygote, with the listening socket `fd` at `path`."""
    process.name_process("corten-zygote")
    process.reserve_title()
    process.set_title(["corten-zygote", path])
    listener = socket.socket(fileno=fd)
    listener.set_inheritable(False)
    serving = server.Server(server.prepare(modules), (listener.fileno(),))
    serving.reap_children()
    while _next(path, listener, serving):
        pass
    os._exit(0)


def _next(path: str, listener: socket.socket, serving: server.Server) -> bool:
    """Serve one who connects; False once nobody has for a while and no child is left."""
    if _pending(listener, LINGER):
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        with connection:
            try:
                serving.serve(connection)
            except OSError:
                pass  # it left before its answer, or has hung
        return True
    with locked(os.path.dirname(path)):
        if serving.has_children() or _pending(listener, 0):
            return True
        os.unlink(path)
        _clear(os.path.dirname(path))
    return False


def clear(folder: str) -> None:
    """Remove what a zygote that was killed has left of its folder, as far as nobody else needs it."""
    if not os.path.isdir(folder):
        return
    with locked(folder):
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with control:
            if not control.connect_ex(f"{folder}/zygote"):
                return
        Path(folder, "zygote").unlink(missing_ok=True)
        _clear(folder)


def _clear(folder: str) -> None:
    """Remove the folder unless somebody listens in it: a shim may outlive the zygote that forked it."""
    entries = list(Path(folder).iterdir())
    if not any(entry.is_socket() and _listens(entry) for entry in entries):
        for entry in entries:
            entry.unlink()
        Path(folder).rmdir()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        return not peer.connect_ex(str(path))


def _pending(listener: socket.socket, seconds: float) -> bool:
    return bool(select.select([listener], [], [], seconds)[0])


def _lock(folder: str) -> int:
    path = f"{folder}/lock"
    while True:
        os.makedirs(folder, 0o700, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the folder was removed between
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass  # its last holder has removed it
        os.close(fd)


def _start(path: str, modules: Sequence[str]) -> None:
    """Listen, then start the zygote with the listening socket: whoever connects now waits until it is ready."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "corten.zygote", f"{path}:3", ROOM, *modules],
            environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3), *null],
            setsid=True,
        )
    except OSError as error:
        raise Unavailable(f"zygote {path}: cannot start: {error}") from error
    finally:
        listener.close()
