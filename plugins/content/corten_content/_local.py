"""Blobs and ingests as files, in containerd's layout; durable when committed, safe for any number of threads.

    <root>/blobs/<algorithm>/<hex>     a blob: regular file, 0444
    <root>/ingest/<sha256 of ref>/     an ingest, see `_ingest`

Labels are not kept here but by the metadata plugin, per namespace.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from corten import content_fields, digests
from corten import filters as filter_rules
from corten.contracts.content import ContentInfo, ContentReader, ContentWriter, IngestStatus
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, NotFound, Unimplemented, mapped

from . import _ingest
from ._files import make_directories, sync_directory
from ._holds import Holds, shown
from ._reader import LocalReader
from ._recent import Recent
from ._writer import BLOB_MODE, LocalWriter

log = logging.getLogger(__name__)

_NOT_FOUND: dict[type[BaseException], type[CortenError]] = {FileNotFoundError: NotFound}
_INGEST_NAME = re.compile(r"[0-9a-f]{64}")


class LocalContent:
    """The `ContentStore` under `root`, which is made if it is missing and belongs to this object alone."""

    def __init__(self, root: Path, *, max_open_writers: int = 4096) -> None:
        self._blobs = root / "blobs"
        self._ingests = root / "ingest"
        self._holds = Holds(max_open_writers)
        self._hashing = ThreadPoolExecutor(os.cpu_count(), "content-digest")
        self._publishing = threading.Lock()
        self._recent = Recent()
        with mapped(f"content store at {root}: cannot make its directories"):
            for directory in (self._blobs, self._ingests):
                make_directories(directory)

    def __repr__(self) -> str:
        return f"LocalContent({self._blobs.parent}, {self._holds})"

    def recover(self) -> None:
        """Remove what a crash left of ingests that were being made or removed; only before the first writer."""
        for path in self._ingest_directories():
            try:
                _ingest.status(path)
            except NotFound:
                log.info("removing %s, which a crash left half made", path)
                with mapped(f"ingest at {path}: cannot remove what a crash left"):
                    _ingest.remove(path)

    def info(self, digest: str) -> ContentInfo:
        path = self._blob_path(digest)
        with mapped(f"content {digest}", _NOT_FOUND):
            stat = path.stat()
        return ContentInfo(digest, stat.st_size, stat.st_mtime_ns, stat.st_mtime_ns)

    def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        self.info(info.digest)
        raise Unimplemented(f"content {info.digest}: cannot update: labels are kept by the metadata plugin (call that)")

    def walk(self, filters: Sequence[str] = ()) -> Iterator[ContentInfo]:
        return self._walk(filter_rules.compile(filters))

    def delete(self, digest: str) -> None:
        with mapped(f"content {digest}: cannot delete", _NOT_FOUND):
            self._blob_path(digest).unlink()

    def reader(self, digest: str) -> ContentReader:
        return LocalReader(self._blob_path(digest), digest, self._recent)

    def writer(self, ref: str, *, total: int = 0, expected: str = "", media_type: str = "") -> ContentWriter:
        path = self._ingests / _ingest.directory_name(ref)
        if expected and self._blob_path(expected).exists():
            raise AlreadyExists(f"content {expected}: already exists")
        self._holds.take(ref)
        try:
            with mapped(f"ingest {shown(ref)}: cannot open"):
                status = _opened(path, ref, total, expected)
            return LocalWriter(path, status, self._publish, partial(self._holds.free, ref), self._hashing)
        except BaseException:
            self._holds.free(ref)
            raise

    def status(self, ref: str) -> IngestStatus:
        path = self._ingests / _ingest.directory_name(ref)
        try:
            return _ingest.status(path)
        except NotFound:
            raise NotFound(f"ingest {shown(ref)}: not found") from None

    def statuses(self, filters: Sequence[str] = ()) -> list[IngestStatus]:
        matches = filter_rules.compile(filters)
        found = (self._status_at(path) for path in self._ingest_directories())
        return [status for status in found if status and matches(partial(content_fields.of_status, status))]

    def abort(self, ref: str) -> None:
        path = self._ingests / _ingest.directory_name(ref)
        self._holds.take(ref, limited=False)
        try:
            with mapped(f"ingest {shown(ref)}: cannot abort", _NOT_FOUND):
                _ingest.remove(path)
        finally:
            self._holds.free(ref)

    def _publish(self, path: Path, digest: str) -> None:
        """Give data that are on disk the blob's name, and write that name to disk."""
        target = self._blob_path(digest)
        make_directories(target.parent)
        with self._publishing:
            exists = target.exists()
            if not exists:
                os.rename(path / "data", target)
        if not exists:
            target.chmod(BLOB_MODE)
            self._recent.made(digest, target.stat())
        # The one who comes second says that the blob exists, and that must outlast a power loss too.
        sync_directory(target.parent)
        _ingest.remove(path)
        if exists:
            raise AlreadyExists(f"content {digest}: already exists")

    def _walk(self, matches: filter_rules.Filter) -> Iterator[ContentInfo]:
        for algorithm in sorted(digests.HEX_LENGTH):
            for digest in self._digests(algorithm):
                try:
                    info = self.info(digest)
                except NotFound:
                    continue  # deleted meanwhile
                if matches(partial(content_fields.of_info, info)):
                    yield info

    def _digests(self, algorithm: str) -> Iterator[str]:
        with mapped(f"content store: cannot list {self._blobs / algorithm}"):
            try:
                names = sorted(os.listdir(self._blobs / algorithm))
            except FileNotFoundError:
                return
        for name in names:
            try:
                digests.parse(f"{algorithm}:{name}")
            except CortenError:
                log.warning("ignoring %s, whose name is not a digest", self._blobs / algorithm / name)
            else:
                yield f"{algorithm}:{name}"

    def _ingest_directories(self) -> list[Path]:
        with mapped(f"content store: cannot list {self._ingests}"):
            return [self._ingests / name for name in sorted(os.listdir(self._ingests)) if _INGEST_NAME.fullmatch(name)]

    def _status_at(self, path: Path) -> IngestStatus | None:
        try:
            return _ingest.status(path)
        except NotFound:
            return None  # committed or aborted meanwhile

    def _blob_path(self, digest: str) -> Path:
        algorithm, encoded = digests.parse(digest)
        return self._blobs / algorithm / encoded


def _opened(path: Path, ref: str, total: int, expected: str) -> IngestStatus:
    """The ingest at `path`, made if it is not there or only in part.

    One with another total is begun anew, for a client that was told a wrong size once must not be held up by that.
    """
    try:
        status = _ingest.status(path)
    except NotFound:
        return _ingest.create(path, ref, total, expected)
    if status.ref != ref:
        raise FailedPrecondition(f"ingest {shown(ref)}: {path} belongs to {shown(status.ref)} (abort that)")
    if total and status.total and total != status.total:
        return _ingest.create(path, ref, total, expected)
    wanted = replace(status, total=status.total or total, expected=expected or status.expected)
    if wanted != status:
        _ingest.remember(path, wanted)
    return wanted
