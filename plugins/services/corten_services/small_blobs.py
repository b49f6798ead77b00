"""Small blobs kept in memory: a client reads the same manifests and configs before every container that it starts.

What is kept cannot grow old: a blob never changes, and only bytes that are what their digest says are kept. Whether
the caller's namespace has the blob is asked for each read, not here.
"""

from collections import OrderedDict
from threading import Lock

from corten import digests

SMALL = 64 << 10
"""Bytes of the largest blob that is kept."""
MOST = 1 << 20
"""Bytes kept at most; what was not read for longest goes first."""


class SmallBlobs:
    """By digest; any thread may call, and no call waits."""

    def __init__(self, most: int = MOST) -> None:
        self._lock = Lock()
        self._most, self._size = most, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"SmallBlobs({len(self._kept)} blobs, {self._size} bytes)"

    def get(self, digest: str) -> bytes | None:
        """The whole blob, if it is kept."""
        with self._lock:
            data = self._kept.get(digest)
            if data is not None:
                self._kept.move_to_end(digest)
            return data

    def keep(self, digest: str, data: bytes) -> None:
        """Keep a blob that was read whole, unless it is damaged."""
        if len(data) > SMALL or digests.of(data, digests.parse(digest)[0]) != digest:
            return
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = data
                self._size += len(data)
            while self._size > self._most:
                self._size -= len(self._kept.popitem(last=False)[1])
