"""The shim's event loop: descriptors, timers, and generators that wait for values that come later."""

# What `signal` wraps: the wrapper makes an enum of each number, which costs a shim 100 KiB.
import _signal  # type: ignore[import-not-found]
import heapq
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar, cast

assert sys.platform != "win32"

T = TypeVar("T")
IN, OUT, HANGUP = 1, 4, 16  # select.EPOLLIN, EPOLLOUT, EPOLLHUP
URGENT = 2  # select.EPOLLPRI


class Later(Generic[T]):
    """A value, or an error, that comes later; set once, told to everyone who asked."""

    __slots__ = ("_calls", "done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: T | None = None
        self.error: BaseException | None = None
        self._calls: list[Callable[[], None]] = []

    def set(self, value: T) -> None:
        """Give the value; a second one is ignored."""
        self._settle(value, None)

    def fail(self, error: BaseException) -> None:
        """Give an error in place of the value."""
        self._settle(None, error)

    def then(self, call: Callable[[], None]) -> None:
        """Call when it is there, at once if it is."""
        if self.done:
            call()
        else:
            self._calls.append(call)

    def wait(self) -> Generator["Later[Any]", None, T]:
        """`value = yield from later.wait()` in a generator that `Loop.drive` runs."""
        if not self.done:
            yield self
        if self.error is not None:
            raise self.error
        return cast("T", self.value)

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        if not self.done:
            self.done, self.value, self.error = True, value, error
            calls, self._calls = self._calls, []
            for call in calls:
                call()


Steps = Generator[Later[Any], None, T]
"""What an operation that waits is: a generator that yields what it waits for."""


class Turn:
    """A lock for generators: one at a time, in the order of asking."""

    __slots__ = ("_held", "_waiting")

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[Later[None]] = deque()

    def take(self) -> Steps[None]:
        """Wait for the turn; `give` it back in a `finally`."""
        if self._held:
            place: Later[None] = Later()
            self._waiting.append(place)
            yield from place.wait()
        self._held = True

    def give(self) -> None:
        """Pass the turn on."""
        if self._waiting:
            self._waiting.popleft().set(None)
        else:
            self._held = False


Timer = tuple[float, int, Callable[[], None]]


class Loop:
    """One per shim. Handlers are called with the epoll events of their descriptor."""

    def __init__(self, *, opened: bool = True) -> None:
        if opened:
            self.open()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._sequence = 0
        self.running = True
        self._wakeup: tuple[int, ...] = ()
        self.operations = 0
        """How many generators are driven now."""

    def open(self, epoll: select.epoll | None = None) -> None:
        """Take the loop's descriptor, or make it; nothing can be watched before."""
        self._epoll = epoll or select.epoll()

    @property
    def handlers(self) -> dict[int, Callable[[int], None]]:
        """Who is called for what is watched. (What `watched` takes up.)"""
        return self._handlers

    def watched(self, handlers: dict[int, Callable[[int], None]]) -> None:
        """Know who is to be called for what is watched by the loop's descriptor already."""
        self._handlers.update(handlers)

    @property
    def timers(self) -> int:
        """How many calls are to come."""
        return len(self._timers)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` whenever one of `events` holds for `fd`."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching; harmless for a descriptor that is not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once, `seconds` from now; returns what `cancel` takes."""
        self._sequence += 1
        timer = (time.monotonic() + seconds, self._sequence, call)
        heapq.heappush(self._timers, timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Do not call, if it was not called yet."""
        if timer in self._timers:
            self._timers.remove(timer)
            heapq.heapify(self._timers)

    def on_child(self, call: Callable[[], None]) -> None:
        """Call after every SIGCHLD; several may be told as one."""
        read, write = self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

        def drain(events: int) -> None:
            try:
                while os.read(read, 512):
                    pass
            except BlockingIOError:
                pass
            call()

        _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, _nothing)
        self.watch(read, IN, drain)

    def drive(self, steps: Steps[T], finish: Callable[[T | None, BaseException | None], None]) -> None:
        """Run a generator to its end, over all its waits, and tell `finish` its value or its error."""
        self.operations += 1
        self._advance(steps, finish)

    def _advance(self, steps: Steps[T], finish: Callable[[T | None, BaseException | None], None]) -> None:
        try:
            later = next(steps)
        except StopIteration as end:
            self.operations -= 1
            finish(end.value, None)
        except Exception as error:
            self.operations -= 1
            finish(None, error)
        else:
            later.then(lambda: self._advance(steps, finish))

    def run(self) -> None:
        """Serve until `stop`."""
        while self.running:
            self.turn(-1)

    def turn(self, longest: float) -> bool:
        """Wait for something to do, at most so many seconds (-1: for ever), and do it; False if nothing was told."""
        timer = self._next_timer()
        told = self._epoll.poll(timer if longest < 0 else longest)
        for fd, events in told:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(events)
        self._run_timers()
        return bool(told)

    def release(self) -> None:
        """Close the descriptors of the loop's own; it is of no further use."""
        self.ignore_children()
        self._epoll.close()

    def ignore_children(self) -> None:
        """Undo `on_child`."""
        if self._wakeup:
            self.forget(self._wakeup[0])
            _signal.set_wakeup_fd(-1)
        for fd in self._wakeup:
            os.close(fd)
        self._wakeup = ()

    def stop(self) -> None:
        """Let `run` return after the handlers under way."""
        self.running = False

    def _next_timer(self) -> float:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()


def _nothing(signum: int, frame: object) -> None:
    """A handler must exist for the wake-up descriptor to be written."""
