"""Stream processors: programs between a layer's blob and the unpacking that turn one media type into another.

https://github.com/containerd/containerd/blob/main/docs/stream_processors.md: the layer comes on standard input and goes
out on standard output, `STREAM_PROCESSOR_MEDIATYPE` names what comes in, a payload is on descriptor 3 as a
`google.protobuf.Any`; an exit code other than 0 is a failure, which standard error explains. Used for encrypted layers.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from threading import Thread

from corten.config.settings import StreamProcessor
from corten.errors import CortenError, FailedPrecondition, InvalidArgument
from corten.values import dataclass

assert sys.platform != "win32"

MEDIA_TYPE = "STREAM_PROCESSOR_MEDIATYPE"
MAX_CHAIN = 8
"""Programs one after the other."""
MAX_COMPLAINT = 8 << 10
"""Bytes of a program's standard error that are kept."""
ENDING = 10.0
"""Seconds that a program has to end once all that it wrote was read; then it is killed, which is no failure."""
GRACE = 1.0
"""Seconds that programs have to end by themselves once nobody reads what they write."""
_PAYLOAD = 3
_ABOVE = 10
"""Descriptors for a program are moved here first, so that none takes another's place."""
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Stream:
    """What the last program writes: a descriptor to read, and its media type."""

    fd: int
    media_type: str


class Processors:
    """Those that are configured, by id."""

    def __init__(self, configured: Mapping[str, StreamProcessor] | None = None) -> None:
        self._configured = dict(configured or {})

    def accepts(self, media_type: str) -> bool:
        """Whether a program is there for layers of that type."""
        return self._for(media_type) is not None

    @contextmanager
    def run(self, fd: int, media_type: str, payloads: Mapping[str, bytes]) -> Iterator[Stream]:
        """Let the programs work on what `fd`, which is closed, reads; they have ended well when the block has.

        Raises FailedPrecondition, with what a program said, for one that fails or is not there.
        """
        running: list[_Running] = []
        try:
            while (id := self._for(media_type)) is not None:
                if len(running) >= MAX_CHAIN:
                    raise InvalidArgument(f"stream processors: more than {MAX_CHAIN} one after the other for a layer")
                made = _Running.start(id, self._configured[id], fd, media_type, payloads.get(id))
                running.append(made)
                fd, media_type = made.output, self._configured[id].returns
            yield Stream(fd, media_type)
        except BaseException as error:
            _close(fd)
            _explain(running, error)
            raise
        _close(fd)
        for each in running:
            each.check(ENDING)

    def _for(self, media_type: str) -> str | None:
        return next((id for id, each in self._configured.items() if media_type in each.accepts), None)


@dataclass(slots=True)
class _Running:
    """One program."""

    id: str
    pid: int
    output: int
    complaint: bytearray = field(default_factory=bytearray)
    status: int | None = None
    listening: Thread | None = None

    @classmethod
    def start(cls, id: str, program: StreamProcessor, fd: int, media_type: str, payload: bytes | None) -> "_Running":
        """Closes `fd`."""
        ends = [_moved(fd)]
        try:
            reading, writing = map(_moved, os.pipe2(os.O_CLOEXEC))
            hearing, saying = map(_moved, os.pipe2(os.O_CLOEXEC))
            ends += [writing, saying]
            actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)]
            if payload is not None:
                ends.append(_written(payload))
                actions.append((os.POSIX_SPAWN_DUP2, ends[-1], _PAYLOAD))
            pid = _spawn(id, program, media_type, actions, (reading, hearing))
        finally:
            for end in ends:
                _close(end)
        made = cls(id, pid, reading)
        made.listening = Thread(
            target=_heard, args=(hearing, made.complaint), name=f"stream processor {id}", daemon=True
        )
        made.listening.start()
        return made

    def check(self, timeout: float) -> None:
        """Wait for its end, at most so long and then kill it. Raises FailedPrecondition if it failed by itself."""
        killed = self._wait(timeout)
        if self.listening is not None:
            self.listening.join(GRACE)
        code = os.waitstatus_to_exitcode(self.status or 0)
        if code and not killed and code != -signal.SIGPIPE:
            said = bytes(self.complaint).decode(errors="replace").strip() or "it said nothing"
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise FailedPrecondition(f"stream processor {self.id} failed ({how}): {said}")

    def _wait(self, timeout: float) -> bool:
        """Whether it had to be killed."""
        if self.status is not None:
            return False
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                return False
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.status = os.waitpid(self.pid, 0)[1]
        return True


def _explain(running: Sequence[_Running], error: BaseException) -> None:
    """A program that failed by itself is the cause of whatever its reader complains of."""
    found: CortenError | None = None
    for each in running:
        try:
            each.check(GRACE)
        except CortenError as failure:
            found = found or failure
    if found is not None and isinstance(error, Exception):
        raise found from error


def _spawn(
    id: str, program: StreamProcessor, media_type: str, actions: list[tuple[int, int, int]], ours: Sequence[int]
) -> int:
    env = {**os.environ, **dict(each.partition("=")[::2] for each in program.env), MEDIA_TYPE: media_type}
    try:
        return os.posix_spawnp(
            program.path,
            [program.path, *program.args],
            env,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )
    except OSError as error:
        for fd in ours:
            _close(fd)
        raise FailedPrecondition(f"stream processor {id}: cannot run {program.path}: {error.strerror}") from error


def _moved(fd: int) -> int:
    """The same descriptor out of the way of those that a program gets; closes `fd`."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    finally:
        os.close(fd)


def _written(payload: bytes) -> int:
    """A pipe from which the payload is read, whatever its size."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def write() -> None:
        with suppress(BrokenPipeError), open(writing, "wb", closefd=True) as pipe:
            pipe.write(payload)

    Thread(target=write, name="payload of a stream processor", daemon=True).start()
    return _moved(reading)


def _heard(fd: int, complaint: bytearray) -> None:
    with open(fd, "rb", buffering=0) as pipe:
        while data := pipe.read(4096):
            complaint += data[: MAX_COMPLAINT - len(complaint)]


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)
