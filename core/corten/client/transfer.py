"""Transfers by the daemon: images between registries, its store and archives, with progress and credentials."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from corten.api.corten.images.v1 import images_pb2 as images_pb
from corten.api.services.introspection.v1 import introspection_pb2
from corten.api.services.transfer.v1 import transfer_pb2 as pb
from corten.api.types.transfer.progress_pb2 import Progress as ProgressMessage
from corten.api.types.transfer.registry_pb2 import AuthRequest, AuthResponse, AuthType
from corten.contracts.transfer import TransferState, TransferTotals
from corten.errors import CortenError, Unimplemented
from corten.messages.transfer import state, totals
from corten.plugin.types import TRANSFER
from corten.registry.credentials import Credentials, Lookup, looked_up

from .calls import Calls, methods
from .streams import ClientStream, stream

_RPC = methods(pb, "Transfer")
_TELLS = methods(images_pb, "Transfers")
_PLUGINS = methods(introspection_pb2, "Introspection")
Watch = Callable[[ProgressMessage], None]


class Transfers:
    """The transfer service of one namespace."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def offered(self) -> bool:
        """Whether the daemon has transfers; containerd before 1.7 has not."""
        wanted = introspection_pb2.PluginsRequest(filters=[f'type=="{TRANSFER}"'])
        reply = await self._calls.unary(_PLUGINS["Plugins"], wanted)
        return any(not plugin.HasField("init_err") for plugin in reply.plugins)

    async def run(self, source: Message, destination: Message, watch: Watch | None = None) -> None:
        """Move an image; `watch` sees every event.

        Raises what the transfer raises; Unimplemented for a pair, or by a daemon, that knows of no such transfer.
        """
        async with self._watched(watch) as progress:
            options = pb.TransferOptions(progress_stream=progress)
            request = pb.TransferRequest(source=_any(source), destination=_any(destination), options=options)
            await self._calls.unary(_RPC["Transfer"], request)

    async def under_way(self, namespace: str = "") -> list[TransferState]:
        """The transfers that go on, of a namespace or of all; whoever began them.

        Raises Unimplemented for a daemon that does not tell, as containerd.
        """
        return [state(each) for each in (await self._told(namespace)).transfers]

    async def totals(self) -> list[TransferTotals]:
        """How many transfers there were. Raises as `under_way`."""
        return [totals(each) for each in (await self._told("")).totals]

    async def _told(self, namespace: str) -> images_pb.ListTransfersResponse:
        request = images_pb.ListTransfersRequest(namespace=namespace)
        try:
            answer: images_pb.ListTransfersResponse = await self._calls.unary(_TELLS["List"], request)
        except Unimplemented as error:
            raise Unimplemented("transfers: this daemon does not tell what is under way (cortend does)") from error
        return answer

    @asynccontextmanager
    async def credentials(self, lookup: Lookup) -> AsyncIterator[str]:
        """A stream on which the daemon may ask who one is; yields its id."""
        async with stream(self._calls, "creds") as asked, _beside(_answer(asked, lookup)):
            yield asked.id

    @asynccontextmanager
    async def opened(self, purpose: str) -> AsyncIterator[ClientStream]:
        """A stream for the bytes of an archive."""
        async with stream(self._calls, purpose) as made:
            yield made

    @asynccontextmanager
    async def _watched(self, watch: Watch | None) -> AsyncIterator[str]:
        if watch is None:
            yield ""
            return
        async with stream(self._calls, "progress") as progress:
            showing = asyncio.ensure_future(_show(progress, watch))
            try:
                yield progress.id
                await showing  # the daemon ends the stream when all is said
            finally:
                showing.cancel()
                await asyncio.wait([showing])


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _show(progress: ClientStream, watch: Watch) -> None:
    while (message := await progress.receive()) is not None:
        watch(ProgressMessage.FromString(message.value))


async def _answer(asked: ClientStream, lookup: Lookup) -> None:
    """Every question gets an answer: the daemon waits for it."""
    while (message := await asked.receive()) is not None:
        try:
            found = await looked_up(lookup, _name(AuthRequest.FromString(message.value)))
        except CortenError:
            found = None
        asked.send(_response(found))


def _name(question: AuthRequest) -> str:
    """The registry as a person calls it: the host of the reference, unless another host asks."""
    host = question.reference.partition("/")[0]
    return "docker.io" if host == "docker.io" and question.host == "registry-1.docker.io" else question.host


def _response(found: Credentials | None) -> AuthResponse:
    if found is None:
        return AuthResponse(authType=AuthType.NONE)
    if found.header:
        return AuthResponse(authType=AuthType.HEADER, secret=found.header)
    if found.identity_token:
        return AuthResponse(authType=AuthType.REFRESH, secret=found.identity_token)
    return AuthResponse(authType=AuthType.CREDENTIALS, username=found.username, secret=found.password)


def _any(message: Message) -> AnyMessage:
    return AnyMessage(type_url=str(message.DESCRIPTOR.full_name), value=message.SerializeToString())
