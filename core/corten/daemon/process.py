"""What the daemon does to its own process before anything else runs: environment, umask, oom score, cgroup."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from corten.config.settings import Settings
from corten.errors import mapped

log = logging.getLogger(__name__)

UMASK = 0o022
_GRPC_EXPERIMENTS = "-event_engine_listener,-event_engine_client"
# The thread that waits for events reads the sockets itself, instead of handing each read through a pool of four more:
# an empty call takes a quarter less CPU and as much time less (grpcio 1.85).


def prepare(settings: Settings) -> None:
    """Apply what the settings say of the process. Raises CortenError for a cgroup or folder that cannot be used."""
    os.umask(UMASK)
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # the daemon never forks without exec, and the handlers cost
    os.environ.setdefault("GRPC_EXPERIMENTS", _GRPC_EXPERIMENTS)
    _use_temp(settings.temp)
    if sys.platform == "linux":
        _join_cgroup(settings.cgroup.path)
        if settings.oom_score:
            _set_oom_score(settings.oom_score)


def _use_temp(folder: str) -> None:
    if folder:
        with mapped(f"temp {folder}: cannot be made"):
            Path(folder).mkdir(mode=0o711, parents=True, exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = folder


def _join_cgroup(path: str) -> None:
    """Move into a cgroup of that path, in version 2 or in each hierarchy of version 1 (man 7 cgroups)."""
    if not path:
        return
    top = Path("/sys/fs/cgroup")
    hierarchies = [top] if (top / "cgroup.controllers").exists() else [each for each in top.iterdir() if each.is_dir()]
    for hierarchy in hierarchies:
        with mapped(f"cgroup {path}: cannot move the daemon into it"):
            target = hierarchy / path.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            _inherit_cpus(hierarchy, target)
            (target / "cgroup.procs").write_text(str(os.getpid()))


def _inherit_cpus(hierarchy: Path, target: Path) -> None:
    """A new cpuset of version 1 is empty and takes no process: give each folder down to it what its parent has."""
    for folder in reversed([target, *target.parents][: len(target.relative_to(hierarchy).parts)]):
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((folder.parent / name).read_text())


def _set_oom_score(score: int) -> None:
    """Set oom_score_adj; without CAP_SYS_RESOURCE it can only be raised, so a refused value leaves it as it is."""
    path = Path("/proc/self/oom_score_adj")
    try:
        path.write_text(str(max(-1000, min(1000, score))))
    except OSError:
        log.info("oom_score %d is not allowed to this process; it stays at %s", score, path.read_text().strip())
