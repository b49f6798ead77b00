"""Token servers: where a registry sends its clients for the tokens that it takes.

https://distribution.github.io/distribution/spec/auth/token/, …/oauth/
"""

import base64
import json
from collections.abc import Mapping
from ssl import SSLContext

import aiohttp
from yarl import URL

from corten.errors import Unauthenticated, Unavailable

from . import answers
from .credentials import Credentials
from .endpoints import Endpoint
from .proxies import proxy
from .troubles import trouble

MAX_TOKEN = 1 << 20
"""Bytes of a token server's answer."""
MAX_REDIRECTS = 5


def basic(user: Credentials) -> str:
    """User and password as the scheme Basic has them."""
    return base64.b64encode(f"{user.username}:{user.password}".encode()).decode()


class TokenServers:
    """Asked over `session`; what is sent to one is for the registry that named it, and goes to no third host."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def token(
        self,
        endpoint: Endpoint,
        scope: str,
        parameters: Mapping[str, str],
        user: Credentials | None,
        tls: SSLContext | bool,
    ) -> str:
        """A token for `scope` and for what the challenge's `parameters` ask besides.

        The headers of the registry's host directory go along, as in containerd: they may say who one is. Raises
        Unauthenticated when the server refuses or is none, Unavailable for one that cannot answer now.
        """
        realm = self._realm(endpoint, parameters.get("realm", ""), user)
        headers = _headers(endpoint, realm)
        scopes = sorted({*scope.split(), *parameters.get("scope", "").split()})
        service = parameters.get("service", "")
        try:
            if user and user.identity_token:
                response = await self._refresh(realm, service, scopes, user.identity_token, headers, tls)
            else:
                named = {"Authorization": f"Basic {basic(user)}"} if user else {}
                response = await self._get(_query(realm, service, scopes), {**headers, **named}, tls)
            try:
                _check(response, realm, user)
                data = await answers.read(response, MAX_TOKEN, f"token server {realm.host}: its answer")
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"token server {realm.host}: {trouble(error)}") from error
        return _token(data, endpoint, realm)

    def _realm(self, endpoint: Endpoint, text: str, user: Credentials | None) -> URL:
        base = endpoint.base
        try:
            realm = URL(text)
        except ValueError:
            realm = URL()
        if realm.scheme not in ("http", "https") or (user and base.scheme == "https" and realm.scheme == "http"):
            raise Unauthenticated(f"registry {base.host}: its token server {text[:200]!r} is not to be trusted")
        return realm

    async def _refresh(
        self,
        realm: URL,
        service: str,
        scopes: list[str],
        token: str,
        headers: Mapping[str, str],
        tls: SSLContext | bool,
    ) -> aiohttp.ClientResponse:
        form = {"scope": " ".join(scopes), "grant_type": "refresh_token", "refresh_token": token, "client_id": "corten"}
        if service:
            form["service"] = service
        return await self._session.post(
            realm, data=form, headers=headers, proxy=proxy(realm), allow_redirects=False, ssl=tls
        )

    async def _get(self, url: URL, headers: Mapping[str, str], tls: SSLContext | bool) -> aiohttp.ClientResponse:
        for _ in range(MAX_REDIRECTS):
            response = await self._session.get(url, headers=headers, proxy=proxy(url), allow_redirects=False, ssl=tls)
            if response.status not in answers.REDIRECTS:
                return response
            target = answers.redirected(url, response)
            response.release()
            headers = headers if _same(url, target) else {}
            url = target
        raise Unauthenticated(f"token server {url.host}: more than {MAX_REDIRECTS} redirects")


def _headers(endpoint: Endpoint, realm: URL) -> dict[str, str]:
    """Those of the host directory, unless they would go out in plain text."""
    if endpoint.base.scheme == "https" and realm.scheme == "http":
        return {}
    return endpoint.header


def _query(realm: URL, service: str, scopes: list[str]) -> URL:
    """Each scope apart, as the specification has it; what the address has already stays."""
    added = [("service", service)] if service else []
    return realm.extend_query([*added, *(("scope", scope) for scope in scopes)])


def _same(url: URL, target: URL) -> bool:
    """Whether a redirect stays with the host, which may turn to TLS."""
    to_tls = url.host == target.host and (url.scheme, target.scheme) == ("http", "https")
    return to_tls or url.origin() == target.origin()


def _check(response: aiohttp.ClientResponse, realm: URL, user: Credentials | None) -> None:
    if response.status >= 500 or response.status == 429:
        raise Unavailable(f"token server {realm.host}: it answers with status {response.status}")
    if response.status >= 300:
        who = f"user {user.username!r}" if user and user.username else "an unnamed user"
        raise Unauthenticated(
            f"token server {realm.host}: it refuses {who} with status {response.status} (log in, or check the "
            "image's name)"
        )


def _token(data: bytes, endpoint: Endpoint, realm: URL) -> str:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unauthenticated(f"token server {realm.host}: its answer is not JSON") from error
    found = answer if isinstance(answer, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise Unauthenticated(f"registry {endpoint.base.host}: its token server {realm.host} gave no token")
    return token
