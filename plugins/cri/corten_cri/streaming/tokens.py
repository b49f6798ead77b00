"""Tokens: each stands for a request for a short time, and is good once; who has the URL may use it."""

import asyncio
import secrets
from collections import OrderedDict
from typing import Generic, TypeVar

from corten.errors import ResourceExhausted

T = TypeVar("T")

LIFETIME = 60.0
"""Seconds."""
PENDING_MAX = 1000
"""Requests for which a client may still come."""


class Tokens(Generic[T]):
    """For one event loop."""

    def __init__(self, lifetime: float = LIFETIME) -> None:
        self._lifetime = lifetime
        self._pending: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Tokens({len(self._pending)} pending)"

    def issue(self, request: T) -> str:
        """A new token. Raises ResourceExhausted if too many wait for their clients."""
        now = asyncio.get_running_loop().time()
        self._forget_old(now)
        if len(self._pending) >= PENDING_MAX:
            raise ResourceExhausted(
                f"streaming: {PENDING_MAX} requests wait for their clients already (try again in a minute)"
            )
        token = secrets.token_urlsafe(24)
        self._pending[token] = (now + self._lifetime, request)
        return token

    def redeem(self, token: str) -> T | None:
        """The request; None if the token was used, is too old, or was never given."""
        self._forget_old(asyncio.get_running_loop().time())
        found = self._pending.pop(token, None)
        return found[1] if found else None

    def _forget_old(self, now: float) -> None:
        while self._pending:
            token, (expires, _) = next(iter(self._pending.items()))
            if expires > now:
                return
            del self._pending[token]
