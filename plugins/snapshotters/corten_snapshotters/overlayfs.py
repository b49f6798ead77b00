"""The overlayfs snapshotter: each snapshot is an upper directory, its parents are the lower ones.

Mounts: a snapshot without parents is a bind mount, so is a view of one parent; all else is an overlay.
https://docs.kernel.org/filesystems/overlayfs.html
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Kind, SnapshotInfo
from corten.errors import CortenError
from corten.linux import mount, options

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .records import Record
from .remapping import Remapping
from .snapshotter import ID_MAPPING_LABELS, DirectorySnapshotter, with_label
from .trees import empty_tree

UPPERDIR_LABEL = "containerd.io/snapshot/overlay.upperdir"


class OverlayfsSnapshotter(DirectorySnapshotter):
    """`mount_options` come first in every overlay mount; `upperdir_label` shows where a snapshot's own files are."""

    def __init__(
        self,
        root: Path,
        *,
        mount_options: Sequence[str] = (),
        upperdir_label: bool = False,
        sync_remove: bool = False,
        remapping: Remapping | None = None,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        """`announce` is called once it is known that ids can be mapped here."""
        self._remapping = remapping
        self._announce = announce
        self._options = (*mount_options, *kernel_options(mount_options))
        self._upperdir_label = upperdir_label
        # A whiteout or an opaque directory that is made by hand needs rights that a user namespace has not.
        self.rebases = "userxattr" not in self._options
        super().__init__("overlayfs", root, sync_remove=sync_remove)

    async def start(self) -> None:
        """Find out in the background whether ids can be mapped, and say so."""
        _ = asyncio.get_running_loop().run_in_executor(None, self._find_out)

    def _find_out(self) -> None:
        if not self._unmappable():
            self._announce()

    def _unmappable(self) -> str:
        return self._remapping.unsupported() if self._remapping is not None else super()._unmappable()

    def _make(self, made: Path, kind: Kind, parent: int | None) -> None:
        like = None if parent is None else self._trees.fs(parent)
        empty_tree(made, work=self._has_work(kind), like=like)

    def _has_work(self, kind: Kind) -> bool:
        return kind is Kind.ACTIVE

    def _mounts(self, record: Record) -> list[Mount]:
        lowers = [str(self._trees.fs(id)) for id in record.parents]
        upper, work = str(self._trees.fs(record.id)), str(self._trees.work(record.id))
        made = overlay_mounts(upper, work, lowers, self._options, writable=record.info.kind is Kind.ACTIVE)
        maps = zip(("uidmap", "gidmap"), ID_MAPPING_LABELS, strict=True)
        words = [f"{word}={record.info.labels[label]}" for word, label in maps if label in record.info.labels]
        return [replace(mount, options=(*words, *mount.options)) for mount in made]

    def _shown(self, record: Record) -> SnapshotInfo:
        if not self._upperdir_label:
            return record.info
        return with_label(record.info, UPPERDIR_LABEL, str(self._trees.fs(record.id)))


def overlay_mounts(
    upper: str, work: str, lowers: Sequence[str], extra: Sequence[str], *, writable: bool
) -> list[Mount]:
    """The mount of a tree on its parents, nearest parent first."""
    if not lowers:
        return [Mount("bind", upper, options=("rw" if writable else "ro", "rbind"))]
    if not writable and len(lowers) == 1:
        return [Mount("bind", lowers[0], options=("ro", "rbind"))]
    own = (f"workdir={work}", f"upperdir={upper}") if writable else ()
    lower = ":".join(path.replace(":", "\\:") for path in lowers)
    return [Mount("overlay", "overlay", options=(*extra, *own, f"lowerdir={lower}"))]


def kernel_options(given: Sequence[str]) -> list[str]:
    """What this kernel needs on top: `userxattr` in a user namespace; no index, which would tie lower to upper."""
    needed = []
    if "userxattr" not in given and in_user_namespace():
        needed.append("userxattr")
    if not any(word.startswith("index=") for word in given) and Path("/sys/module/overlay/parameters/index").exists():
        needed.append("index=off")
    return needed


def in_user_namespace() -> bool:
    """Whether ids here are not those of the host (user_namespaces(7))."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def unsupported(root: Path) -> str:
    """Why overlay mounts do not work on the file system of `root`; empty if they do. Tries one."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        return f"{root} is on a read-only file system"
    with tempfile.TemporaryDirectory(prefix="check-overlay-", dir=root) as made:
        return _tried(Path(made))


def _tried(made: Path) -> str:
    for name in ("lower1", "lower2", "upper", "work", "merged"):
        (made / name).mkdir()
    (made / "lower2" / "kept").touch()
    (made / "lower2" / "removed").touch()
    if any(entry.is_symlink() or not entry.is_file() for entry in os.scandir(made / "lower2")):
        return f"{made.parent} does not tell file types when it lists directories (d_type; xfs needs ftype=1)"
    lowers = f"lowerdir={made / 'lower2'}:{made / 'lower1'}"
    own = (f"workdir={made / 'work'}", f"upperdir={made / 'upper'}")
    overlay = Mount("overlay", "overlay", options=(*kernel_options(()), *own, lowers))
    try:
        mount.mount_all([overlay], made / "merged")
    except CortenError as error:
        return f"an overlay cannot be mounted on the file system of {made.parent}: {error.message}"
    try:
        (made / "merged" / "removed").unlink()
        return _checked(made)
    except OSError as error:
        return f"an overlay on the file system of {made.parent} cannot be written to: {error}"
    finally:
        mount.unmount_all(made / "merged")


def _checked(made: Path) -> str:
    whiteout = (made / "upper" / "removed").lstat()
    if whiteout.st_rdev != 0:
        return f"the file system of {made.parent} does not keep whiteouts"
    words = options.parse(kernel_options(())).data
    name = "user.overlay.opaque" if "userxattr" in words else "trusted.overlay.opaque"
    os.setxattr(made / "upper", name, b"n")
    return ""
