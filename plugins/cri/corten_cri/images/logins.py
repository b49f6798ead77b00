"""Credentials for a pull: those of the request, for the host that they are for, else those of the configuration."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.transfer import AskLogin, Login
from corten.errors import InvalidArgument

from ..config.images import Registry, RegistryAuth

_DOCKER = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def asking(auth: pb.AuthConfig | None, registry: Registry) -> AskLogin:
    """Who is asked for credentials during a pull; `auth` None is a request without any."""
    configured = _configured(registry)

    async def ask(host: str, reference: str, challenges: Sequence[str]) -> Login | None:
        if auth is not None:
            return login(auth, host)
        of = configured.get(host)
        if of is None:
            return None
        return login(
            pb.AuthConfig(username=of.username, password=of.password, auth=of.auth, identity_token=of.identitytoken),
            host,
        )

    return ask


def _configured(registry: Registry) -> Mapping[str, RegistryAuth]:
    """By host; the oldest form wins over the older one."""
    own = {host: settings.auth for host, settings in registry.configs.items() if settings.auth}
    return {**own, **{_host_of(address): auth for address, auth in registry.auths.items()}}


def login(auth: pb.AuthConfig, host: str) -> Login | None:
    """What to show to a host; None for nothing, or if the credentials are for another. Raises InvalidArgument."""
    if auth.server_address and not _same(_host_of(auth.server_address), host):
        return None
    if auth.username:
        return Login(auth.username, auth.password)
    if auth.identity_token:
        return Login(secret=auth.identity_token)
    if auth.auth:
        return Login(*decoded(auth.auth))
    if auth.registry_token:
        return Login(header=f"Bearer {auth.registry_token}")
    return None


def decoded(text: str) -> tuple[str, str]:
    """User and password out of base64. Raises InvalidArgument, which does not show them."""
    try:
        plain = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidArgument("pull: `auth` of the credentials is not base64 of a text") from error
    user, colon, password = plain.partition(":")
    if not colon:
        raise InvalidArgument("pull: `auth` of the credentials has no colon between user and password")
    return user, password.strip("\0")


def _host_of(address: str) -> str:
    try:
        return urlsplit(address if "://" in address else f"//{address}").netloc.rpartition("@")[2]
    except ValueError as error:
        raise InvalidArgument(f"pull: the server address {address[:200]!r} of the credentials: {error}") from error


def _same(named: str, host: str) -> bool:
    return named == host or (named in _DOCKER and host in _DOCKER)
