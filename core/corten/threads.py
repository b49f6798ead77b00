"""A bounded number of threads; what is to be done goes to the one that was last at work, whose caches are warm.

`concurrent.futures` has the same with a future for each call, locks and conditions included; between the event loop and
a thread that takes half the time of a short call.
"""

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from corten.errors import ResourceExhausted, Unavailable

Job = Callable[[bool], None]
"""Called once, in a thread: with True to do its work, with False if that is given up. Raises nothing."""
_Inbox = SimpleQueue[Job | None]


class Threads:
    """Up to `size` threads, made when all that there are have work; any thread may call."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._lock = Lock()
        self._made = 0
        self._idle: list[_Inbox] = []
        self._backlog: deque[Job] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return f"Threads({self._name}, {self._made - len(self._idle)} of {self._size} at work)"

    def start(self, job: Job) -> None:
        """Have it done, when a thread is free.

        Raises Unavailable after `close`, ResourceExhausted if there is no thread and the kernel makes none.
        """
        with self._lock:
            if self._closed:
                raise Unavailable(f"threads {self._name}: closed")
            inbox = self._idle.pop() if self._idle else self._one_more()
            if inbox is None:
                self._backlog.append(job)
                return
        inbox.put(job)

    def close(self) -> None:
        """Give up what waits for a thread, and end the threads when they are done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            waiting, self._backlog = self._backlog, deque()
        for job in waiting:
            job(False)
        for inbox in idle:
            inbox.put(None)

    def _one_more(self) -> _Inbox | None:
        """None if those that there are must do."""
        if self._made == self._size:
            return None
        inbox: _Inbox = SimpleQueue()
        try:
            Thread(target=self._work, args=(inbox,), name=f"{self._name}_{self._made + 1}", daemon=True).start()
        except RuntimeError as error:
            if self._made:
                return None
            raise ResourceExhausted(f"threads {self._name}: {error} (is there a limit of processes?)") from error
        self._made += 1
        return inbox

    def _work(self, inbox: _Inbox) -> None:
        while (job := inbox.get()) is not None:
            while job is not None:
                job(True)
                job = self._next(inbox)

    def _next(self, inbox: _Inbox) -> Job | None:
        """What waits; with nothing there the thread counts as idle, and after `close` it ends."""
        with self._lock:
            if self._backlog:
                return self._backlog.popleft()
            if self._closed:
                inbox.put(None)
            else:
                self._idle.append(inbox)
            return None
