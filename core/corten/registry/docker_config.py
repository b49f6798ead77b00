"""Docker's config file: credentials are read from it, and written in its form for programs that read such files.

https://docs.docker.com/reference/cli/docker/login/#credential-stores
"""

import base64
import binascii
import json
import os
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from corten import references
from corten.contracts.transfer import Login
from corten.errors import InvalidArgument, mapped

from .credentials import Credentials, Lookup, anonymous
from .helper_programs import ask

_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_MAX_FILE = 4 << 20


def docker_credentials(path: Path | None = None) -> Lookup:
    """Those of `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`; a missing file gives none.

    The helper programs that it names (`credHelpers`, `credsStore`) are asked first, as docker does. Raises
    InvalidArgument for a malformed file.
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
    return _Config(data, str(file)).of_host


class _Config:
    """A docker config file."""

    def __init__(self, data: bytes, file: str) -> None:
        self._file = file
        try:
            document = json.loads(data or b"{}")
            self._auths, self._helpers = document.get("auths") or {}, document.get("credHelpers") or {}
            self._store = document.get("credsStore") or ""
        except (ValueError, AttributeError, RecursionError) as error:
            raise InvalidArgument(f"{file}: it is not a docker config: {error}") from error
        if not isinstance(self._auths, dict) or not isinstance(self._helpers, dict):
            raise InvalidArgument(f"{file}: auths or credHelpers is not an object")

    def of_host(self, host: str) -> Credentials | Awaitable[Credentials | None] | None:
        """From the host's own helper, else from the store, else from the file."""
        names = [str(self._helpers[key]) for key in _keys(host) if key in self._helpers] or [str(self._store)]
        return self._asked(names[0], host) if names[0] else _of_host(self._auths, host, self._file)

    async def _asked(self, helper: str, host: str) -> Credentials | None:
        found = await ask(helper, _HUB_KEYS[0] if host in _HUB else host)
        return found or _of_host(self._auths, host, self._file)


def _keys(host: str) -> tuple[str, ...]:
    return _HUB_KEYS if host in _HUB else (host, f"https://{host}", f"http://{host}", f"https://{host}/v1/")


def _of_host(auths: Mapping[str, object], host: str, file: str) -> Credentials | None:
    entry = next((auths[key] for key in _keys(host) if key in auths), None)
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


def document_for(image: str, login: Login) -> dict[str, Any]:
    """The content of a file with the credentials for the registry of `image`."""
    host = references.parse(image).host
    return {"auths": {_HUB_KEYS[0] if host == references.DEFAULT_HOST else host: _entry(login)}}


def _entry(login: Login) -> dict[str, str]:
    kind, _, value = login.header.partition(" ")
    if login.header:
        return {"registrytoken": value} if kind.lower() == "bearer" else {"auth": value}
    if not login.username:
        return {"identitytoken": login.secret}
    return {"auth": base64.b64encode(f"{login.username}:{login.secret}".encode()).decode()}
