"""A docker config file with the credentials for one registry, for programs that read such files."""

import base64
from typing import Any

from corten import references
from corten.contracts.transfer import Login

_HUB = "https://index.docker.io/v1/"


def document_for(image: str, login: Login) -> dict[str, Any]:
    """The file's content, for the registry of `image`."""
    host = references.parse(image).host
    return {"auths": {_HUB if host == references.DEFAULT_HOST else host: _entry(login)}}


def _entry(login: Login) -> dict[str, str]:
    kind, _, value = login.header.partition(" ")
    if login.header:
        return {"registrytoken": value} if kind.lower() == "bearer" else {"auth": value}
    if not login.username:
        return {"identitytoken": login.secret}
    return {"auth": base64.b64encode(f"{login.username}:{login.secret}".encode()).decode()}
