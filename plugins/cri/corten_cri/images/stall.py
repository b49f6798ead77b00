"""Whether a transfer still gets on: told of its events, it knows for how long no byte has come."""

import time

from corten.contracts.transfer import TransferProgress

_DOWNLOADING = "downloading"


class Stall:
    """A download counts as under way from its first event to its last; waiting for a turn, and unpacking, do not."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}
        self._since = time.monotonic()
        self._begun = False
        self.bytes = 0

    def show(self, progress: TransferProgress) -> None:
        """Take note of an event."""
        if not progress.name:
            self._moved()
            return
        self._begun = True
        if progress.event == _DOWNLOADING:
            before = self._offsets.get(progress.name)
            if before is None or progress.progress != before:
                self.bytes += max(0, progress.progress - (before or 0))
                self._offsets[progress.name] = progress.progress
                self._moved()
        elif self._offsets.pop(progress.name, None) is not None:
            self._moved()

    @property
    def idle(self) -> float:
        """Seconds without a byte while something is being fetched, or the registry is to answer at all."""
        return time.monotonic() - self._since if self._offsets or not self._begun else 0.0

    def _moved(self) -> None:
        self._since = time.monotonic()
