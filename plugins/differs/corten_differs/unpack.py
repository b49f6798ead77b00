"""The worker that unpacks one layer: enters the tree (mounts of its own, chroot, no network), then reads hostile bytes.

Runs in a process of its own, forked from the zygote: what it mounts is in a mount namespace that ends with it.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from corten.contracts.mounts import Mount
from corten.errors import CortenError, DataLoss, Internal, InvalidArgument, mapped
from corten.linux import mount, options, syscalls

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .directories import Directories, Lower
from .exchange import PROGRESS, Limits
from .extraction import Extraction
from .streams import Pipeline, Source
from .tar_stream import TarStream
from .whiteouts import Converting, Deleting, Ignoring, Whiteouts

_FOR_THE_LOWERS = ("userxattr", "index=", "metacopy=", "redirect_dir=")
PROGRESS_STEP = 1 << 20
"""Compressed bytes between two messages of progress."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a layer is written: into the directory `direct` if it has one, else into the mounts.

    `lowers` are there for an upper directory: the layers below it, topmost first, and its overlay's options.
    """

    direct: str = ""
    lowers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """An open destination: its root, the view of what lies below an upper directory, and how it marks removals."""

    root: int
    lower: int = -1
    opaque: str = ""
    devices: bool = True
    """Whether device nodes can be made."""


def destination(mounts: Sequence[Mount], in_user_namespace: bool) -> Destination:
    """Whether the mounts can be written without mounting them, which is faster: a bind mount, or an overlay's upper."""
    if len(mounts) != 1 or mounts[0].target:
        return Destination()
    (only,) = mounts
    if only.type in ("bind", "rbind") and not options.parse(only.options).flags & syscalls.MS_RDONLY:
        return Destination(only.source)
    upper = options.option(only, "upperdir")
    # In a user namespace overlayfs's marks cannot be made by hand.
    if only.type == "overlay" and upper and not in_user_namespace:
        kept = tuple(
            word for word in only.options if word.startswith(("userxattr", "index=", "metacopy=", "redirect_dir="))
        )
        return Destination(upper, tuple(options.lower_directories(only)), kept)
    return Destination()


def apply(payload: bytes, fds: Sequence[int]) -> bytes:
    """Unpack the layer that `fds[0]` reads as `payload` (JSON) says; progress goes to `fds[1]` if it is there.

    Returns JSON with `digest` and `size` of the uncompressed stream.
    """
    request = json.loads(payload)
    mounts = [Mount(m["type"], m["source"], m["target"], tuple(m["options"])) for m in request["mounts"]]
    os.umask(0)
    sys.setrecursionlimit(20000)
    _raise_descriptor_limit()
    tree = enter(mounts, request["target"])
    source = Source(fds[0], request["digest"].partition(":")[0])
    pipeline = Pipeline(source, Limits(**request["limits"]))
    try:
        chunks = _reporting(pipeline, source, fds[1]) if len(fds) > 1 else iter(pipeline)
        extract(tree, TarStream(chunks), absolute_names=request["absolute_names"])
    except Exception as error:
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
    return json.dumps({"digest": pipeline.digest(), "size": pipeline.size}).encode()


def enter(mounts: Sequence[Mount], target: str) -> Tree:
    """Open the destination and make it the root of this process; `target` is an empty directory to mount on."""
    if not mounts:
        raise InvalidArgument("apply: no mounts to unpack into")
    inside = _in_user_namespace()
    plan = destination(mounts, inside)
    if plan.lowers and os.listdir(plan.direct):
        plan = Destination()  # not empty: which marks are whose could not be told apart
    with mapped(f"enter {plan.direct or target}"):
        tree = _open(plan, mounts, target)
        os.fchdir(tree.root)
        os.chroot(".")
        os.close(tree.root)
        # From here on an import would run what lies in the tree.
        sys.meta_path.clear()
        _leave_network()
        return Tree(_directory("/"), tree.lower, tree.opaque, not inside)


def extract(tree: Tree, stream: TarStream, *, absolute_names: bool = False) -> None:
    """Unpack a tar stream into an open tree, and read the stream to its end."""
    lower = Lower(tree.lower, tree.opaque) if tree.lower >= 0 else None
    directories = Directories(tree.root, lower)
    whiteouts: Whiteouts = Ignoring()
    if lower is not None:
        whiteouts = Converting(directories, lower)
    elif os.listdir(tree.root):
        whiteouts = Deleting(directories)
    Extraction(directories, whiteouts, devices=tree.devices, absolute_names=absolute_names).run(stream)
    stream.drain()


def private_mounts() -> None:
    """Give this process a mount namespace of its own, from which nothing propagates."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", flags=syscalls.MS_PRIVATE | syscalls.MS_REC)


def _open(plan: Destination, mounts: Sequence[Mount], target: str) -> Tree:
    if not plan.direct:
        private_mounts()
        mount.mount_all(mounts, target)
        return Tree(_directory(target))
    if not plan.lowers:
        return Tree(_directory(plan.direct))
    opaque = "user.overlay.opaque" if "userxattr" in plan.words else "trusted.overlay.opaque"
    if len(plan.lowers) == 1:
        return Tree(_directory(plan.direct), _directory(plan.lowers[0]), opaque)
    private_mounts()
    words = ("ro", *plan.words, "lowerdir=" + ":".join(map(options.escape, plan.lowers)))
    mount.mount_all([Mount("overlay", "overlay", options=words)], target)
    return Tree(_directory(plan.direct), _directory(target), opaque)


def _directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _verify(source: Source, request: dict[str, Any]) -> None:
    source.drain()
    digest, size = request["digest"], request["size"]
    if source.digest() != digest:
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


def _leave_network() -> None:
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
    except OSError:
        pass  # no right to (a user namespace without CAP_SYS_ADMIN): the chroot has no sockets to reach anyway


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", "4294967295"]
