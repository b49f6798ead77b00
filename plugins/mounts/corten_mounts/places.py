"""The folders in which transformers may write, and paths in them that cannot lead out."""

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from corten.errors import InvalidArgument
from corten.linux import syscalls as kernel
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """`roots` are absolute and real."""

    roots: Sequence[Path]

    def parent(self, path: str, what: str) -> tuple[int, str]:
        """An O_PATH descriptor of the folder that `path` is in, and its name there.

        No link leads out of the root on the way. Raises InvalidArgument for a path below none of them, OSError.
        """
        clean = posixpath.normpath(path)
        for root in self.roots:
            if clean.startswith(f"{root}/") and clean == path.rstrip("/"):
                folder, name = posixpath.split(clean.removeprefix(f"{root}/"))
                return self._open(root, folder or "."), name
        raise InvalidArgument(f"{what} {path!r}: it is not below {' or '.join(map(str, self.roots))}")

    @staticmethod
    def _open(root: Path, folder: str) -> int:
        top = os.open(root, kernel.O_PATH | kernel.O_DIRECTORY | kernel.O_CLOEXEC)
        try:
            limits = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS
            return kernel.openat2(top, folder, kernel.O_PATH | kernel.O_DIRECTORY, limits)
        finally:
            os.close(top)
