"""The descriptions that there are, read again when a file has changed; folders that come later win."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from corten.errors import CortenError, FailedPrecondition, NotFound
from corten.values import dataclass

from .model import Description, Device, Edits
from .reading import read

log = logging.getLogger(__name__)

_SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Found:
    """A device, and the file that describes it."""

    device: Device
    path: Path
    description: Description


@dataclass(frozen=True, slots=True)
class _Read:
    """A reading of the folders: devices by full name, names that two files claim, files that could not be read."""

    devices: Mapping[str, Found]
    conflicts: Mapping[str, tuple[Path, Path]]
    errors: Mapping[Path, str]


class Registry:
    """Any thread may ask; asking blocks briefly."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = tuple(folders)
        self._lock = Lock()
        self._state: object = None
        self._read = _Read({}, {}, {})

    def edits(self, names: Iterable[str]) -> list[Edits]:
        """In the order in which they are applied. Raises NotFound, FailedPrecondition for a device described twice."""
        now = self._now()
        found = [self._found(now, name) for name in names]
        seen: set[Path] = set()
        edits = []
        for each in found:
            if each.path not in seen:
                seen.add(each.path)
                edits.append(each.description.containerEdits)
            edits.append(each.device.containerEdits)
        return edits

    def _found(self, now: _Read, name: str) -> Found:
        if name in now.conflicts:
            one, other = now.conflicts[name]
            raise FailedPrecondition(f"CDI device {name}: {one} and {other} both describe it (remove one of them)")
        if (found := now.devices.get(name)) is not None:
            return found
        broken = "; ".join(now.errors.values())
        raise NotFound(
            f"CDI device {name}: nothing in {', '.join(self._folders) or 'no folder'} describes it"
            + (f" (some files could not be read: {broken[:800]})" if broken else "")
        )

    def _now(self) -> _Read:
        with self._lock:
            files = [path for folder in self._folders for path in _files(folder)]
            state = [_identity(path) for path in files]
            if state != self._state:
                self._read = _read_all(self._folders)
                self._state = state
            return self._read


def _files(folder: str) -> list[Path]:
    try:
        return sorted(path for path in Path(folder).iterdir() if path.suffix in _SUFFIXES)
    except OSError:
        return []


def _identity(path: Path) -> tuple[str, int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns


def _read_all(folders: Sequence[str]) -> _Read:
    devices: dict[str, Found] = {}
    conflicts: dict[str, tuple[Path, Path]] = {}
    errors: dict[Path, str] = {}
    for folder in folders:
        for path in _files(folder):
            try:
                _add(read(path), path, devices, conflicts)
            except CortenError as error:
                log.warning("%s", error)
                errors[path] = str(error)
    return _Read(devices, conflicts, errors)


def _add(
    description: Description, path: Path, devices: dict[str, Found], conflicts: dict[str, tuple[Path, Path]]
) -> None:
    for device in description.devices:
        name = f"{description.kind}={device.name}"
        before = devices.get(name)
        if before is not None and before.path.parent == path.parent:
            conflicts[name] = (before.path, path)
            continue
        conflicts.pop(name, None)  # of a folder that counts less
        devices[name] = Found(device, path, description)
