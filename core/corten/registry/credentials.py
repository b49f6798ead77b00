"""Who one is at which registry, as docker's config file says."""

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corten.errors import InvalidArgument, mapped

_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_MAX_FILE = 4 << 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or an identity token that token servers accept in their stead."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


Lookup = Callable[[str], Credentials | None]
"""The credentials for a registry host (`docker.io`, `localhost:5000`), or None to go unnamed."""


def anonymous(host: str) -> None:
    """Nobody, everywhere."""


def docker_credentials(path: Path | None = None) -> Lookup:
    """Those of `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`; a missing file gives none.

    Helper programs (`credsStore`) are not asked. Raises InvalidArgument for a malformed file.
    """
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    file = path or folder / "config.json"
    try:
        with mapped(f"{file}: cannot read"), open(file, "rb") as opened:
            data = opened.read(_MAX_FILE)
    except Exception as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return anonymous
        raise
    auths = _auths(data, str(file))
    return lambda host: _of_host(auths, host, str(file))


def _auths(data: bytes, file: str) -> Mapping[str, object]:
    try:
        auths = json.loads(data or b"{}").get("auths") or {}
    except (ValueError, AttributeError) as error:
        raise InvalidArgument(f"{file}: it is not a docker config: {error}") from error
    if not isinstance(auths, dict):
        raise InvalidArgument(f"{file}: auths is not an object")
    return auths


def _of_host(auths: Mapping[str, object], host: str, file: str) -> Credentials | None:
    keys = _HUB_KEYS if host in _HUB else (host, f"https://{host}", f"http://{host}", f"https://{host}/v1/")
    entry = next((auths[key] for key in keys if key in auths), None)
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return Credentials(identity_token=str(token))
    if not entry.get("auth"):
        username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
        return Credentials(username, password) if username else None
    try:
        username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{file}: the auth entry of {host} is malformed (log in again)") from error
    return Credentials(username, password.strip("\0"))
