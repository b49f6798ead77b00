"""Bundles: the folder of a task under the state directory, and its work folder under the root.

<state>/<namespace>/<id>/      0700
    config.json                the OCI spec
    rootfs/                    where the shim mounts the root file system
    work -> <root>/<namespace>/<id>
    address                    the shim's ttrpc address
    bootstrap.json             the same with its version; what the provider needs to find its shim again
    shim-binary-path           the program that is the shim; absent for Corten's own
    facts.json                 what the own shim must know of the spec
    checkpoint                 the folder from which it is restored when it is started; absent for most
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from corten.contracts.runtime import ShimEndpoint
from corten.errors import AlreadyExists, InvalidArgument, mapped
from corten.linux import mount

assert sys.platform != "win32"


_MAX_ID = 2**32 - 2


class Bundles:
    """The bundles of all namespaces. All methods block."""

    def __init__(self, state: Path, root: Path) -> None:
        self._state, self._root = state, root

    def path(self, namespace: str, id: str) -> Path:
        """Where a task's bundle is, or would be."""
        return self._state / namespace / id

    def create(self, namespace: str, id: str, spec: bytes) -> Path:
        """Make the bundle. Raises AlreadyExists, InvalidArgument for a spec that is not a JSON object."""
        parsed = parse_spec(id, spec)
        path, work = self.path(namespace, id), self._root / namespace / id
        with mapped(f"bundle of task {id!r}"):
            path.parent.mkdir(mode=0o711, exist_ok=True)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                raise AlreadyExists(f"task {id!r}: its bundle {path} already exists") from None
            try:
                self._fill(path, work, spec, parsed)
            except BaseException:
                self.remove(namespace, id)
                raise
        return path

    def remove(self, namespace: str, id: str) -> None:
        """Unmount what is below the bundle and take it away with the work folder; what is not there is no error."""
        path, work = self.path(namespace, id), self._root / namespace / id
        with mapped(f"remove bundle of task {id!r}"):
            mount.unmount_all(path)
            for folder in (path, work):
                _remove_folder(folder)

    def all(self) -> Iterator[tuple[str, str]]:
        """Namespace and id of every bundle there is."""
        for namespace in sorted(self._state.iterdir()):
            if namespace.is_dir():
                yield from ((namespace.name, bundle.name) for bundle in sorted(namespace.iterdir()) if bundle.is_dir())

    def _fill(self, path: Path, work: Path, spec: bytes, parsed: Mapping[str, Any]) -> None:
        owner = remapped_group(parsed)
        if owner:
            os.chown(path, 0, owner)
            path.chmod(0o710)
        (path / "rootfs").mkdir(mode=0o711)
        write_private(path / "config.json", spec)
        work.parent.mkdir(mode=0o711, exist_ok=True)
        work.mkdir(mode=0o711, exist_ok=True)
        (path / "work").symlink_to(work)


REMOVALS = 10
"""Times that a folder is removed anew, because the shim or its runc still made or removed a file in it meanwhile."""


def _remove_folder(folder: Path) -> None:
    """Remove a folder and all in it; raises the OSError that stays."""
    for left in reversed(range(REMOVALS)):
        try:
            return shutil.rmtree(folder)
        except OSError:
            if not folder.exists():
                return None
            if not left:
                raise
    return None


def parse_spec(id: str, spec: bytes) -> Mapping[str, Any]:
    """The OCI spec as a mapping, well formed where Corten itself reads it. Raises InvalidArgument."""
    try:
        parsed = json.loads(spec)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"task {id!r}: its OCI spec is not JSON: {error}") from None
    if complaint := _complaint(parsed):
        raise InvalidArgument(f"task {id!r}: {complaint}")
    return cast("Mapping[str, Any]", parsed)


def _complaint(spec: Any) -> str:
    """What is wrong with the shape of a spec; empty for nothing."""
    if not isinstance(spec, dict):
        return "its OCI spec is not a JSON object"
    linux = spec.get("linux") or {}
    for name, part in (("linux", linux), ("hooks", spec.get("hooks") or {})):
        if not isinstance(part, dict):
            return f"{name} of its OCI spec is not an object"
    for name in ("namespaces", "gidMappings"):
        entries = linux.get(name) or []
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            return f"linux.{name} of its OCI spec is not a list of objects"
    ids = [entry.get("hostID") for entry in linux.get("gidMappings") or []]
    if not all(type(id) is int and 0 <= id <= _MAX_ID for id in ids):
        return f"a hostID in linux.gidMappings of its OCI spec is not a number from 0 to {_MAX_ID}"
    return ""


def remapped_group(spec: Mapping[str, Any]) -> int:
    """The host's gid for group 0 of a container with a user namespace, which must reach its bundle; 0 without one."""
    mappings = (spec.get("linux") or {}).get("gidMappings") or []
    return next((m["hostID"] for m in mappings if m.get("containerID") == 0), 0)


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in one step: there is never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
    temporary.rename(path)


def read_bootstrap(path: Path) -> Mapping[str, Any]:
    """The bundle's bootstrap.json; empty if it has none that can be read."""
    try:
        parsed = json.loads((path / "bootstrap.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def write_bootstrap(path: Path, content: Mapping[str, Any]) -> None:
    """Write bootstrap.json, and `address` for tools that look for that."""
    write_record(path, content)
    write_private(path / "address", str(content.get("address", "")).encode())


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write bootstrap.json alone: for a change that leaves the address as it was."""
    write_private(path / "bootstrap.json", json.dumps(content).encode())


def of_this_boot(record: Mapping[str, object]) -> bool:
    """Whether what a bundle tells of processes means anything: after a reboot nothing is dialled."""
    known = record.get("corten")
    return isinstance(known, dict) and known.get("boot_id") == boot_id()


def endpoint(record: Mapping[str, Any]) -> ShimEndpoint:
    """Where the shim of a bundle listens, by its bootstrap.json."""
    version = 3 if record.get("version") == 3 else 2
    return ShimEndpoint(str(record.get("address")), version, str(record.get("protocol") or "ttrpc"))


@cache
def boot_id() -> str:
    """Of this boot of the host: what another boot's bundle tells of processes means nothing (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
