"""A lease for as long as a transfer runs, so that nothing it has put together so far is collected."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from corten.contracts.objects import Lease
from corten.contracts.scope import Scope
from corten.errors import CortenError
from corten.gc_expiry import EXPIRE, expiry_time

from .parts import Parts

EXPIRY = 24 * 3600.0
"""Seconds after which a lease ends by itself if the daemon did not live to end it."""


@asynccontextmanager
async def leased(parts: Parts, scope: Scope) -> AsyncIterator[Scope]:
    """The scope with a lease: the client's own if it has one."""
    if scope.lease:
        yield scope
        return
    space, labels = scope.namespace, {EXPIRE: expiry_time(EXPIRY)}
    making = asyncio.ensure_future(parts.pools.run("metadata", parts.leases.create, space, "", labels))
    try:
        lease = await asyncio.shield(making)
        yield replace(scope, lease=lease.id)
    finally:
        await asyncio.shield(_end(parts, space, making))


async def _end(parts: Parts, namespace: str, making: "asyncio.Future[Lease]") -> None:
    with suppress(CortenError):
        await parts.pools.run("metadata", parts.leases.delete, namespace, (await making).id)
