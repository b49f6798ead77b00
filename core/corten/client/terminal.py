"""The person's terminal: raw while a container has it, its size, and back as it was."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from corten.errors import CortenError


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """Every key goes through unchanged for as long as the block runs; nothing happens if `fd` is no terminal."""
    if sys.platform == "win32" or not os.isatty(fd):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        with suppress(termios.error):  # it has hung up
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def size(fd: int) -> tuple[int, int] | None:
    """Columns and lines of the terminal; None if it is none."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return None
    return (found.columns, found.lines) if found.columns and found.lines else None


@contextmanager
def followed(fd: int, resize: Callable[[int, int], Awaitable[None]]) -> Iterator[None]:
    """Call `resize(columns, lines)` now and whenever the terminal changes its size (SIGWINCH)."""
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def follow() -> None:
        if (now := size(fd)) is not None:
            try:
                await resize(*now)
            except CortenError:
                pass  # the process may have ended just now

    def changed() -> None:
        task = loop.create_task(follow())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGWINCH, changed)
    changed()
    try:
        yield
    finally:
        if sys.platform != "win32":
            loop.remove_signal_handler(signal.SIGWINCH)
        for task in tasks:
            task.cancel()
