"""/proc, looked through while processes come and go."""

import glob
from collections.abc import Iterator
from pathlib import Path


def entries(pattern: str = "") -> Iterator[Path]:
    """What matches `pattern` below /proc/PID; pathlib's glob raises where a process ends meanwhile."""
    return (Path(found) for found in glob.iglob(f"/proc/[0-9]*/{pattern}"))
