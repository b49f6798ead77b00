"""The native snapshotter: each snapshot is a full copy of its parent, for any file system at all."""

import sys
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Kind
from corten.errors import mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .copying import copy_tree
from .records import Record
from .snapshotter import DirectorySnapshotter
from .trees import empty_tree


class NativeSnapshotter(DirectorySnapshotter):
    """A view is its parent, mounted read-only; only an active snapshot is copied."""

    def __init__(self, root: Path, *, sync_remove: bool = False) -> None:
        super().__init__("native", root, sync_remove=sync_remove)

    def _make(self, made: Path, kind: Kind, parent: int | None) -> None:
        source = None if parent is None else self._trees.fs(parent)
        empty_tree(made, work=False, like=source)
        if source is not None and kind is Kind.ACTIVE:
            with mapped(f"copy {source} to {made / 'fs'}"):
                copy_tree(source, made / "fs")

    def _mounts(self, record: Record) -> list[Mount]:
        if record.info.kind is Kind.ACTIVE:
            return [Mount("bind", str(self._trees.fs(record.id)), options=("rw", "rbind"))]
        shown = record.parents[0] if record.parents else record.id
        return [Mount("bind", str(self._trees.fs(shown)), options=("ro", "rbind"))]
