"""Answers to a registry's challenges: Basic, and tokens of the registry's own token server, kept per repository.

Credentials are those of one host and go to it and to the token server it names, nowhere else; a registry on https
cannot send them to a server on plain http.
https://distribution.github.io/distribution/spec/auth/token/
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from ssl import SSLContext

import aiohttp
from yarl import URL

from corten.errors import mapped

from . import challenge as challenges
from .credentials import Credentials, Lookup, looked_up
from .endpoints import Endpoint
from .hosts_toml import Auth
from .tokens import TokenServers, basic

Ask = Callable[[str, str, Sequence[str]], Awaitable[Credentials | None]]
"""`await ask(host, reference, challenges)`: credentials from whoever wants the image, asked when they are demanded."""


class Authority:
    """Authorization headers by host and scope; used on one event loop."""

    def __init__(self, session: aiohttp.ClientSession, credentials: Lookup, ask: Ask | None = None) -> None:
        self._tokens = TokenServers(session)
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

        Returns whether it is worth trying the request again: not with what was refused just now. Tokens are preferred,
        as by containerd: a registry that offers both may take passwords for something else.

        Raises Unauthenticated when the token server refuses.
        """
        user = await self.user(endpoint, reference, headers)
        if user and user.header:
            return self._keep(endpoint, scope, user.header, sent)
        found = challenges.parse(", ".join(headers))
        for challenge in sorted(found, key=lambda each: each.scheme != "bearer"):
            if challenge.scheme == "bearer":
                token = await self._tokens.token(endpoint, scope, challenge.parameters, user, tls)
                return self._keep(endpoint, scope, f"Bearer {token}", sent)
            if challenge.scheme == "basic" and user and user.username:
                return self._keep(endpoint, scope, f"Basic {basic(user)}", sent)
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
