"""The directories of one snapshotter, kept in step with its records.

    <root>/metadata.db
    <root>/snapshots/<id>/fs      the tree: what is mounted, or the upper directory of an overlay
    <root>/snapshots/<id>/work    the overlay's work directory
    <root>/snapshots/new-…        a tree in the making; becomes <id> by rename, in the transaction that records it
    <root>/reserve                space that is given up when a full disk would not even let a snapshot be removed

A directory without a record is waste: `waste` finds it, `delete` removes it.
"""

import errno
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from corten.contracts.snapshots import Usage
from corten.errors import mapped
from corten.linux import syscalls
from corten.linux.mount import unmount_all
from corten.linux.removal import remove_tree

assert sys.platform != "win32"

log = logging.getLogger(__name__)


RESERVE = 1 << 20
"""Bytes kept for the records' log of removals."""


class Trees:
    """Any thread may call."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._snapshots = root / "snapshots"
        self._making: set[str] = set()
        self._lock = Lock()
        with mapped(f"create {self._snapshots}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._snapshots.mkdir(mode=0o700, exist_ok=True)
            for folder in (root, self._snapshots):
                folder.chmod(0o700)  # one that was there before, too: set-id programs lie below
        self.keep_reserve()

    def __repr__(self) -> str:
        return f"Trees({self.root})"

    def fs(self, id: int) -> Path:
        """The tree of a snapshot."""
        return self._snapshots / str(id) / "fs"

    def work(self, id: int) -> Path:
        """The work directory beside it."""
        return self._snapshots / str(id) / "work"

    def keep_reserve(self) -> None:
        """Take the reserve (again), if there is room for it."""
        path = self.root / "reserve"
        if path.exists():
            return
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE)
        except OSError as error:
            path.unlink()
            log.debug("no reserve in %s: %s", self.root, error)
        finally:
            os.close(fd)

    def give_up_reserve(self) -> None:
        """Make room for a removal."""
        (self.root / "reserve").unlink(missing_ok=True)

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A new directory, 0700, that is deleted at the end unless `place` gave it its name."""
        # Under the lock of `waste`, which must not find the directory before it is known to be in the making.
        with self._lock, mapped(f"create a directory in {self._snapshots}"):
            made = tempfile.mkdtemp(prefix="new-", dir=self._snapshots)
            self._making.add(name := os.path.basename(made))
        try:
            yield Path(made)
        finally:
            if os.path.lexists(made):
                self.delete(name)
            with self._lock:
                self._making.discard(name)

    def place(self, made: Path, id: int) -> None:
        """Give a directory from `making` its id; one that a crash left under that id makes way."""
        target = self._snapshots / str(id)
        with mapped(f"rename {made} to {target}"):
            if target.exists():
                self.delete(target.name)
            made.rename(target)

    def swap(self, id: int, other: int) -> None:
        """The tree of `other` takes the place of that of `id`, if that is there; the old one becomes waste."""
        with mapped(f"put the tree of snapshot {other} in the place of {id}"):
            if (self._snapshots / str(id)).exists():
                (self._snapshots / str(id)).rename(self._snapshots / f"damaged-{id}-{os.urandom(4).hex()}")
            (self._snapshots / str(other)).rename(self._snapshots / str(id))

    def withdraw(self, id: int) -> None:
        """Delete what `place` placed, when its record could not be written."""
        self.delete(str(id))

    def restore(self, id: int, work: bool) -> bool:
        """Make an empty tree again for a snapshot that lost its directory in a crash; tells whether it had to."""
        if self.fs(id).is_dir():
            return False
        with mapped(f"restore {self.fs(id)}"):
            self.fs(id).parent.mkdir(mode=0o700, exist_ok=True)
            self.fs(id).mkdir(mode=0o755)
            if work:
                self.work(id).mkdir(mode=0o711, exist_ok=True)
        return True

    def waste(self, ids: Collection[int]) -> list[str]:
        """Names of the directories that belong to none of `ids` and are not in the making."""
        known = {str(id) for id in ids}
        with self._lock:
            known |= self._making
            return [name for name in os.listdir(self._snapshots) if name not in known]

    def delete(self, name: str) -> None:
        """Delete one directory; mounts inside are taken away. A failure is logged: `waste` finds it again."""
        path = self._snapshots / name
        try:
            try:
                remove_tree(os.fspath(path))
            except OSError:
                unmount_all(path)
                remove_tree(os.fspath(path))
        except Exception as error:
            log.warning("cannot delete %s: %s; the next cleanup tries again", path, error)


def empty_tree(made: Path, *, work: bool, like: Path | None) -> None:
    """`fs` (and `work`) in a new directory; `fs` gets mode and owner of `like`, the tree it will lie on."""
    fs = made / "fs"
    fs.mkdir()
    fs.chmod(0o755)  # whatever the umask
    if work:
        (made / "work").mkdir(mode=0o711)
    if like is not None:
        found = like.stat()
        os.chown(fs, found.st_uid, found.st_gid)
        fs.chmod(stat.S_IMODE(found.st_mode))


def measure(tree: Path) -> tuple[Usage, int]:
    """Disk use of a tree: blocks of 512 bytes, hard links once (as `du`); what vanishes meanwhile does not count.

    And the bytes of its regular files together.
    """
    size = inodes = length = 0
    linked: set[tuple[int, int]] = set()
    pending = [os.fspath(tree)]
    found = os.lstat(tree)
    size, inodes = found.st_blocks * 512, 1
    while pending:
        for entry in _entries(pending.pop()):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if (found.st_dev, found.st_ino) in linked:
                    continue
                linked.add((found.st_dev, found.st_ino))
            elif stat.S_ISDIR(found.st_mode):
                pending.append(entry.path)
            size += found.st_blocks * 512
            length += found.st_size if stat.S_ISREG(found.st_mode) else 0
            inodes += 1
    return Usage(size, inodes), length


def flush(tree: Path) -> None:
    """Write the file system that holds `tree` to disk. Raises ResourceExhausted or Unknown on write errors."""
    with mapped(f"write {tree} to disk"):
        fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.syncfs(fd)
        finally:
            os.close(fd)


def _entries(directory: str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(directory) as found:
            yield from found
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):  # gone, or too deep for a path
            raise
