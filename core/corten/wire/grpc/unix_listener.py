"""A gRPC server's unix socket, placed safely."""

import sys
from typing import Any

from .. import unix
from .listeners import bound

assert sys.platform != "win32"


class UnixListener:
    """A socket on the file system."""

    def __init__(self, path: str, owner: unix.Owner) -> None:
        self._socket = unix.PlacedSocket(path, owner)

    def __str__(self) -> str:
        return self._socket.path

    def bind(self, server: Any) -> None:
        self._socket.prepare()
        bound(server.add_insecure_port, f"unix:{self._socket.bind_path}", what=f"socket {self._socket.path}")

    def open(self) -> None:
        self._socket.publish()

    def close(self) -> None:
        self._socket.unlink()

    def admit(self, context: Any) -> None:
        """The mode of the socket has decided."""

    def release(self) -> None:
        self._socket.remove()
