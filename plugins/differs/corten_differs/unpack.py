"""The worker that unpacks one layer: enters the tree (mounts of its own, chroot, no network), then reads hostile bytes.

Runs in a process of its own, forked from the zygote.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from corten import heap
from corten.contracts.mounts import Mount
from corten.errors import CortenError, DataLoss, Internal, Unavailable, mapped
from corten.linux import syscalls

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .assumptions import Assumptions, Unseen, assumed
from .directories import Directories
from .entering import Tree, enter
from .exchange import PROGRESS, Limits
from .extraction import Extraction
from .lower import Lower
from .streams import CHUNK, Pipeline, Source
from .tar_stream import TarStream
from .whiteouts import Converting, Deleting, Ignoring, Whiteouts

PROGRESS_STEP = 4 << 20
"""Compressed bytes between two messages of progress."""


def apply(payload: bytes, fds: Sequence[int]) -> bytes:
    """Unpack the layer that `fds[0]` reads as `payload` (JSON) says; progress goes to the last of `fds`.

    While the layer arrives, `fds[1]` is the pipe that tells when there is more of it, and its digest is for others to
    check, as it is if the store has vouched for it. Returns JSON with `digest` and `size` of the uncompressed stream,
    and what was `assumed` of the layers below.
    """
    request = json.loads(payload)
    mounts = [Mount(m["type"], m["source"], m["target"], tuple(m["options"])) for m in request["mounts"]]
    os.umask(0)
    sys.setrecursionlimit(20000)
    _raise_descriptor_limit()
    heap.keep_freed(2 * CHUNK, 64 * CHUNK)
    tree = enter(mounts, request["target"])
    source = _source(request, fds)
    pipeline = Pipeline(source, Limits(**request["limits"]))
    try:
        chunks = _reporting(pipeline, source, fds[-1]) if request["progress"] else iter(pipeline)
        found = extract(tree, TarStream(chunks), absolute_names=request["absolute_names"])
    except Exception as error:
        if request["arriving"]:
            _check_end(source, request)
        else:
            pipeline.close()
            _verify(source, request)  # damaged bytes explain whatever else went wrong
        if isinstance(error, CortenError):
            raise
        # Not left to the caller, who would look for source files in what is now the root.
        raise Internal(f"cannot unpack: {error!r}") from None
    _verify(source, request)
    if request["sync"]:
        with mapped("write the unpacked tree to disk"):
            syscalls.syncfs(tree.root)
    answer = {"digest": pipeline.digest(), "size": pipeline.size, "assumed": found.encoded() if found else ""}
    return json.dumps(answer).encode()


def _source(request: dict[str, Any], fds: Sequence[int]) -> Source:
    algorithm: str = request["digest"].partition(":")[0]
    if request["arriving"]:
        return Source(fds[0], fds[1])
    return Source(fds[0], algorithm="" if request["vouched"] else algorithm)


def extract(tree: Tree, stream: TarStream, *, absolute_names: bool = False) -> Assumptions | None:
    """Unpack a tar stream into an open tree, and read the stream to its end; what was assumed, if anything."""
    lower = Lower(tree.lower, tree.opaque) if tree.lower >= 0 else Unseen(tree.opaque) if tree.unseen else None
    directories = Directories(tree.root, lower)
    whiteouts: Whiteouts = Ignoring()
    if lower is not None:
        whiteouts = Converting(directories, lower)
    elif os.listdir(tree.root):
        whiteouts = Deleting(directories)
    Extraction(directories, whiteouts, devices=tree.devices, absolute_names=absolute_names).run(stream)
    stream.drain()
    if isinstance(lower, Unseen) and isinstance(whiteouts, Converting):
        return assumed(lower, directories.times, whiteouts.marks())
    return None


def _check_end(source: Source, request: dict[str, Any]) -> None:
    if source.ended and source.count < request["size"]:
        raise Unavailable(f"the blob ends after {source.count} of its {request['size']} bytes: the rest did not come")


def _verify(source: Source, request: dict[str, Any]) -> None:
    source.drain()
    if request["arriving"]:
        _check_end(source, request)
    digest, size = request["digest"], request["size"]
    if source.digest() not in ("", digest):
        raise DataLoss(f"blob {digest}: its bytes have the digest {source.digest()}")
    if size and source.count != size:
        raise DataLoss(f"blob {digest}: it has {source.count} bytes, and its descriptor says {size}")


def _reporting(chunks: Pipeline, source: Source, fd: int) -> Iterator[bytes]:
    reported = 0
    for chunk in chunks:
        if source.count >= reported + PROGRESS_STEP:
            reported = source.count
            _report(fd, reported)
        yield chunk
    _report(fd, source.count)


def _report(fd: int, count: int) -> None:
    try:
        os.write(fd, PROGRESS.pack(count))
    except BrokenPipeError:
        pass


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
