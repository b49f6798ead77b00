"""Conformance suite of the `Workers` contract, and workers inside the test's own process.

check_workers(Zygote.launch(["corten.testing.workers"]))      # any implementation
check_processes(Zygote.launch(["corten.testing.workers"]))    # one whose workers are processes
"""

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from typing import Any

from corten.contracts.workers import Worker, Workers
from corten.errors import CortenError, DeadlineExceeded, Internal, NotFound

_HERE = __name__


def check_workers(workers: Workers) -> None:
    """What holds for every implementation. Raises AssertionError."""
    assert workers.start(f"{_HERE}:echo", b"payload").result(10) == b"payload"
    large = os.urandom(3 << 20)
    worker = workers.start(f"{_HERE}:echo", large)
    assert worker.result(10) == large
    assert worker.result(10) == large, "a result may be asked for again"
    worker.kill()
    _check_errors(workers)
    _check_descriptors(workers)


def check_processes(workers: Workers) -> None:
    """What holds where each worker is a process: kill, death, deadlines, detached ones. Raises AssertionError."""
    hung = workers.start(f"{_HERE}:sleep", b"60")
    assert "within" in _refused(DeadlineExceeded, lambda: hung.result(0.05))
    hung.kill()
    assert "signal 9" in _refused(Internal, lambda: hung.result(10))
    died = workers.start(f"{_HERE}:die", b"7")
    assert "status 7" in _refused(Internal, lambda: died.result(10))
    assert workers.start(f"{_HERE}:process_id", b"").result(10) != str(os.getpid()).encode()
    _check_detached(workers)


def _check_errors(workers: Workers) -> None:
    assert _refused(NotFound, workers.start(f"{_HERE}:refuse", b"no such layer").result) == "no such layer"
    assert "ZeroDivisionError" in _refused(Internal, workers.start(f"{_HERE}:divide", b"0").result)
    _refused(CortenError, workers.start(f"{_HERE}:missing_function", b"").result)
    _refused(CortenError, workers.start("corten.no_such_module:run", b"").result)


def _check_descriptors(workers: Workers) -> None:
    read, write = os.pipe()
    try:
        workers.start(f"{_HERE}:write_to", b"through the pipe", [write]).result(10)
        assert os.read(read, 100) == b"through the pipe"
        os.fstat(write)
    finally:
        os.close(read)
        os.close(write)


def _check_detached(workers: Workers) -> None:
    pid, answer = workers.detach(f"{_HERE}:linger", b"hello")
    assert answer == b"ready hello"
    if sys.platform != "win32":
        assert os.getsid(pid) == pid, "a detached process leads a session of its own"
        os.kill(pid, signal.SIGKILL)
    _refused(NotFound, lambda: workers.detach(f"{_HERE}:refuse_ready", b"cannot"))
    started = time.monotonic()
    _refused(DeadlineExceeded, lambda: workers.detach(f"{_HERE}:never_ready", b"", timeout=0.1))
    assert time.monotonic() - started < 5


def _refused(kind: type[CortenError], call: Callable[[], object]) -> str:
    try:
        call()
    except kind as error:
        return error.message
    raise AssertionError(f"{kind.__name__} expected")


def echo(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: returns its payload."""
    return payload


def sleep(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: sleeps for so many seconds."""
    time.sleep(float(payload))
    return b""


def die(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: ends its process with a status."""
    os._exit(int(payload))


def process_id(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: the pid it runs under."""
    return str(os.getpid()).encode()


def refuse(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: raises NotFound."""
    raise NotFound(payload.decode())


def divide(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: raises what is not a CortenError."""
    return str(1 // int(payload)).encode()


def write_to(payload: bytes, fds: Sequence[int]) -> bytes:
    """A target: writes its payload to its first descriptor."""
    os.write(fds[0], payload)
    return b""


def linger(payload: bytes, fds: Sequence[int], ready: Callable[[bytes], None]) -> None:
    """A detached target: answers, and stays for a minute."""
    ready(b"ready " + payload)
    time.sleep(60)


def refuse_ready(payload: bytes, fds: Sequence[int], ready: Callable[[bytes], None]) -> None:
    """A detached target: fails before it is ready."""
    raise NotFound(payload.decode())


def never_ready(payload: bytes, fds: Sequence[int], ready: Callable[[bytes], None]) -> None:
    """A detached target: does not answer."""
    time.sleep(60)


class ThreadWorker:
    """A job in a thread."""

    def __init__(self, run: Callable[[], bytes]) -> None:
        self._run, self._ended = run, Event()
        self._outcome: bytes | CortenError = b""
        Thread(target=self._work, daemon=True).start()

    @property
    def pid(self) -> int:
        return os.getpid()

    def result(self, timeout: float | None = None) -> bytes:
        if not self._ended.wait(timeout):
            raise DeadlineExceeded(f"worker: no result within {timeout} s")
        if isinstance(self._outcome, CortenError):
            raise self._outcome
        return self._outcome

    def kill(self) -> None:
        """A thread cannot be killed: its result is given up."""
        if not self._ended.is_set():
            self._finish(Internal("worker was killed before it had a result"))

    def _work(self) -> None:
        try:
            self._finish(self._run())
        except CortenError as error:
            self._finish(error)
        except Exception as error:
            self._finish(Internal(f"{type(error).__name__}: {error}"))

    def _finish(self, outcome: bytes | CortenError) -> None:
        if not self._ended.is_set():
            self._outcome = outcome
            self._ended.set()


class ThreadWorkers:
    """`Workers` without processes, for tests of what uses them; its targets must not chroot or exit."""

    def start(self, target: str, payload: bytes, fds: Sequence[int] = ()) -> Worker:
        copies = [os.dup(fd) for fd in fds]

        def run() -> bytes:
            try:
                result: bytes = _resolve(target)(payload, copies)
                return result
            finally:
                for fd in copies:
                    os.close(fd)

        return ThreadWorker(run)

    def ahead(self, target: str) -> None:
        """A thread is there at once."""

    def detach(self, target: str, payload: bytes, fds: Sequence[int] = (), timeout: float = 10.0) -> tuple[int, bytes]:
        answers: list[bytes] = []
        answered = Event()

        def ready(answer: bytes) -> None:
            answers.append(answer)
            answered.set()

        def run() -> bytes:
            _resolve(target)(payload, [os.dup(fd) for fd in fds], ready)
            return b""

        worker = ThreadWorker(run)
        if not answered.wait(timeout):
            worker.result(0)
            raise DeadlineExceeded(f"{target}: not ready within {timeout} s")
        return worker.pid, answers[0]

    def preload_failures(self) -> Mapping[str, str]:
        return {}


def _resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
