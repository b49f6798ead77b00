"""What is assumed of the layers below one that is unpacked before they are there, and how the worker tells it.

Until the layers below are known, a directory without an entry of its own may be theirs or new, a whiteout may hide
something or nothing, and the root has their mode unless the layer says otherwise. `settling` puts that right.
"""

import json
import os
import sys
from collections.abc import Collection, Sequence

from corten.errors import FailedPrecondition
from corten.values import dataclass

assert sys.platform != "win32"

MAX_BYTES = 8 << 20
"""Bytes of paths that are noted for one layer; a layer with more is unpacked on its parent."""


class Unseen:
    """`Below` while nothing is known of it: what is not hidden by the layer itself may be anything."""

    def __init__(self, opaque: str) -> None:
        self.opaque = opaque
        self.hidden: set[bytes] = set()
        self.directories: list[bytes] = []
        self.cleared = False
        """Whether the layer removes all that is below it."""

    def stat(self, directory: bytes, name: bytes) -> None:
        return None

    def removable(self, directory: bytes, name: bytes) -> bool:
        return not self.is_hidden(directory)

    def readlink(self, directory: bytes, name: bytes) -> bytes:
        raise AssertionError("nothing was found that could be a link")

    def names(self, directory: bytes) -> list[bytes]:
        self.cleared = True
        return []

    def copy_directory(self, directory: bytes, name: bytes, made: int, found: os.stat_result) -> None: ...

    def copy_file(self, directory: bytes, name: bytes, to: int) -> bool:
        raise FailedPrecondition("a hard link to a file of the layers below, which are not there yet")

    def is_hidden(self, path: bytes) -> bool:
        while path not in self.hidden:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    def implied(self, path: bytes) -> None:
        if not self.is_hidden(path.rpartition(b"/")[0]):
            self.directories.append(path)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Of one layer: its root has no entry, directories that have none, whiteouts, and whether it removes all below."""

    root: bool = False
    directories: Sequence[bytes] = ()
    whiteouts: Sequence[bytes] = ()
    cleared: bool = False

    def __bool__(self) -> bool:
        return bool(self.root or self.directories or self.whiteouts or self.cleared)

    def encoded(self) -> str:
        """As text. Raises FailedPrecondition for more than `MAX_BYTES`."""
        if sum(len(path) + 4 for paths in (self.directories, self.whiteouts) for path in paths) > MAX_BYTES:
            raise FailedPrecondition("more removals and directories without entries than are noted for later")
        directories, whiteouts = ([os.fsdecode(path) for path in paths] for paths in (self.directories, self.whiteouts))
        return json.dumps([self.root, directories, whiteouts, self.cleared])


def decoded(text: str) -> Assumptions:
    """What `Assumptions.encoded` made."""
    root, directories, whiteouts, cleared = json.loads(text)
    return Assumptions(root, list(map(os.fsencode, directories)), list(map(os.fsencode, whiteouts)), cleared)


def assumed(unseen: Unseen, explicit: Collection[bytes], whiteouts: Sequence[bytes]) -> Assumptions:
    """What is left open at the end of a layer; `explicit` are the directories that had entries."""
    directories = list(dict.fromkeys(path for path in unseen.directories if path not in explicit))
    return Assumptions(b"" not in explicit, directories, whiteouts, unseen.cleared)
