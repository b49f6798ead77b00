"""The worker that makes a layer: mounts both trees for reading, walks them, and writes the archive to a pipe."""

import hashlib
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import zstandard
from corten.contracts.mounts import Mount
from corten.errors import mapped
from corten.linux import mount, options, syscalls

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import tar_header as tar
from .changes import Change, Trees, Walk
from .entering import leave_host, private_mounts
from .tar_writer import END, Member, header, padding
from .xattrs import read_xattrs

READ = 1 << 20
BUFFERED = 1 << 18
GZIP_LEVEL = 6
ZSTD_LEVEL = 3


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compare(payload: bytes, fds: Sequence[int]) -> bytes:
    """Write the layer that `payload` (JSON) asks for to `fds[0]`; returns JSON with its uncompressed `digest`."""
    request = json.loads(payload)
    lower, upper = _mounts(request["lower"]), _mounts(request["upper"])
    sys.setrecursionlimit(20000)
    with mapped("compare"):
        private_mounts()
        trees = enter_trees(lower, upper, request["target"])
        output = Output(fds[0], request["compression"])
        write_layer(trees, output, request["epoch"])
    return json.dumps({"digest": output.digest(), "size": output.size}).encode()


def enter_trees(lower: Sequence[Mount], upper: Sequence[Mount], target: str) -> Trees:
    """Mount both for reading in a small file system at `target`, the root of this process from then on.

    So no link leads to the host's files, whether an image has it or a container puts it in a directory's place
    meanwhile. No mounts are an empty tree.
    """
    syscalls.mount("tmpfs", target, "tmpfs", 0, "mode=700,size=1m")
    hint = guide(lower, upper)
    guiding = [Mount("bind", os.fsdecode(hint), options=("bind",))] if hint else []
    for name, mounts in (("lower", lower), ("upper", upper), ("hint", guiding)):
        path = os.path.join(target, name)
        os.mkdir(path)
        mount.mount_all(options.read_only(mounts), path)
    leave_host(target)
    return Trees(b"/lower", b"/upper", b"/hint" if hint else None)


def guide(lower: Sequence[Mount], upper: Sequence[Mount]) -> bytes | None:
    """The upper directory of an overlay that lies on just the lower tree; None if the trees must be walked whole."""
    if len(lower) != 1 or len(upper) != 1 or upper[0].type != "overlay" or upper[0].target or lower[0].target:
        return None
    directory = options.option(upper[0], "upperdir")
    below = options.lower_directories(upper[0])
    if lower[0].type == "overlay":
        own = options.option(lower[0], "upperdir")
        same = ([own] if own else []) + options.lower_directories(lower[0]) == below
    else:
        same = options.parse(lower[0].options).bind and [lower[0].source] == below
    return os.fsencode(directory) if directory and same else None


class Output:
    """The archive on its way to a descriptor: hashed, then compressed."""

    def __init__(self, fd: int, compression: str) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self._compressor = _compressor(compression)
        self._pending: list[bytes] = []
        self._waiting = 0
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append; small pieces are gathered."""
        self._pending.append(data)
        self._waiting += len(data)
        if self._waiting >= BUFFERED:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        if self._compressor is not None:
            self._send(self._compressor.flush())

    def digest(self) -> str:
        """Of the uncompressed archive."""
        return f"sha256:{self._hash.hexdigest()}"

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending, self._waiting = [], 0
        self._hash.update(data)
        self.size += len(data)
        self._send(self._compressor.compress(data) if self._compressor is not None else data)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def write_layer(trees: Trees, output: Output, epoch: int | None) -> None:
    """The whole archive; times after `epoch` (seconds) become `epoch`."""
    seen: dict[tuple[int, int], bytes] = {}
    for change in Walk(trees):
        if change.path.rpartition(b"/")[2].startswith(b".wh."):
            continue  # a name that an archive can only take for a mark of removal
        if change.found is None:
            output.write(header(whiteout(change.path, epoch)))
        else:
            _write_file(trees.upper, change, change.found, seen, output, epoch)
    output.write(END)
    output.close()


def whiteout(path: bytes, epoch: int | None) -> Member:
    """The mark that `path` is gone."""
    head, slash, name = path.rpartition(b"/")
    return Member(head + slash + b".wh." + name, tar.REGULAR, mtime=epoch or 0)


def member(
    path: bytes, found: os.stat_result, epoch: int | None, *, link: bytes = b"", xattrs: dict[str, bytes] | None = None
) -> Member:
    """The header of a file by what lstat says."""
    seconds = found.st_mtime_ns // 10**9
    kind = _KINDS[stat.S_IFMT(found.st_mode)]
    device = kind in (tar.CHARACTER, tar.BLOCK_DEVICE)
    return Member(
        (path or b".") + b"/" if kind == tar.DIRECTORY else path,
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_size if kind == tar.REGULAR else 0,
        seconds if epoch is None else min(seconds, epoch),
        link,
        os.major(found.st_rdev) if device else 0,
        os.minor(found.st_rdev) if device else 0,
        xattrs or {},
    )


_KINDS = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
}


def _write_file(
    root: bytes,
    change: Change,
    found: os.stat_result,
    seen: dict[tuple[int, int], bytes],
    output: Output,
    epoch: int | None,
) -> None:
    if stat.S_ISSOCK(found.st_mode):
        return None  # archives have no sockets
    path = root + b"/" + change.path if change.path else root
    target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else b""
    made = member(change.path, found, epoch, link=target, xattrs=read_xattrs(path))
    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
        first = seen.setdefault((found.st_dev, found.st_ino), change.path)
        if first != change.path:
            # With all that is known of the file: docker, podman and buildah set it anew by every name.
            return output.write(header(replace(made, kind=tar.LINK, size=0, link=first)))
    if made.kind == tar.REGULAR:
        return _write_data(path, made, output)
    return output.write(header(made))


def _write_data(path: bytes, made: Member, output: Output) -> None:
    """Header and bytes; a file that shrinks meanwhile is filled with zeros, as tar does."""
    output.write(header(made))
    left = made.size
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while left and (data := os.read(fd, min(READ, left))):
            output.write(data)
            left -= len(data)
    finally:
        os.close(fd)
    while left:
        output.write(bytes(min(READ, left)))
        left -= min(READ, left)
    output.write(padding(made.size))


def _compressor(compression: str) -> _Compressor | None:
    makers: dict[str, Callable[[], _Compressor]] = {
        # zlib writes a header without time or name (RFC 1952), so the same input gives the same bytes.
        "gzip": lambda: zlib.compressobj(GZIP_LEVEL, wbits=31),
        "zstd": lambda: zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj(),
    }
    return makers[compression]() if compression else None


def _mounts(listed: Sequence[dict[str, str]]) -> list[Mount]:
    return [Mount(m["type"], m["source"], m["target"], tuple(m["options"])) for m in listed]
