"""hosts.toml: from which hosts a registry's images may be had, and how each is spoken to; parsing only.

The file and its keys are containerd's (https://github.com/containerd/containerd/blob/main/docs/hosts.md). Beyond
them, at the top `fallback = false` leaves the registry itself out, so that only the hosts named are asked; and for
each host a table `auth`:

    [host."https://mirror.example".auth]
    username = "ann"
    password = "…"            # or password_file, identity_token, or helper = "pass" (docker-credential-pass)
"""

import logging
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from yarl import URL

from corten.config.document import nearest
from corten.config.units import seconds
from corten.errors import InvalidArgument
from corten.values import dataclass

log = logging.getLogger(__name__)
PULL, RESOLVE, PUSH, REFERRERS = "pull", "resolve", "push", "referrers"
CAPABILITIES = frozenset({PULL, RESOLVE, PUSH, REFERRERS})
_KEYS = frozenset({
    *("capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout", "auth"),
})  # fmt: skip
_TOP = frozenset({"server", "host", "fallback"})
_AUTH = frozenset({"username", "password", "password_file", "identity_token", "helper"})


@dataclass(frozen=True, slots=True)
class Trust:
    """How TLS with a host is set up: files of authorities and client certificates (the key empty: in the same file).

    `skip_verify` None means what is usual.
    """

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """Who one is at a host; `helper` and `password_file` are read when they are needed."""

    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    identity_token: str = field(default="", repr=False)
    helper: str = ""


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A host of the file; `url` None is the registry itself. `dial_timeout` is in seconds."""

    url: URL | None = None
    capabilities: frozenset[str] = CAPABILITIES
    trust: Trust = Trust()
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dial_timeout: float | None = None
    auth: Auth | None = None


def parse(data: bytes, folder: str, what: str) -> tuple[HostEntry, ...]:
    """The hosts in the order in which they are asked, the server last.

    File names in it are relative to `folder`; `what` names the file in messages. Raises InvalidArgument.
    """
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{what}: it is not TOML: {error}") from error
    hosts = _typed(document, "host", dict, what) or {}
    entries = [_Section(table, folder, f"{what}: host {url!r}").entry(url) for url, table in hosts.items()]
    if _typed(document, "fallback", bool, what) is not False:
        server = _typed(document, "server", str, what) or ""
        entries.append(_Section(document, folder, what, top=True).entry(server))
    return tuple(entries)


def endpoint_url(server: str, override_path: bool, what: str) -> URL:
    """The root of the API at `server`: `/v2` is put behind its path unless that is there or `override_path` is set."""
    try:
        url = URL(server if "://" in server else f"https://{server}")
    except ValueError as error:
        raise InvalidArgument(f"{what}: {server[:200]!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidArgument(f"{what}: {server[:200]!r} is not an http or https URL")
    path = os.path.normpath(url.path).lstrip("/") if url.path != "/" else ""
    if not override_path and not f"/{path}".endswith("/v2"):
        path = f"{path}/v2".lstrip("/")
    return url.origin().with_path(f"/{path}/" if path else "/")


class _Section:
    """The keys of one host."""

    def __init__(self, table: object, folder: str, what: str, *, top: bool = False) -> None:
        if not isinstance(table, dict):
            raise InvalidArgument(f"{what}: it is not a table")
        self._table: dict[str, Any] = table
        self._folder = folder
        self._what = what
        self._top = top

    def entry(self, server: str) -> HostEntry:
        self._tell_unknown()
        override = self._get("override_path", bool) or False
        return HostEntry(
            url=endpoint_url(server, override, self._what) if server else None,
            capabilities=self._capabilities(),
            trust=Trust(self._files("ca"), self._pairs(), self._get("skip_verify", bool)),
            headers=self._headers(),
            dial_timeout=self._timeout(),
            auth=self._auth(),
        )

    def _tell_unknown(self) -> None:
        """containerd takes no offence at such keys: they may be of a later version; but most are typing errors."""
        known = _KEYS | (_TOP if self._top else frozenset())
        for key in sorted(set(self._table) - known):
            log.warning("%s: there is no key %r%s", self._what, key, nearest(key, known))

    def _get(self, key: str, kind: type) -> Any:
        return _typed(self._table, key, kind, self._what)

    def _capabilities(self) -> frozenset[str]:
        given = frozenset(str(name).lower() for name in self._get("capabilities", list) or ())
        if unknown := given - CAPABILITIES:
            raise InvalidArgument(f"{self._what}: unknown capability {min(unknown)!r} (there are pull, resolve, push)")
        return given or CAPABILITIES

    def _files(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, [])
        return self._paths([value] if isinstance(value, str) else value, key)

    def _pairs(self) -> tuple[tuple[str, str], ...]:
        """One file with certificate and key, several of them, or pairs of certificate and key."""
        value = self._table.get("client", [])
        pairs = []
        for item in [value] if isinstance(value, str) else self._get("client", list) or []:
            paths = self._paths([item] if isinstance(item, str) else item, "client")
            if not isinstance(item, str) and len(paths) != 2:
                raise InvalidArgument(f"{self._what}: a pair in client must be a certificate and a key")
            pairs.append((paths[0], paths[1] if len(paths) > 1 else ""))
        return tuple(pairs)

    def _paths(self, values: object, key: str) -> tuple[str, ...]:
        return tuple(os.path.join(self._folder, path) for path in self._texts(values, key))

    def _texts(self, values: object, key: str) -> Sequence[str]:
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidArgument(f"{self._what}: {key} must be a text or a list of texts")
        return values

    def _headers(self) -> dict[str, tuple[str, ...]]:
        given = self._get("header", dict) or {}
        return {
            name: tuple(self._texts([value] if isinstance(value, str) else value, f"header {name}"))
            for name, value in given.items()
        }

    def _timeout(self) -> float | None:
        text = self._get("dial_timeout", str)
        try:
            return seconds(text) if text else None
        except ValueError as error:
            raise InvalidArgument(f"{self._what}: dial_timeout: {error}") from error

    def _auth(self) -> Auth | None:
        table = self._get("auth", dict)
        if table is None:
            return None
        if unknown := set(table) - _AUTH:
            raise InvalidArgument(
                f"{self._what}: auth has no key {min(unknown)!r} (there are {', '.join(sorted(_AUTH))})"
            )
        values = {key: _typed(table, key, str, f"{self._what}: auth") for key in table}
        if file := values.get("password_file"):
            values["password_file"] = os.path.join(self._folder, file)
        return Auth(**values)


def _typed(table: Mapping[str, Any], key: str, kind: type, what: str) -> Any:
    value = table.get(key)
    if value is not None and not isinstance(value, kind):
        raise InvalidArgument(f"{what}: {key} must be a {_KINDS[kind]}")
    return value


_KINDS = {str: "text", bool: "boolean", list: "list", dict: "table"}
