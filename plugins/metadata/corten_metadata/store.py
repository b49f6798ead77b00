"""Reads that never wait for writes, and writes that share one commit: the transactions of the metadata store.

Updates come from any thread as functions. One thread takes all that are waiting, runs each in a transaction nested in
a common one, so that an update that fails takes back only its own changes, and commits once: one fsync for all of them
(*group commit*). An update may be run again when the map had to grow, so it must change nothing but its transaction,
and it must not do any other I/O: everybody waits for it.

    number = store.write(lambda txn: count_up(txn))       # returns when it is durable
    with store.read() as view:
        value = view.get(key)
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar, cast

import lmdb
from corten.errors import CortenError, Internal, Unavailable
from corten.values import dataclass

from . import migrations, reserve, schema
from .codec import Decoder, Encoder
from .environment import MAP_SIZE, Environment, is_full, translated
from .jobs import Job
from .reserve import Reserve
from .transactions import Reading, Writing

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH = 256
"""Updates that share a commit at most."""
OVERHEAD = 64 << 10
"""Bytes of pages that an update may copy besides what it puts; a guess from above, for the reserve."""
NUMBERS = 1024
"""How many numbers are taken from the store at once; a crash skips no more than these."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Since the store was opened: updates that succeeded, commits they took, times the map grew, size of the map."""

    updates: int
    commits: int
    growths: int
    map_size: int


class Store:
    """Raises Unavailable when the folder is in use, FailedPrecondition when a newer Corten wrote it.

    DataLoss means that it is damaged.
    """

    def __init__(self, folder: Path, *, sync: bool = True, map_size: int = MAP_SIZE) -> None:
        self._environment = Environment(folder, sync=sync, map_size=map_size)
        self._reserve = Reserve(self._environment.data_file)
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._put_back: Job | None = None
        self._recorders: list[set[bytes]] = []
        self._listeners: list[Callable[[bool], None]] = []
        self._counts = {"updates": 0, "commits": 0, "growths": 0}
        self._numbers = iter(range(0))
        self._lock = Lock()
        self._open = True
        self._thread = Thread(target=self._work, name="corten-metadata-writer", daemon=True)
        self._thread.start()
        try:
            self.write(migrations.migrate)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Store({self._environment!r}, {self.statistics})"

    @property
    def statistics(self) -> Statistics:
        return Statistics(**self._counts, map_size=self._environment.map_size)

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """A consistent state. Do not enter a second one, nor `write`, inside: the map could then never grow."""
        if not self._open:
            raise Unavailable("metadata store: it is closed")
        txn = self._environment.begin_read()
        try:
            yield Reading(txn)
        finally:
            self._environment.end_read(txn)

    def write(
        self, work: Callable[[Writing], T], *, removes: bool = False, vital: bool = False, alone: bool = False
    ) -> T:
        """Run `work` in a transaction and return what it returned, once that is durable.

        `removes`: the update makes room, so it may use the reserve of a full disk, and it asks for a collection.
        `vital`: it must not fail on a full disk, because a backend has done its part already.
        `alone`: nothing shares its commit, and nobody is told of it. Raises what `work` raised,
        ResourceExhausted for a full disk, Unavailable after `close`.
        """
        if current_thread() is self._thread:
            raise Internal("metadata store: an update waits for another update")
        job = Job(work, removes, vital, alone)
        with self._lock:
            if not self._open:
                raise Unavailable("metadata store: it is closed")
            self._queue.put(job)
        return cast("T", job.result())

    def number(self) -> int:
        """A number that was never given out before, also not before a crash."""
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is not None:
                return number
            first = self.write(_take_numbers)
            with self._lock:
                self._numbers = iter(range(first, first + NUMBERS))

    @contextmanager
    def recording(self) -> Iterator[set[bytes]]:
        """The keys that updates put, from now on, filled in as they are committed and before anybody is told."""
        keys: set[bytes] = set()
        self._recorders.append(keys)
        try:
            yield keys
        finally:
            self._recorders = [each for each in self._recorders if each is not keys]

    def on_update(self, listener: Callable[[bool], None]) -> None:
        """Call `listener(removes)` after each durable update, in the writer thread: it must be quick."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Finish the updates under way, then close; harmless when called twice."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._queue.put(None)
        self._thread.join()
        self._reserve.close()
        self._environment.close()

    def _work(self) -> None:
        while jobs := self._take():
            self._attempt(jobs)

    def _take(self) -> list[Job]:
        """The updates of the next commit; none when the store closes."""
        job = self._put_back or self._queue.get()
        self._put_back = None
        jobs: list[Job] = []
        with suppress(Empty):
            while job is not None and len(jobs) < BATCH:
                if job.alone and jobs:
                    self._put_back = job
                    break
                jobs.append(job)
                if job.alone:
                    break
                job = self._queue.get_nowait()
        if job is None and jobs:
            self._queue.put(None)
        return jobs

    def _attempt(self, jobs: list[Job]) -> None:
        try:
            while not self._commit(jobs):
                self._environment.grow()
                self._counts["growths"] += 1
        except Exception as error:
            self._refuse(jobs, error)

    def _refuse(self, jobs: list[Job], error: Exception) -> None:
        """Fail what cannot be done; on a full disk those that may use the reserve get another chance, one by one."""
        again = [job for job in jobs if job.vital] if is_full(error) and len(jobs) > 1 else []
        for job in jobs:
            if job not in again:
                job.fail(translated(error, "commit"))
        for job in again:
            self._attempt([job])

    def _commit(self, jobs: list[Job]) -> bool:
        """Run and commit the updates and settle them; false when the map is full, and nothing was done."""
        txn = self._environment.begin_write()
        try:
            done = [writing for job in jobs if (writing := self._apply(txn, job, len(jobs) > 1)) is not None]
            if done:
                self._check_room(jobs, done)
                txn.commit()
        except lmdb.MapFullError:
            return False
        finally:
            txn.abort()
        self._settle(jobs, done)
        return True

    def _apply(self, txn: Any, job: Job, nested: bool) -> Writing | None:
        """Run one update; None if it failed, with its changes taken back."""
        inner = self._environment.begin_write(txn) if nested else txn
        writing = Writing(inner)
        try:
            job.run(writing)
            if nested:
                inner.commit()
        except lmdb.MapFullError:
            raise
        except Exception as error:
            job.failed(error if isinstance(error, CortenError) else translated(error, "update"))
            return None
        finally:
            if nested:
                inner.abort()
        return writing

    def _check_room(self, jobs: list[Job], done: list[Writing]) -> None:
        if all(job.vital for job in jobs):
            return
        estimate = sum(2 * writing.size + OVERHEAD for writing in done)
        if self._environment.free >= estimate + reserve.SIZE:
            return
        if not self._reserve.covers(self._environment.used + estimate):
            raise OSError(28, "No space left on device but the reserve for removals")

    def _settle(self, jobs: list[Job], done: list[Writing]) -> None:
        self._counts["commits"] += bool(done)
        self._counts["updates"] += len(done)
        for recorder in list(self._recorders):
            for writing in done:
                recorder |= writing.keys
        for job in jobs:
            succeeded = job.settle()
            if succeeded and not job.alone:
                self._tell(job.removes)

    def _tell(self, removes: bool) -> None:
        for listener in self._listeners:
            try:
                listener(removes)
            except Exception:
                log.exception("metadata store: a listener failed")


def _take_numbers(txn: Writing) -> int:
    first = Decoder(txn.get(schema.SEQUENCE_KEY) or b"\x01").number()
    txn.put(schema.SEQUENCE_KEY, Encoder().number(first + NUMBERS).done())
    return first
