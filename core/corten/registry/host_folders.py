"""Host directories: which folder says how a registry is reached, and what it says.

In each root `HOST_PORT_`, `HOST:PORT` and `_default` are looked for in that order, and the first that exists counts.
It has a hosts.toml, or else certificates as docker lays them out: `*.crt` authorities, `*.cert` client certificates
with a `.key` beside each (https://docs.docker.com/engine/security/certificates/).
"""

from collections.abc import Sequence
from pathlib import Path

from corten.errors import InvalidArgument, ResourceExhausted, mapped

from . import hosts_toml
from .hosts_toml import HostEntry, Trust

_MAX_FILE = 1 << 20


def names(host: str) -> tuple[str, ...]:
    """The names a folder for `host[:port]` may have, the best first."""
    name, colon, port = host.rpartition(":")
    own = (f"{name}_{port}_", host) if colon and name else (host,)
    return (*own, "_default")


def entries(roots: Sequence[str | Path], host: str) -> tuple[HostEntry, ...] | None:
    """What the host directories say of `host`; None if none is for it. Reads files: call it off the event loop.

    Raises InvalidArgument for a malformed file: going on without it would ask hosts that it may rule out.
    """
    if "/" in host or host in (".", ".."):
        raise InvalidArgument(f"registry {host[:200]!r}: it is not the name of a host")
    folder = next((folder for root in roots for name in names(host) if (folder := Path(root) / name).exists()), None)
    return None if folder is None else _load(folder)


def _load(folder: Path) -> tuple[HostEntry, ...]:
    file = folder / "hosts.toml"
    with mapped(f"{file}: cannot read"):
        data = b""
        if file.exists():
            with file.open("rb") as opened:
                data = opened.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ResourceExhausted(f"{file}: it is larger than {_MAX_FILE} bytes")
    return hosts_toml.parse(data, str(folder), str(file)) if data else (HostEntry(trust=_certificates(folder)),)


def _certificates(folder: Path) -> Trust:
    with mapped(f"{folder}: cannot read"):
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        clients = [path for path in files if path.suffix == ".cert"]
        keys = [path.with_suffix(".key") for path in clients]
        pairs = tuple((str(cert), str(key) if key.exists() else "") for cert, key in zip(clients, keys, strict=True))
    return Trust(tuple(str(path) for path in files if path.suffix == ".crt"), pairs)
