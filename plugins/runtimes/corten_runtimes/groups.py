"""Which tasks share a shim: those of a namespace that belong to one pod."""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

LABELS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")
"""Annotations in the spec that name the pod where the container's record does not; the first that is there counts."""
Key = tuple[str, str]
Record = Mapping[str, Any]


def group_of(sandbox_id: str, spec: Mapping[str, Any]) -> str:
    """The pod of a container, by its record or the annotations of its spec; empty for one that is alone."""
    annotations = spec.get("annotations")
    if sandbox_id or not isinstance(annotations, dict):
        return sandbox_id
    return next((str(annotations[label]) for label in LABELS if annotations.get(label)), "")


class SharedShim:
    """The shim of a pod: `record` is what its bundles tell of it, None until it was started (under `starting`)."""

    def __init__(self, record: Record | None = None) -> None:
        self.record = record
        self.starting = Lock()
        self.members: set[Path] = set()
        """Bundles of the tasks in it, those that are being created too."""

    def __repr__(self) -> str:
        return f"SharedShim({self.record and self.record.get('address')}, members={len(self.members)})"


class Groups:
    """The shims of pods and who is in them; may be used from any thread. `alive` tells whether a shim still runs."""

    def __init__(self, alive: Callable[[Record], bool]) -> None:
        self._alive = alive
        self._lock = Lock()
        self._shims: dict[Key, SharedShim] = {}
        self._of: dict[Path, tuple[Key, SharedShim]] = {}

    def enter(self, key: Key, bundle: Path) -> SharedShim:
        """Become a member of the pod's shim; from now on it is not asked to end. One that has died has a successor."""
        with self._lock:
            shim = self._shims.get(key)
            if shim is None or (shim.record is not None and not self._alive(shim.record)):
                shim = self._shims[key] = SharedShim()
            self._admit(key, bundle, shim)
            return shim

    def recall(self, key: Key, bundle: Path, record: Record) -> None:
        """Know again what a bundle of an earlier daemon tells."""
        with self._lock:
            shim = self._shims.get(key)
            if shim is None or shim.record is None or shim.record.get("address") != record.get("address"):
                shim = SharedShim(record)
                self._shims.setdefault(key, shim)
            self._admit(key, bundle, shim)

    def leave(self, bundle: Path) -> bool:
        """A bundle goes; returns whether nobody else is in its shim, which then takes nobody any more."""
        with self._lock:
            if bundle not in self._of:
                return True
            key, shim = self._of.pop(bundle)
            shim.members.discard(bundle)
            if not shim.members and self._shims.get(key) is shim:
                del self._shims[key]
            return not shim.members

    def others(self, address: str) -> bool:
        """Whether anybody is in the shim with this address."""
        with self._lock:
            return any((shim.record or {}).get("address") == address for _, shim in self._of.values())

    def _admit(self, key: Key, bundle: Path, shim: SharedShim) -> None:
        shim.members.add(bundle)
        self._of[bundle] = (key, shim)
