"""Answers to a registry's challenges: Basic, and tokens of the registry's own token server, kept per repository.

Credentials are those of one host and go to it and to the token server it names, nowhere else; a registry on https
cannot send them to a server on plain http.
https://distribution.github.io/distribution/spec/auth/token/
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from ssl import SSLContext

import aiohttp
from yarl import URL

from corten.errors import Unauthenticated, Unavailable, mapped

from . import challenge as challenges
from .credentials import Credentials, Lookup, looked_up
from .endpoints import Endpoint
from .hosts import proxy
from .hosts_toml import Auth

_MAX_TOKEN = 1 << 20

Ask = Callable[[str, str, Sequence[str]], Awaitable[Credentials | None]]
"""`await ask(host, reference, challenges)`: credentials from whoever wants the image, asked when they are demanded."""


class Authority:
    """Authorization headers by host and scope; used on one event loop."""

    def __init__(self, session: aiohttp.ClientSession, credentials: Lookup, ask: Ask | None = None) -> None:
        self._session = session
        self._credentials = credentials
        self._ask_for = ask
        self._headers: dict[tuple[URL, str], str] = {}
        self._users: dict[URL, Credentials | None] = {}
        self._asking = asyncio.Lock()

    def header(self, endpoint: Endpoint, scope: str) -> Mapping[str, str]:
        """What to send with a request, as far as it is known."""
        known = self._headers.get((endpoint.base, scope))
        return {"Authorization": known} if known else {}

    async def answer(
        self, endpoint: Endpoint, reference: str, scope: str, headers: Sequence[str], sent: str, tls: SSLContext | bool
    ) -> bool:
        """Take up the challenges `headers` to a request that was `sent` with that authorization, empty for none.

        Returns whether it is worth trying the request again: not with what was refused just now.

        Raises Unauthenticated when the token server refuses.
        """
        user = await self.user(endpoint, reference, headers)
        if user and user.header:
            return self._keep(endpoint, scope, user.header, sent)
        for challenge in challenges.parse(", ".join(headers)):
            if challenge.scheme == "bearer":
                token = await self._token(endpoint.base, scope, challenge.parameters, user, tls)
                return self._keep(endpoint, scope, f"Bearer {token}", sent)
            if challenge.scheme == "basic" and user and user.username:
                return self._keep(endpoint, scope, f"Basic {_basic(user)}", sent)
        return False

    async def user(self, endpoint: Endpoint, reference: str, headers: Sequence[str]) -> Credentials | None:
        """Of the host directory, else of whoever asked for the image, else of the client's own look-up."""
        async with self._asking:  # several layers are refused at once: one question is enough
            if endpoint.base not in self._users:
                self._users[endpoint.base] = await self._found(endpoint, reference, headers)
            return self._users[endpoint.base]

    async def _found(self, endpoint: Endpoint, reference: str, headers: Sequence[str]) -> Credentials | None:
        if endpoint.auth is not None:
            return await _configured(endpoint.auth, endpoint.name)
        if self._ask_for is not None:
            return await self._ask_for(endpoint.base.authority, reference, headers)
        return await looked_up(self._credentials, endpoint.name)

    def _keep(self, endpoint: Endpoint, scope: str, value: str, sent: str) -> bool:
        self._headers[endpoint.base, scope] = value
        return value != sent

    async def _token(
        self, base: URL, scope: str, parameters: Mapping[str, str], user: Credentials | None, tls: SSLContext | bool
    ) -> str:
        realm = URL(parameters.get("realm", ""))
        if realm.scheme not in ("http", "https") or (user and base.scheme == "https" and realm.scheme == "http"):
            raise Unauthenticated(f"registry {base.host}: its token server {str(realm)[:200]!r} is not to be trusted")
        query = {"scope": parameters.get("scope") or scope}
        if service := parameters.get("service"):
            query["service"] = service
        answer = await self._ask(realm, query, user, tls)
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise Unauthenticated(f"registry {base.host}: its token server {realm.host} gave no token")
        return token

    async def _ask(
        self, realm: URL, query: Mapping[str, str], user: Credentials | None, tls: SSLContext | bool
    ) -> Mapping[str, object]:
        try:
            if user and user.identity_token:
                form = {**query, "grant_type": "refresh_token", "refresh_token": user.identity_token}
                request = self._session.post(
                    realm, data={**form, "client_id": "corten"}, proxy=proxy(realm), allow_redirects=False, ssl=tls
                )
            else:
                headers = {"Authorization": f"Basic {_basic(user)}"} if user else {}
                request = self._session.get(
                    realm.update_query(query), headers=headers, proxy=proxy(realm), allow_redirects=False, ssl=tls
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


async def _configured(auth: Auth, host: str) -> Credentials | None:
    """Who a host directory says one is."""
    if auth.helper:
        from .helper_programs import ask

        return await ask(auth.helper, host)
    password = auth.password
    if auth.password_file:
        with mapped(f"password of {host} in {auth.password_file}: cannot read"):
            password = (await asyncio.to_thread(Path(auth.password_file).read_text)).rstrip("\n")
    return Credentials(auth.username, password, auth.identity_token)
