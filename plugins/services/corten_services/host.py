"""What introspection says of this daemon and its host."""

import logging
import os
import platform
import uuid
from pathlib import Path

from corten.errors import mapped

log = logging.getLogger(__name__)

_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "ARM64": "arm64", "i686": "386"}


def host_platform() -> str:
    """The host's own `os/architecture`, in the words of the OCI specifications."""
    machine = platform.machine()
    return f"{platform.system().lower()}/{_ARCHITECTURES.get(machine, machine)}"


def server_id(path: Path) -> str:
    """The UUID in the file at `path`; made and kept there when there is none, or none that is whole."""
    with mapped(f"read the server's id from {path}"):
        if path.exists():
            try:
                return str(uuid.UUID(path.read_text().strip()))
            except ValueError:
                log.warning("%s: it holds no UUID; the server gets a new one", path)
        return _new_id(path)


def pid_namespace() -> int:
    """The inode of the daemon's pid namespace (namespaces(7)); 0 where there is no such thing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _new_id(path: Path) -> str:
    made = str(uuid.uuid4())
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return made
