"""Committed trees after a power loss: none is used before it was seen to be what it was when it was committed.

A commit writes its tree to disk first, so that a loss of power should find nothing to destroy; disks, file systems and
the option `volatile` may see it otherwise. So each tree is measured some time after its commit (files, and their bytes
together). If the next start finds neither the mark of a clean stop nor the same boot of the machine, every measured
tree is in doubt until somebody wants to use it, and is measured again then. One that has changed is damaged: it is
refused, and a pull of the image puts another tree in its place.
"""

import logging
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from corten.errors import CortenError, DataLoss

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .records import Record, Records, State
from .trees import Trees, measure

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Soundness:
    """Any thread may call; `what` names the snapshotter in messages."""

    def __init__(self, records: Records, trees: Trees, what: str) -> None:
        self._records = records
        self._trees = trees
        self._what = what
        self._lock = Lock()
        self._measuring: ThreadPoolExecutor | None = None
        self._begin(BOOT_ID.read_text().strip())
        self._suspects = records.in_state(State.DOUBTFUL) | records.in_state(State.DAMAGED)

    def __repr__(self) -> str:
        return f"Soundness({self._what}, {len(self._suspects)} suspects)"

    def committed(self, id: int) -> None:
        """Measure a tree that was committed now, in the background; with the first one, what was left over before."""
        with self._lock:
            ids = {id}
            if self._measuring is None:
                self._measuring = ThreadPoolExecutor(1, thread_name_prefix=f"corten-{self._what}-measure")
                ids |= self._records.unmeasured()
            for each in sorted(ids):
                self._measuring.submit(self._measure, each)

    def ensure(self, record: Record) -> None:
        """Raises DataLoss if the tree of a snapshot, or one below it, is damaged."""
        if self._suspects:
            for id in (record.id, *record.parents):
                if id in self._suspects:
                    self._judge(id)

    def lost(self, ids: Iterable[int]) -> None:
        """These committed trees are not there at all."""
        for id in ids:
            self._records.judge(id, State.DAMAGED)
            self._suspects.add(id)

    def repaired(self, id: int) -> None:
        """Another tree is in its place."""
        self._suspects.discard(id)
        self.committed(id)

    def close(self) -> None:
        """Leave the mark of a clean stop."""
        if self._measuring is not None:
            self._measuring.shutdown(wait=True, cancel_futures=True)
        self._clean.touch()

    @property
    def _clean(self) -> Path:
        return self._trees.root / "clean"

    def _begin(self, now: str) -> None:
        boot = self._trees.root / "boot"
        before = boot.read_text().strip() if boot.exists() else now
        if before != now and not self._clean.exists():
            number = self._records.doubt()
            log.warning("%s: stopped without warning: %d trees are looked at again before use", self._what, number)
        boot.write_text(f"{now}\n")
        self._clean.unlink(missing_ok=True)

    def _measure(self, id: int) -> None:
        try:
            usage, size = measure(self._trees.fs(id))
            self._records.measured(id, usage, size)
        except (CortenError, OSError) as error:
            log.debug("%s: snapshot %d was not measured: %s", self._what, id, error)

    def _judge(self, id: int) -> None:
        state, inodes, size = self._records.condition(id)
        if state is State.DOUBTFUL:
            found, now = measure(self._trees.fs(id))
            state = State.SOUND if (found.inodes, now) == (inodes, size) else State.DAMAGED
            self._records.judge(id, state)
            log.log(
                logging.INFO if state is State.SOUND else logging.ERROR, "%s: tree %d is %s", self._what, id, state.name
            )
        if state is State.SOUND:
            self._suspects.discard(id)
            return
        raise DataLoss(
            f"snapshot {id} in {self._what}: its tree was damaged when the machine went down "
            f"(pull the image again, which repairs it)"
        )
