"""What is on this host that may be the daemon's, looked at and left as it is. All of it blocks."""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from corten.linux import mountinfo, processes
from corten.linux.processes import Process

from .model import Bundle, Host, Key, Known

TEMPORARY = "corten-mount-"
LOOK = 600.0
"""Seconds after which a temporary mount, which lives for moments, counts as left."""
_HIERARCHIES = Path("/sys/fs/cgroup")
_SHIM = "containerd-shim"


def look(known: Known) -> Host:
    """Files and processes come and go meanwhile: what is gone is not there."""
    state = Path(known.state) if known.state else None
    found, shims = mountinfo.mounts(), tuple(_shims(known))
    return Host(
        bundles=tuple(_bundles(state)) if state else (),
        shims=shims,
        children=_children_of({shim.pid for shim in shims}),
        runc=tuple(_runc(state.parent / "runc")) if state else (),
        mounts=tuple(mount.target for mount in mountinfo.below(known.state, found)) if state else (),
        temporary=tuple(_temporary()),
        cgroups=tuple(_cgroups(known.namespaces)),
        blobs=_blobs(Path(known.content) / "blobs") if known.content else {},
        snapshot_folders={id: _count(Path(root) / "snapshots") for id, root in known.snapshot_roots.items() if root},
    )


def _bundles(state: Path) -> Iterator[Bundle]:
    for namespace, path in _grandchildren(state):
        yield Bundle((namespace, path.name), str(path), _recorded_shim(path))


def _recorded_shim(bundle: Path) -> int:
    try:
        record = json.loads((bundle / "bootstrap.json").read_bytes())
        return int(record["corten"].get("pid") or 0)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return 0


def _shims(known: Known) -> Iterator[Process]:
    """Ours say the address of their daemon; others run in their bundle."""
    if not known.state:
        return
    inside = {process.pid for process in processes.in_folder(known.state)}
    for process in processes.all_processes():
        words = process.command.split()
        if not words or not os.path.basename(words[0]).startswith(_SHIM):
            continue
        ours = "-address" in words and words[words.index("-address") + 1 :][:1] == [known.address]
        if process.pid in inside or (ours and words[0] == "containerd-shim-corten"):
            yield process


def _children_of(parents: set[int]) -> Mapping[int, frozenset[int]]:
    found: dict[int, set[int]] = {pid: set() for pid in parents}
    for process in processes.all_processes() if parents else ():
        if process.parent in found:
            found[process.parent].add(process.pid)
    return {pid: frozenset(children) for pid, children in found.items()}


def _runc(root: Path) -> Iterator[tuple[Key, str]]:
    for namespace, path in _grandchildren(root):
        yield (namespace, path.name), str(path.parent)


def _temporary() -> Iterator[str]:
    """Those that no process of this name is at work on any more: nobody has them for a working directory or open."""
    for path in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        if path.is_dir() and not any(True for _ in _users(str(path))):
            yield str(path)


def _users(folder: str) -> Iterator[int]:
    """A maker holds its folder only by its name, so age counts too."""
    try:
        if os.lstat(folder).st_ctime > time.time() - LOOK:
            yield os.getpid()
    except OSError:
        return
    yield from (process.pid for process in processes.in_folder(folder))


def _cgroups(namespaces: frozenset[str]) -> Iterator[tuple[Key, str]]:
    tops = [_HIERARCHIES, *(path for path in _children(_HIERARCHIES) if (path / "cgroup.procs").exists())]
    for top in tops:
        for namespace in sorted(namespaces):
            for path in _children(top / namespace):
                if _is_empty(path):
                    yield (namespace, path.name), str(path)


def _is_empty(cgroup: Path) -> bool:
    try:
        if (cgroup / "cgroup.procs").read_text():
            return False
    except OSError:
        return False
    return all(_is_empty(child) for child in _children(cgroup))


def _blobs(folder: Path) -> Mapping[str, int]:
    found = {}
    for algorithm, path in _grandchildren(folder, directories=False):
        try:
            found[f"{algorithm}:{path.name}"] = path.stat().st_size
        except OSError:
            continue
    return found


def _count(folder: Path) -> int:
    return sum(1 for _ in _children(folder))


def _grandchildren(folder: Path, *, directories: bool = True) -> Iterator[tuple[str, Path]]:
    for child in _children(folder):
        for path in _children(child, directories=directories):
            yield child.name, path


def _children(folder: Path, *, directories: bool = True) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() or not directories)
    except OSError:
        return []
