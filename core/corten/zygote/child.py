"""What a forked child does: read its payload, run its target, answer with the result or the error, and end."""

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from corten.errors import CortenError, Internal, code_of

from . import frames, preload, process

assert sys.platform != "win32"


def run_worker(target: str, private: socket.socket, fds: list[int], parent: int) -> NoReturn:
    """Run `target(payload, fds) -> bytes`, in a process that dies with the zygote."""
    status = 1
    try:
        process.die_with_parent(parent)
        preload.after_fork()
        gc.enable()
        _answer(private, lambda payload: resolve(target)(payload, fds))
        status = 0
    finally:
        _end(status)


def run_detached(target: str, private: socket.socket, fds: list[int]) -> NoReturn:
    """Run `target(payload, fds, ready)` in a session of its own, with nothing of the daemon's but `fds`.

    What the target hands to `ready` is the answer; an error before that is answered instead; later ones end it.
    """
    status = 1
    try:
        os.setsid()
        _forget_streams()
        answered = False

        def ready(answer: bytes) -> None:
            nonlocal answered
            answered = True
            frames.send_frame(private, 0, answer)
            private.close()

        def run(payload: bytes) -> bytes | None:
            resolve(target)(payload, fds, ready)
            return None if answered else b""

        _answer(private, run)
        status = 0
    finally:
        _end(status)


def resolve(target: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _answer(private: socket.socket, run: Callable[[bytes], bytes | None]) -> None:
    request = frames.receive_frame(private)
    if request is None:
        return
    try:
        answer = run(request[1])
    except BaseException as error:
        code, message = describe(error)
        if private.fileno() < 0:
            raise
        frames.send_frame(private, code, message.encode(errors="replace"))
    else:
        if answer is not None:
            frames.send_frame(private, 0, answer)


def describe(error: BaseException) -> tuple[int, str]:
    """Code and message of an error that a target raised; foreign ones are Internal with their place."""
    if isinstance(error, CortenError):
        return error.code, error.message
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}:{last[0].lineno})" if last else ""
    code = code_of(error)
    return code if code != 2 else Internal.code, f"{type(error).__name__}: {error}{place}"


def _forget_streams() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _end(status: int) -> NoReturn:
    """Leave without the interpreter's shutdown, which would run what the zygote registered for its own end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os._exit(status)
