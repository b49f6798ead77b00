"""Leases over the wire: what keeps resources from garbage collection while they are being put together."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from corten.api.services.leases.v1 import leases_pb2 as pb
from corten.contracts.objects import Lease, Resource
from corten.errors import CortenError
from corten.gc_expiry import EXPIRE, expiry_time
from corten.messages.leases import lease

from .calls import Calls, methods

_RPC = methods(pb, "Leases")
DEFAULT_EXPIRY = 24 * 3600.0
"""Seconds after which a lease that its holder never gave back ends by itself."""


class Leases:
    """The leases of a namespace; errors as `corten.contracts.leases.LeaseStore`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        """An empty id is made up."""
        request = pb.CreateRequest(id=id or _made_up(), labels=dict(labels or {}))
        return lease((await self._calls.unary(_RPC["Create"], request)).lease)

    async def delete(self, id: str, *, sync: bool = False) -> None:
        """`sync`: return after a garbage collection that began later than the deletion."""
        await self._calls.unary(_RPC["Delete"], pb.DeleteRequest(id=id, sync=sync))

    async def list(self, filters: Sequence[str] = ()) -> list[Lease]:
        answer = await self._calls.unary(_RPC["List"], pb.ListRequest(filters=filters))
        return [lease(message) for message in answer.leases]

    async def add(self, id: str, resource: Resource) -> None:
        request = pb.AddResourceRequest(id=id, resource=pb.Resource(id=resource.id, type=resource.type))
        await self._calls.unary(_RPC["AddResource"], request)

    async def remove(self, id: str, resource: Resource) -> None:
        request = pb.DeleteResourceRequest(id=id, resource=pb.Resource(id=resource.id, type=resource.type))
        await self._calls.unary(_RPC["DeleteResource"], request)

    async def resources(self, id: str) -> Sequence[Resource]:
        answer = await self._calls.unary(_RPC["ListResources"], pb.ListResourcesRequest(id=id))
        return [Resource(message.id, message.type) for message in answer.resources]

    @asynccontextmanager
    async def held(self, expiry: float = DEFAULT_EXPIRY, labels: Mapping[str, str] | None = None) -> AsyncIterator[str]:
        """A lease for as long as the block runs; yields its id. It expires by itself after `expiry` seconds."""
        id = _made_up()
        try:  # from here on, as the daemon makes it also for a caller that is cancelled meanwhile
            await self.create(id, {EXPIRE: expiry_time(expiry), **(labels or {})})
            yield id
        finally:
            with suppress(CortenError):
                await asyncio.shield(self.delete(id))


def _made_up() -> str:
    return f"corten-{secrets.token_hex(8)}"
