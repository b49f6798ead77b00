"""The terminal of a process: the socket over which runc hands the pty's master, and its size."""

import fcntl
import os
import socket
import struct
import sys
import termios

from corten.errors import Internal

assert sys.platform != "win32"

_SIZE = struct.Struct("HHHH")


class ConsoleSocket:
    """Listens before runc starts; runc sends the master before it returns (runc's docs/terminals.md)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.bind(path)
        os.chmod(path, 0o600)
        self._socket.listen(1)
        self._socket.setblocking(False)

    def master(self) -> int:
        """The descriptor, non-blocking; to be called once runc has succeeded. Raises Internal if none came."""
        try:
            connection, _ = self._socket.accept()
            with connection:
                fds = socket.recv_fds(connection, 4096, 1, socket.MSG_CMSG_CLOEXEC)[1]
        except BlockingIOError:
            fds = []
        if not fds:
            raise Internal("runc returned without handing over the terminal it was asked for")
        os.set_blocking(fds[0], False)
        return fds[0]

    def close(self) -> None:
        """Close and remove the socket."""
        self._socket.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def resize(master: int, width: int, height: int) -> None:
    """Set the size of the terminal in characters."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, _SIZE.pack(height, width, 0, 0))
