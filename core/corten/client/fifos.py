"""FIFOs between a client and a container: made in a folder of their own, 0700, and removed with it.

A daemon opens the other ends by path, so the folder must be where the daemon sees it too.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from corten.contracts.runtime import Stdio
from corten.errors import Unimplemented, mapped
from corten.values import dataclass

PREFIX = "corten-fifo-"


@dataclass(frozen=True, slots=True)
class Fifos:
    """The streams of one process, as paths. With a terminal there is no stderr."""

    folder: Path
    stdio: Stdio

    def remove(self) -> None:
        """Harmless when called twice."""
        shutil.rmtree(self.folder, ignore_errors=True)


def make(*, stdin: bool, terminal: bool) -> Fifos:
    """New FIFOs. Raises PermissionDenied or ResourceExhausted when none can be made."""
    with mapped("make FIFOs for the streams of a container"):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base()))
        paths = {
            name: str(folder / name)
            for name, wanted in (("stdin", stdin), ("stdout", True), ("stderr", not terminal))
            if wanted
        }
        for path in paths.values():
            _mkfifo(path)
    return Fifos(folder, Stdio(**paths, terminal=terminal))


def of(stdio: Stdio) -> Fifos | None:
    """The FIFOs that `make` made, if these are such; for attaching again and for cleaning up."""
    folder = Path(stdio.stdout).parent
    if not stdio.stdout or folder.parent != base() or not folder.name.startswith(PREFIX):
        return None
    return Fifos(folder, stdio)


def base() -> Path:
    """Where the folders lie: /run, which a reboot empties, or the directory for temporary files."""
    return Path("/run") if os.access("/run", os.W_OK) else Path(tempfile.gettempdir())


def _mkfifo(path: str) -> None:
    if sys.platform == "win32":
        raise Unimplemented("FIFOs: Windows has none")
    os.mkfifo(path, 0o600)
