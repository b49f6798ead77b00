"""File trees for tests: layers made as tar archives, stacks of them unpacked in two ways, and trees told apart."""

import gzip
import hashlib
import io
import os
import shutil
import stat
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from corten import digests
from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Differ, StreamDiffer
from corten.contracts.mounts import Mount
from corten.errors import FailedPrecondition

assert sys.platform != "win32"

PLAIN = "application/vnd.oci.image.layer.v1.tar"
GZIP = f"{PLAIN}+gzip"
ZSTD = f"{PLAIN}+zstd"
EPOCH = 1_600_000_000


class Layer:
    """An archive in the making; `add` takes a name, data and the fields of `tarfile.TarInfo`."""

    def __init__(self, format: int = tarfile.PAX_FORMAT) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._bytes, mode="w", format=format)

    def add(
        self, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, mode: int = 0o644, **fields: Any
    ) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime, info.size = kind, mode, EPOCH, len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))

    def directory(self, name: str, mode: int = 0o755, **fields: Any) -> None:
        self.add(name, kind=tarfile.DIRTYPE, mode=mode, **fields)

    def symlink(self, name: str, target: str) -> None:
        self.add(name, kind=tarfile.SYMTYPE, mode=0o777, linkname=target)

    def link(self, name: str, target: str) -> None:
        self.add(name, kind=tarfile.LNKTYPE, linkname=target)

    def done(self) -> bytes:
        """The archive."""
        self._tar.close()
        return self._bytes.getvalue()


def empty_files(*names: str) -> Callable[[Layer], None]:
    """Fills a layer with empty files."""

    def fill(made: Layer) -> None:
        for name in names:
            made.add(name)

    return fill


def layer(fill: Callable[[Layer], object]) -> bytes:
    """The archive that `fill` makes."""
    made = Layer()
    fill(made)
    return made.done()


def compressed(data: bytes, media_type: str) -> bytes:
    """The bytes as a blob of that media type."""
    if media_type.endswith("gzip"):
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if media_type.endswith("zstd") else data


def stored(content: ContentStore, blob: bytes, media_type: str = PLAIN) -> Descriptor:
    """Put a blob into the store, if it is not there."""
    digest = digests.of(blob)
    if digest not in {info.digest for info in content.walk()}:
        with content.writer(digest, total=len(blob)) as writer:
            writer.write(blob)
            writer.commit(len(blob), digest)
    return Descriptor(media_type, digest, len(blob))


def upper_mounts(upper: Path) -> list[Mount]:
    """An upper directory whose lower ones are not there yet."""
    return [Mount("overlay", "overlay", options=("rw", f"upperdir={upper}"))]


@dataclass
class Stack:
    """Layers one over the other: in one plain directory, or each in the upper directory of an overlay.

    `unseen`: each layer is unpacked without those below it, and settled on them afterwards.
    """

    differ: Differ
    content: ContentStore
    root: Path
    overlay: bool
    unseen: bool = False
    uppers: list[Path] = field(default_factory=list)

    def apply(self, data: bytes, **options: Any) -> Descriptor:
        """Unpack one more layer."""
        if self.unseen and self.uppers:
            return self._apply_unseen(stored(self.content, data))
        return self.differ.apply(stored(self.content, data), self.next_mounts(), self.content, **options)

    def _apply_unseen(self, blob: Descriptor) -> Descriptor:
        assert isinstance(self.differ, StreamDiffer)
        below = [upper_mounts(path) for path in self.uppers]
        on_parent = self.next_mounts()
        try:
            unpacked = self.differ.unpack(blob, upper_mounts(self.uppers[-1]), self.content)
            self.differ.settle(
                [*((mounts, b"") for mounts in below), (upper_mounts(self.uppers[-1]), unpacked.assumed)]
            )
        except FailedPrecondition:
            shutil.rmtree(self.uppers[-1])
            self.uppers[-1].mkdir(mode=0o755)
            return self.differ.apply(blob, on_parent, self.content)
        return unpacked.layer

    def next_mounts(self) -> list[Mount]:
        """The mounts for a further layer."""
        lowers = list(self.uppers)
        if not self.overlay and lowers:
            return [Mount("bind", str(lowers[0]), options=("rw", "rbind"))]
        upper = self.root / f"{len(lowers)}" / "fs"
        upper.mkdir(parents=True)
        upper.chmod(0o755)
        self.uppers.append(upper)
        if not lowers:
            return [Mount("bind", str(upper), options=("rw", "rbind"))]
        below_root = lowers[-1].stat()
        os.chown(upper, below_root.st_uid, below_root.st_gid)
        upper.chmod(stat.S_IMODE(below_root.st_mode))
        work = upper.parent / "work"
        work.mkdir()
        below = ":".join(str(path) for path in reversed(lowers))
        words = ("index=off", f"workdir={work}", f"upperdir={upper}", f"lowerdir={below}")
        return [Mount("overlay", "overlay", options=words)]

    def view_mounts(self) -> list[Mount]:
        """The mounts to read all layers."""
        if len(self.uppers) == 1:
            return [Mount("bind", str(self.uppers[0]), options=("ro", "rbind"))]
        below = ":".join(str(path) for path in reversed(self.uppers))
        return [Mount("overlay", "overlay", options=("index=off", f"lowerdir={below}"))]

    @contextmanager
    def view(self) -> Iterator[Path]:
        """The tree that the layers make."""
        from corten.linux.mount import temporary_mount

        with temporary_mount(self.view_mounts()) as path:
            yield path

    def names(self) -> list[str]:
        """Every path of the tree, sorted."""
        with self.view() as tree:
            return sorted(describe(tree))[1:]


def describe(tree: Path, *, directory_times: bool = False) -> dict[str, tuple[object, ...]]:
    """All that a layer can keep of a tree, by path; equal trees have equal descriptions."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted([tree, *tree.rglob("*")]):
        about = path.lstat()
        name = str(path.relative_to(tree))
        times = int(about.st_mtime) if directory_times or not stat.S_ISDIR(about.st_mode) else 0
        link = first.setdefault(about.st_ino, name) if not stat.S_ISDIR(about.st_mode) else ""
        found[name] = (about.st_mode, about.st_uid, about.st_gid, times, link, _data(path, about), _xattrs(path))
    return found


def _data(path: Path, about: os.stat_result) -> object:
    if stat.S_ISREG(about.st_mode):
        return about.st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    if stat.S_ISLNK(about.st_mode):
        return os.readlink(path)
    return about.st_rdev


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    kept = [name for name in names if not name.startswith(("trusted.overlay.", "user.overlay.", "security.selinux"))]
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in kept)
