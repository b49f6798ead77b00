"""What a forked child does: read its payload, run its target, answer with the result or the error, and end."""

# What `signal` and `socket` wrap: the wrappers make enums, which costs a child 100 KiB each.
import _signal  # type: ignore[import-not-found]
import _socket
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from corten.errors import CortenError, Internal, code_of

from . import frames, preload, process

assert sys.platform != "win32"

REHEARSALS = 20
"""CPython 3.11 rewrites a function when it has run eight times, and its instructions some runs later."""


def run_worker(target: str, private: _socket.socket, fds: list[int], parent: int) -> NoReturn:
    """Run `target(payload, fds) -> bytes`, in a process that dies with the zygote."""
    status = 1
    try:
        process.die_with_parent(parent)
        process.set_title(["corten-worker", target])
        preload.after_fork()
        gc.enable()
        _answer(private, lambda payload: resolve(target)(payload, fds))
        status = 0
    finally:
        _end(status)


def run(packet: dict[str, Any], fds: list[int], controls: Iterable[int], parent: int) -> NoReturn:
    """Become what `packet` asks for; `fds` are the private socket and the caller's, `controls` are to be closed."""
    private = _part(controls, fds)
    if packet.get("detached"):
        run_detached(packet["target"], private, fds[1:])
    run_worker(packet["target"], private, fds[1:], parent)


def _part(controls: Iterable[int], fds: list[int]) -> _socket.socket:
    """Let go of what is the zygote's."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    for fd in controls:
        os.close(fd)
    return _socket.socket(fileno=fds[0])


def run_detached(target: str, private: _socket.socket, fds: list[int]) -> NoReturn:
    """Run `target(payload, fds, ready)` in a session of its own, with nothing of the daemon's but `fds`.

    What the target hands to `ready` is the answer; an error before that is answered instead; later ones end it.
    """
    status = 1
    try:
        os.setsid()
        _forget_streams((0, 1, 2))
        _answer_early(target, private, fds)
        status = 0
    finally:
        _end(status)


def rehearse() -> None:
    """What detached children run, run here; see `preload.rehearse`."""
    streams = tuple(os.dup(0) for _ in range(3))
    for _ in range(REHEARSALS):
        ours, theirs = _socket.socketpair()
        frames.send_frame(ours, 0, b"payload")
        private = _part((os.dup(0),), [theirs.detach()])
        _forget_streams(streams)
        process.name_process("corten-zygote")
        process.set_title(["corten-zygote"])
        process.become_subreaper(False)
        _answer_early(f"{__name__}:_ready", private, [])
        ours.close()
    for fd in streams:
        os.close(fd)


def _ready(payload: bytes, fds: list[int], ready: Callable[[bytes], None]) -> None:
    ready(payload)


class _Reply:
    """The answer of a detached process, given once, or by a child of it."""

    __slots__ = ("_private", "given")

    def __init__(self, private: _socket.socket) -> None:
        self._private, self.given = private, False

    def __call__(self, answer: bytes) -> None:
        self.given = True
        frames.send_frame(self._private, 0, answer)
        self._private.close()

    def forgo(self) -> None:
        """Leave the answer to a child that has been forked."""
        self.given = True
        self._private.close()


def _answer_early(target: str, private: _socket.socket, fds: list[int]) -> None:
    request, reply = frames.receive_frame(private), _Reply(private)
    if request is None:
        return
    try:
        resolve(target)(request[1], fds, reply)
        if not reply.given:
            reply(b"")
    except BaseException as error:
        if reply.given:
            raise
        _refuse(private, error)


def resolve(target: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    name, _, function = target.partition(":")
    module = sys.modules.get(name) or importlib.import_module(name)
    found: Callable[..., Any] = getattr(module, function)
    return found


def _answer(private: _socket.socket, run: Callable[[bytes], bytes]) -> None:
    request = frames.receive_frame(private)
    if request is None:
        return
    try:
        answer = run(request[1])
    except BaseException as error:
        _refuse(private, error)
    else:
        frames.send_frame(private, 0, answer)


def _refuse(private: _socket.socket, error: BaseException) -> None:
    code, message = describe(error)
    frames.send_frame(private, code, message.encode(errors="replace"))


def describe(error: BaseException) -> tuple[int, str]:
    """Code and message of an error that a target raised; foreign ones are Internal with their place."""
    if isinstance(error, CortenError):
        return error.code, error.message
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({last[0].filename}:{last[0].lineno})" if last else ""
    code = code_of(error)
    return code if code != 2 else Internal.code, f"{type(error).__name__}: {error}{place}"


def _forget_streams(fds: Iterable[int]) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def _end(status: int) -> NoReturn:
    """Leave without the interpreter's shutdown, which would run what the zygote registered for its own end."""
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    os._exit(status)
