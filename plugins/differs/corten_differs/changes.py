"""What makes one tree out of another: a walk of both side by side, in the order of names.

Where the upper tree is an overlay on just the lower one, only what its upper directory holds is looked at; the
comparison is the same, so the result is too.
"""

import os
import stat
import sys
from collections.abc import Iterator

from corten.values import dataclass

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .xattrs import read_xattrs

COMPARED = 1 << 20
_REDIRECT = ("trusted.overlay.redirect", "user.overlay.redirect")
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@dataclass(frozen=True, slots=True)
class Change:
    """A path of the upper tree that is new or different, or that is gone (`found` is None).

    `unchanged` marks a directory that is only on the way to a change.
    """

    path: bytes
    found: os.stat_result | None
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Trees:
    """The roots of both views, and of the overlay's upper directory if it can guide the walk."""

    lower: bytes
    upper: bytes
    hint: bytes | None = None


class Walk:
    """Iterate once. Raises OSError."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._inodes: dict[tuple[int, int], tuple[int, int]] = {}

    def __iter__(self) -> Iterator[Change]:
        """Changes in the order of an archive: a directory before what is in it."""
        root = Change(b"", os.lstat(self._trees.upper), not self._differs(b"", os.lstat(self._trees.lower)))
        if not root.unchanged:
            yield root
        yield from self._directory(b"", [], self._trees.hint is not None, there=True)

    def _directory(self, path: bytes, unsaid: list[Change], guided: bool, *, there: bool) -> Iterator[Change]:
        """The changes below a directory; `unsaid` are the unchanged directories above, yielded before the first one.

        `there`: it was a directory before too. Where it was a link, what that leads to is no part of it.
        """
        for name, inner_guided in self._candidates(path, guided, there):
            inner = path + b"/" + name if path else name
            for change in self._entry(inner, inner_guided, there):
                yield from unsaid
                unsaid.clear()
                yield change

    def _entry(self, path: bytes, guided: bool, there: bool) -> Iterator[Change]:
        before, after = _lstat(self._trees.lower, path) if there else None, _lstat(self._trees.upper, path)
        if after is None:
            if before is not None:
                yield Change(path, None)
            return
        changed = before is None or self._differs(path, before)
        if not stat.S_ISDIR(after.st_mode):
            if changed:
                yield Change(path, after)
            return
        own = Change(path, after, not changed)
        if changed:
            yield own
        was_directory = before is not None and stat.S_ISDIR(before.st_mode)
        yield from self._directory(path, [] if changed else [own], guided, there=was_directory)

    def _candidates(self, path: bytes, guided: bool, there: bool) -> list[tuple[bytes, bool]]:
        """Names that may have changed, sorted, and whether the upper directory may guide below each."""
        hint = _under(self._trees.hint or b"", path)
        if guided and not _hides(hint):
            return [(name, True) for name in sorted(_names(hint))]
        before = _names(_under(self._trees.lower, path)) if there else set()
        names = before | _names(_under(self._trees.upper, path))
        return [(name, False) for name in sorted(names)]

    def _differs(self, path: bytes, before: os.stat_result) -> bool:
        lower, upper = _under(self._trees.lower, path), _under(self._trees.upper, path)
        after = os.lstat(upper)
        if _identity(before) != _identity(after) or not self._same_links(before, after):
            return True
        if stat.S_ISLNK(after.st_mode):
            return os.readlink(lower) != os.readlink(upper)
        if read_xattrs(lower) != read_xattrs(upper):
            return True
        return stat.S_ISREG(after.st_mode) and _file_differs(lower, before, upper, after)

    def _same_links(self, before: os.stat_result, after: os.stat_result) -> bool:
        """Whether the file is linked to the same other names as before, as far as they were seen."""
        if stat.S_ISDIR(after.st_mode) or before.st_nlink == after.st_nlink == 1:
            return True
        key = (after.st_dev, after.st_ino)
        was = self._inodes.setdefault(key, (before.st_dev, before.st_ino))
        return before.st_nlink == after.st_nlink and was == (before.st_dev, before.st_ino)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    device = found.st_rdev if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode) else 0
    return found.st_mode, found.st_uid, found.st_gid, device


def _file_differs(lower: bytes, before: os.stat_result, upper: bytes, after: os.stat_result) -> bool:
    if before.st_size != after.st_size or before.st_mtime_ns // 10**9 != after.st_mtime_ns // 10**9:
        return True
    if before.st_mtime_ns == after.st_mtime_ns and before.st_mtime_ns % 10**9:
        return False
    # Archives keep whole seconds, so within one second only the bytes can tell.
    return _bytes_differ(lower, upper)


def _bytes_differ(lower: bytes, upper: bytes) -> bool:
    with open(lower, "rb", buffering=0) as one, open(upper, "rb", buffering=0) as other:
        while (data := one.read(COMPARED)) == other.read(COMPARED):
            if not data:
                return False
    return True


def _lstat(root: bytes, path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(_under(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _names(directory: bytes) -> set[bytes]:
    try:
        return set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _hides(hint: bytes) -> bool:
    """Whether an upper directory shows something else than itself over the lower directory of the same name."""
    for names, values in ((_OPAQUE, (b"y",)), (_REDIRECT, None)):
        for name in names:
            try:
                value = os.getxattr(hint, name, follow_symlinks=False)
            except OSError:
                continue
            if values is None or value in values:
                return True
    return False


def _under(root: bytes, path: bytes) -> bytes:
    return root + b"/" + path if path else root
