"""The differ walking: tar layers, plain or compressed, unpacked and made in worker processes.

Here, in the daemon, only blobs are opened and answers awaited; hostile bytes and file trees are the workers' business
(`unpack`, `pack`).
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from corten.contracts.content import ContentInfo, ContentReader, ContentStore, ContentWriter, Vouching
from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Arriving, Progress, Unpacked
from corten.contracts.mounts import Mount
from corten.contracts.workers import Worker, Workers
from corten.errors import AlreadyExists, CortenError, Unimplemented, mapped

from . import media_types
from .exchange import PROGRESS, Limits

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .processors import Processors

UNCOMPRESSED = "containerd.io/uncompressed"
CHUNK = 1 << 20


class WalkingDiffer:
    """Contract `Differ`. `target` is an empty directory that workers mount on, each in its own mount namespace."""

    def __init__(
        self,
        workers: Workers,
        target: Path,
        *,
        limits: Limits | None = None,
        absolute_names: bool = False,
        processors: Processors | None = None,
    ) -> None:
        self._workers = workers
        self._target = target
        self._limits = limits or Limits()
        self._absolute_names = absolute_names
        self._processors = processors or Processors()
        target.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"WalkingDiffer({self._target})"

    def apply(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        content: ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        sync_fs: bool = False,
        progress: Progress | None = None,
    ) -> Descriptor:
        return self._unpacked(layer, mounts, content, payloads, progress, sync_fs).layer

    def unpack(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        source: Arriving | ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        progress: Progress | None = None,
    ) -> Unpacked:
        return self._unpacked(layer, mounts, source, payloads, progress, False)

    def settle(self, stack: Sequence[tuple[Sequence[Mount], bytes]]) -> None:
        layers = [([asdict(mount) for mount in mounts], assumed.decode()) for mounts, assumed in stack]
        request = {"stack": layers, "target": str(self._target)}
        with _named("settle an image's layers on each other"):
            _result(self._workers.start("corten_differs.settling:settle", json.dumps(request).encode()))

    def compare(
        self,
        lower: Sequence[Mount],
        upper: Sequence[Mount],
        content: ContentStore,
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        source_date_epoch: int | None = None,
    ) -> Descriptor:
        wanted = media_type or media_types.OCI_GZIP
        request = {
            "lower": [asdict(mount) for mount in lower],
            "upper": [asdict(mount) for mount in upper],
            "target": str(self._target),
            "compression": media_types.compression(wanted),
            "epoch": source_date_epoch,
        }
        made_up = f"corten-diff-{os.urandom(16).hex()}"
        with content.writer(ref or made_up, media_type=wanted) as writer, _named("compare two trees"):
            try:
                writer.truncate(0)  # a ref that was begun before starts again: its bytes are not known here
                return self._pack(request, wanted, writer, content, labels or {})
            except BaseException:
                writer.close()
                if not ref:
                    _abort(content, made_up)
                raise

    def _unpacked(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        source: Arriving | ContentStore,
        payloads: Mapping[str, bytes] | None,
        progress: Progress | None,
        sync: bool,
    ) -> Unpacked:
        processed = self._processors.accepts(layer.media_type)
        if processed and isinstance(source, Arriving):
            raise Unimplemented(f"layer {layer.digest}: its stream processor wants all of it")
        if not processed:
            media_types.compression(layer.media_type)
        request = {
            "mounts": [asdict(mount) for mount in mounts],
            "target": str(self._target),
            "digest": layer.digest,
            "size": layer.size,
            "sync": sync,
            "limits": asdict(self._limits),
            "absolute_names": self._absolute_names,
            "arriving": isinstance(source, Arriving),
            "vouched": False,
            "progress": progress is not None,
        }
        with _named(f"apply layer {layer.digest}"):
            if isinstance(source, Arriving):
                answer = self._unpack(request, source.follow(), progress)
            elif processed:
                answer = self._unpack_processed(request, layer, source, payloads or {}, progress)
            else:
                with source.reader(layer.digest) as blob:
                    answer = self._unpack_stored(request, blob, progress)
        whole = Descriptor(media_types.OCI_TAR, answer["digest"], answer["size"])
        return Unpacked(whole, answer["assumed"].encode())

    def _unpack_processed(
        self,
        request: dict[str, Any],
        layer: Descriptor,
        content: ContentStore,
        payloads: Mapping[str, bytes],
        progress: Progress | None,
    ) -> dict[str, Any]:
        """The bytes that are unpacked are others than the blob's, whose digest was checked when it was stored."""
        request = {**request, "digest": "", "size": 0}
        run = self._processors.run
        with (
            content.reader(layer.digest) as blob,
            _read(blob) as fd,
            run(fd, layer.media_type, payloads) as stream,
        ):
            media_types.compression(stream.media_type)
            return self._unpack(request, [os.dup(stream.fd)], progress)

    def _unpack_stored(self, request: dict[str, Any], blob: ContentReader, progress: Progress | None) -> dict[str, Any]:
        fd = blob.fileno()
        if fd < 0:
            return self._unpack_pumped(request, blob, progress)
        if isinstance(blob, Vouching) and blob.vouched():
            request = {**request, "vouched": True}
        # Another descriptor of the same open file would share its offset, so the blob is opened anew.
        return self._unpack(request, [os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)], progress)

    def _unpack(self, request: Mapping[str, Any], fds: Sequence[int], progress: Progress | None) -> dict[str, Any]:
        """Closes `fds`."""
        try:
            payload = json.dumps(request).encode()
            if progress is None:
                return _answer(self._workers.start("corten_differs.unpack:apply", payload, fds))
            return self._unpack_reported(payload, fds, progress)
        finally:
            for fd in fds:
                os.close(fd)

    def _unpack_reported(self, payload: bytes, fds: Sequence[int], progress: Progress) -> dict[str, Any]:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                worker = self._workers.start("corten_differs.unpack:apply", payload, [*fds, writing])
            finally:
                os.close(writing)
            with _killed_on_error(worker):
                while message := os.read(reading, PROGRESS.size * 64):
                    progress(PROGRESS.unpack(message[-PROGRESS.size :])[0])
                return _answer(worker)
        finally:
            os.close(reading)

    def _unpack_pumped(self, request: dict[str, Any], blob: ContentReader, progress: Progress | None) -> dict[str, Any]:
        payload = json.dumps({**request, "progress": False}).encode()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                worker = self._workers.start("corten_differs.unpack:apply", payload, [reading])
            finally:
                os.close(reading)
            with _killed_on_error(worker):
                _pump(blob, writing, progress)
        finally:
            os.close(writing)
        return _answer(worker)

    def _pack(
        self,
        request: Mapping[str, Any],
        media_type: str,
        writer: ContentWriter,
        content: ContentStore,
        labels: Mapping[str, str],
    ) -> Descriptor:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        size = 0
        try:
            try:
                worker = self._workers.start("corten_differs.pack:compare", json.dumps(request).encode(), [writing])
            finally:
                os.close(writing)
            with _killed_on_error(worker):
                while data := os.read(reading, CHUNK):
                    size += writer.write(data)
                answer = _answer(worker)
        finally:
            os.close(reading)
        digest = self._commit(writer, content, size, {**labels, UNCOMPRESSED: answer["digest"]})
        return Descriptor(media_type, digest, size)

    def _commit(self, writer: ContentWriter, content: ContentStore, size: int, labels: Mapping[str, str]) -> str:
        digest = writer.digest()
        try:
            return writer.commit(size, digest, labels)
        except AlreadyExists:
            _relabel(content, digest, labels)
            return digest


def _relabel(content: ContentStore, digest: str, labels: Mapping[str, str]) -> None:
    """Give a blob that was there already the labels that it lacks."""
    found = content.info(digest).labels
    paths = [f"labels.{key}" for key, value in labels.items() if found.get(key) != value]
    try:
        if paths:
            content.update(ContentInfo(digest, labels=labels), paths)
    except Unimplemented:
        pass  # a backend that leaves labels to the metadata plugin


@contextmanager
def _read(blob: ContentReader) -> Iterator[int]:
    """A descriptor that reads the blob, for somebody who closes it."""
    if blob.fileno() >= 0:
        yield os.open(f"/proc/self/fd/{blob.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        return
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def pump() -> None:
        try:
            _pump(blob, writing, None)
        finally:
            os.close(writing)

    pumping = Thread(target=pump, name="layer for a stream processor")
    pumping.start()
    try:
        yield reading
    finally:
        pumping.join()  # who reads has closed the pipe by now


def _pump(blob: ContentReader, writing: int, progress: Progress | None) -> None:
    offset = 0
    while offset < blob.size:
        data = memoryview(blob.read_at(offset, CHUNK))
        if not data:
            break
        offset += len(data)
        try:
            while data:
                data = data[os.write(writing, data) :]
        except BrokenPipeError:
            return  # the worker has ended; its answer tells why
        if progress is not None:
            progress(offset)


def _answer(worker: Worker) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_result(worker))
    return answer


def _result(worker: Worker) -> bytes:
    with _killed_on_error(worker):
        return worker.result()


class _killed_on_error:  # noqa: N801  reads as the statement it is
    """A worker whose caller fails has nobody to work for."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._worker.kill()


class _named:  # noqa: N801
    """Put the action before the message of an error, and map foreign ones."""

    def __init__(self, action: str) -> None:
        self._action = action

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CortenError):
            raise type(error)(f"{self._action}: {error.message}") from error
        if isinstance(error, OSError):
            with mapped(self._action):
                raise error


def _abort(content: ContentStore, ref: str) -> None:
    try:
        content.abort(ref)
    except CortenError:
        pass  # committed, or never begun
