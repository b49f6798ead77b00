"""Answers to a registry's challenges: Basic, and tokens of the registry's own token server, kept per repository.

Credentials are those of the registry's host and go to it and to the token server it names, nowhere else; a registry
on https cannot send them to a server on plain http.
https://distribution.github.io/distribution/spec/auth/token/
"""

import base64
import json
from collections.abc import Mapping

import aiohttp
from yarl import URL

from corten.errors import Unauthenticated, Unavailable

from . import challenge as challenges
from .credentials import Credentials, Lookup
from .hosts import proxy

_MAX_TOKEN = 1 << 20


class Authority:
    """Authorization headers by registry and scope; used on one event loop."""

    def __init__(self, session: aiohttp.ClientSession, credentials: Lookup) -> None:
        self._session = session
        self._credentials = credentials
        self._headers: dict[tuple[str, str], str] = {}

    def header(self, host: str, scope: str) -> Mapping[str, str]:
        """What to send with a request, as far as it is known."""
        known = self._headers.get((host, scope))
        return {"Authorization": known} if known else {}

    async def answer(self, host: str, scope: str, base: URL, header: str) -> bool:
        """Take up the challenge `header`; whether it is worth trying the request again.

        Raises Unauthenticated when the token server refuses.
        """
        user = self._credentials(host)
        for challenge in challenges.parse(header):
            if challenge.scheme == "bearer":
                token = await self._token(base, scope, challenge.parameters, user)
                return self._keep(host, scope, f"Bearer {token}")
            if challenge.scheme == "basic" and user and user.username:
                return self._keep(host, scope, f"Basic {_basic(user)}")
        return False

    def _keep(self, host: str, scope: str, value: str) -> bool:
        """Whether it differs from what was refused."""
        changed = self._headers.get((host, scope)) != value
        self._headers[host, scope] = value
        return changed

    async def _token(self, base: URL, scope: str, parameters: Mapping[str, str], user: Credentials | None) -> str:
        realm = URL(parameters.get("realm", ""))
        if realm.scheme not in ("http", "https") or (user and base.scheme == "https" and realm.scheme == "http"):
            raise Unauthenticated(f"registry {base.host}: its token server {str(realm)[:200]!r} is not to be trusted")
        query = {"scope": parameters.get("scope") or scope}
        if service := parameters.get("service"):
            query["service"] = service
        answer = await self._ask(realm, query, user)
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise Unauthenticated(f"registry {base.host}: its token server {realm.host} gave no token")
        return token

    async def _ask(self, realm: URL, query: Mapping[str, str], user: Credentials | None) -> Mapping[str, object]:
        try:
            if user and user.identity_token:
                form = {**query, "grant_type": "refresh_token", "refresh_token": user.identity_token}
                request = self._session.post(
                    realm, data={**form, "client_id": "corten"}, proxy=proxy(realm), allow_redirects=False
                )
            else:
                headers = {"Authorization": f"Basic {_basic(user)}"} if user else {}
                request = self._session.get(
                    realm.update_query(query), headers=headers, proxy=proxy(realm), allow_redirects=False
                )
            async with request as response:
                if response.status >= 500 or response.status == 429:
                    raise Unavailable(f"token server {realm.host}: it answers with status {response.status}")
                if response.status != 200:
                    who = f"user {user.username!r}" if user and user.username else "an unnamed user"
                    raise Unauthenticated(
                        f"token server {realm.host}: it refuses {who} with status {response.status} (log in, or check "
                        "the image's name)"
                    )
                data = await response.content.read(_MAX_TOKEN)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"token server {realm.host}: {_text(error)}") from error
        return _object(data, realm)


def _basic(user: Credentials) -> str:
    return base64.b64encode(f"{user.username}:{user.password}".encode()).decode()


def _object(data: bytes, realm: URL) -> Mapping[str, object]:
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise Unauthenticated(f"token server {realm.host}: its answer is not JSON") from error
    return answer if isinstance(answer, dict) else {}


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
