"""`corten` as a person has it: typed at on a pseudo-terminal."""

import os
import pty
import select
import time

from daemon import CORTEN, Daemon


class Terminal:
    """`corten …` on a pseudo-terminal, as a person has it."""

    def __init__(self, daemon: Daemon, *args: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            env = {**os.environ, "CORTEN_LOGS": f"{daemon.folder}/logs"}
            os.execve(CORTEN, [str(CORTEN), "-a", daemon.address, "-n", "cli", *args], env)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def until(self, text: bytes, timeout: float = 20) -> None:
        end = time.monotonic() + timeout
        while text not in self.seen:
            ready, _, _ = select.select([self._fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"waited for {text!r}, saw {self.seen!r}"
            try:
                self.seen += os.read(self._fd, 4096)
            except OSError:
                raise AssertionError(f"ended before {text!r}, saw {self.seen!r}") from None

    def ended(self) -> int:
        while True:
            try:
                if not os.read(self._fd, 4096):
                    break
            except OSError:
                break
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def hang_up(self) -> int:
        """As when the connection of a remote shell breaks; the command's exit code."""
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
