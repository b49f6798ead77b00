"""Root and state: whether the daemon may use them, and the locks that make them its own for its life.

A root with anything in it but without Corten's marker belongs to somebody else. It is refused before anything is
written: an empty database over containerd's content would have gc delete it all.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from corten import __version__
from corten.errors import FailedPrecondition, mapped

MARKER = "corten.json"
LAYOUT = 1
"""The layout of a root; a root of a newer one is refused."""
LOCK = "cortend.lock"
BOOT = "boot_id"
ROOT_MODE, STATE_MODE = 0o700, 0o711

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_OWN = frozenset({MARKER, f"{MARKER}.new", LOCK, "lost+found"})
_CONTAINERD = "io.containerd.metadata.v1.bolt/meta.db"


def check_root(root: Path) -> None:
    """Raise FailedPrecondition if the root is not Corten's to use; reads only."""
    with mapped(f"root {root}: cannot be read"):
        names = os.listdir(root) if root.exists() else []
        foreign = (root / _CONTAINERD).exists()
        marker = (root / MARKER).read_text() if MARKER in names else None
    if complaint := objection(names, marker, containerd=foreign):
        raise FailedPrecondition(f"root {root}: {complaint}")


def objection(names: Iterable[str], marker: str | None, *, containerd: bool) -> str:
    """Why a root with those entries may not be used; empty if it may."""
    remedy = "choose another with --root or in the configuration; nothing was changed"
    if containerd:
        return f"it holds containerd's metadata ({_CONTAINERD}), which Corten neither reads nor may delete ({remedy})"
    if marker is not None:
        return _marker_objection(marker)
    if others := sorted(set(names) - _OWN):
        shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        return f"it holds data that is not Corten's: there is {shown}, but no {MARKER} ({remedy})"
    return ""


def claim(root: Path, state: Path) -> list[Lock]:
    """Make both folders, lock them, mark the root. Raises FailedPrecondition naming who holds one, or as `check_root`.

    What is returned must be kept for the daemon's life.
    """
    check_root(root)
    locks = []
    for folder, mode, what in ((root, ROOT_MODE, "root"), (state, STATE_MODE, "state")):
        with mapped(f"{what} {folder}: cannot be made"):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            _check_owner(folder, what)
            folder.chmod(mode)
        locks.append(Lock(f"{what} {folder}", folder / LOCK))
    check_root(root)
    with mapped(f"root {root}: cannot write its marker"):
        _mark(root)
    return locks


def _check_owner(folder: Path, what: str) -> None:
    """Raises FailedPrecondition: whoever owns the folder could put other files in the place of the daemon's."""
    if sys.platform == "win32":
        return
    owner, own = folder.stat().st_uid, os.geteuid()
    if owner != own:
        raise FailedPrecondition(
            f"{what} {folder}: it belongs to uid {owner}, and the daemon runs as uid {own} (chown it, or choose "
            f"another with --{what} or in the configuration; nothing was changed)"
        )


def claim_address(address: str) -> Lock:
    """Lock the place of a socket. Raises FailedPrecondition naming who holds it."""
    path = Path(f"{address}.lock")
    with mapped(f"address {address}: cannot make its folder"):
        path.parent.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
    return Lock(f"address {address}", path)


def rebooted(root: Path, boot_id: str) -> bool:
    """Record the machine's boot id; whether it differs from the one recorded before."""
    path = root / BOOT
    with mapped(f"root {root}: cannot record the boot id"):
        before = path.read_text().strip() if path.exists() else boot_id
        if before != boot_id or not path.exists():
            _replace(path, boot_id + "\n")
    return before != boot_id


def boot_id() -> str:
    """The kernel's random id of this boot (man 5 proc); empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Lock:
    """An flock (man 2 flock) that holds until `release` or the end of the process; the file says whose it is."""

    def __init__(self, what: str, path: Path) -> None:
        """Raises FailedPrecondition, with name and pid of the holder, if another process has it."""
        self._path = path
        with mapped(f"{what}: cannot open its lock {path}"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o600)  # close-on-exec by PEP 446
        if not _flock(self._fd):
            holder = _holder(self._fd)
            os.close(self._fd)
            raise FailedPrecondition(f"{what}: is used by {holder} (stop that daemon, or choose another)")
        os.ftruncate(self._fd, 0)
        os.write(self._fd, json.dumps({"name": "cortend", "pid": os.getpid()}).encode() + b"\n")

    def __repr__(self) -> str:
        return f"Lock({self._path}, {'held' if self._fd >= 0 else 'released'})"

    def release(self) -> None:
        """Let go; the file stays, because removing it would race with the next holder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _flock(fd: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str:
    try:
        said = json.loads(os.read(fd, 4096))
        return f"{said['name']}, pid {said['pid']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _marker_objection(marker: str) -> str:
    try:
        layout = json.loads(marker)["layout"]
        newer = layout > LAYOUT
    except (ValueError, KeyError, TypeError):
        return f"its marker {MARKER} is damaged (put back a copy, or move the folder away)"
    return f"its layout {layout} is newer than {LAYOUT}, which this Corten knows (upgrade Corten)" if newer else ""


def _mark(root: Path) -> None:
    if not (root / MARKER).exists():
        _replace(root / MARKER, json.dumps({"layout": LAYOUT, "made_by": f"corten {__version__}"}) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write a small file so that after a crash there is the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    with open(new, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
