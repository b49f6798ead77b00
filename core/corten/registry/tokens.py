"""Token servers: where a registry sends its clients for the tokens that it takes.

https://distribution.github.io/distribution/spec/auth/token/, …/oauth/
"""

import base64
import json
from collections.abc import Mapping, Sequence
from ssl import SSLContext

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from corten.errors import Unauthenticated, Unavailable
from corten.values import dataclass

from . import answers
from .credentials import Credentials
from .endpoints import Endpoint
from .proxies import proxy
from .troubles import trouble

MAX_TOKEN = 1 << 20
"""Bytes of a token server's answer."""
MAX_REDIRECTS = 5
_NO_GET = frozenset({400, 404, 405})


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
        scopes = sorted({*scope.split(), *parameters.get("scope", "").split()})
        wanted = _Wanted(realm, parameters.get("service", ""), scopes, _headers(endpoint, realm), tls)
        try:
            response = await self._answer(wanted, user)
            try:
                _check(response, realm, user)
                data = await answers.read(response, MAX_TOKEN, f"token server {realm.host}: its answer")
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"token server {realm.host}: {trouble(error)}") from error
        return _token(data, endpoint, realm)

    async def _answer(self, wanted: "_Wanted", user: Credentials | None) -> aiohttp.ClientResponse:
        """Identity tokens are for POST only; for passwords the few servers that do not know GET are asked by POST."""
        if user and user.identity_token:
            return await self._post(wanted, {"grant_type": "refresh_token", "refresh_token": user.identity_token})
        response = await self._get(wanted, user)
        if user and response.status in _NO_GET:
            response.release()
            login = {"username": user.username, "password": user.password}
            return await self._post(wanted, {"grant_type": "password", **login})
        return response

    def _realm(self, endpoint: Endpoint, text: str, user: Credentials | None) -> URL:
        base = endpoint.base
        try:
            realm = URL(text)
        except ValueError:
            realm = URL()
        if realm.scheme not in ("http", "https") or (user and base.scheme == "https" and realm.scheme == "http"):
            raise Unauthenticated(f"registry {base.host}: its token server {text[:200]!r} is not to be trusted")
        return realm

    async def _post(self, wanted: "_Wanted", grant: Mapping[str, str]) -> aiohttp.ClientResponse:
        form = {**grant, "scope": " ".join(wanted.scopes), "client_id": "corten"}
        if wanted.service:
            form["service"] = wanted.service
        return await self._session.post(
            wanted.realm,
            data=form,
            headers=wanted.headers,
            proxy=proxy(wanted.realm),
            allow_redirects=False,
            ssl=wanted.tls,
        )

    async def _get(self, wanted: "_Wanted", user: Credentials | None) -> aiohttp.ClientResponse:
        url, headers = _query(wanted), CIMultiDict(wanted.headers)
        if user:
            headers["Authorization"] = f"Basic {basic(user)}"
        for _ in range(MAX_REDIRECTS):
            response = await self._session.get(
                url, headers=headers, proxy=proxy(url), allow_redirects=False, ssl=wanted.tls
            )
            if response.status not in answers.REDIRECTS:
                return response
            target = answers.redirected(url, response)
            response.release()
            headers = headers if _same(url, target) else CIMultiDict()
            url = target
        raise Unauthenticated(f"token server {url.host}: more than {MAX_REDIRECTS} redirects")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked of a token server."""

    realm: URL
    service: str
    scopes: Sequence[str]
    headers: CIMultiDict[str]
    tls: SSLContext | bool


def _headers(endpoint: Endpoint, realm: URL) -> CIMultiDict[str]:
    """Those of the host directory, unless they would go out in plain text."""
    if endpoint.base.scheme == "https" and realm.scheme == "http":
        return CIMultiDict()
    return endpoint.header


def _query(wanted: _Wanted) -> URL:
    """Each scope apart, as the specification has it; what the address has already stays."""
    added = [("service", wanted.service)] if wanted.service else []
    return wanted.realm.extend_query([*added, *(("scope", scope) for scope in wanted.scopes)])


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
    token = found.get("access_token") or found.get("token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise Unauthenticated(f"registry {endpoint.base.host}: its token server {realm.host} gave no token")
    return token
