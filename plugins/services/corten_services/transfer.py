"""The service `Transfer`: images between registries, the store and archives."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from corten.api.corten.images.v1 import images_pb2 as images_pb
from corten.api.services.transfer.v1 import transfer_pb2 as pb
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.api.types.transfer.importexport_pb2 import ImageExportStream, ImageImportStream
from corten.api.types.transfer.registry_pb2 import AuthRequest, AuthResponse, HTTPDebug, OCIRegistry
from corten.contracts.scope import Scope
from corten.contracts.streaming import Stream, StreamManager
from corten.contracts.transfer import (
    AskLogin,
    ConvertedImage,
    ExportArchive,
    ImportArchive,
    Login,
    RegistryImage,
    ShowTransfer,
    SingleImage,
    StoreImage,
    Transferer,
    TransferProgress,
)
from corten.errors import InvalidArgument, Unauthenticated, Unimplemented
from corten.messages.transfer import login, packed, platform, platforms, store_image
from corten.messages.values import present
from corten.wire.service import CallContext, cancellable
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from .byte_streams import StreamReader, StreamWriter
from .progress_stream import shown_on


class TransferService:
    """Makes out what a request wants, and asks the transferers one after the other until one knows it."""

    def __init__(self, transferers: Sequence[Transferer], streams: StreamManager) -> None:
        self._transferers = tuple(transferers)
        self._streams = streams

    @cancellable
    async def transfer(self, request: pb.TransferRequest, call: CallContext) -> Empty:
        """A client that goes ends its transfer; what was stored until then is resumed by the next."""
        present(request, "source")
        present(request, "destination")
        scope = call.scope()
        sides = _Sides(self._streams, scope)
        async with self._progress(scope, request.options.progress_stream) as show:
            source, destination = sides.side(request.source), sides.side(request.destination)
            await self._transfer(scope, source, destination, show)
        return Empty()

    async def _transfer(self, scope: Scope, source: object, destination: object, show: ShowTransfer) -> None:
        refusals = []
        for transferer in self._transferers:
            try:
                return await transferer.transfer(scope, source, destination, show)
            except Unimplemented as error:
                refusals.append(error.message)
        raise Unimplemented("; ".join(refusals) or "transfer: no plugin is there that transfers anything")

    def _progress(self, scope: Scope, id: str) -> AbstractAsyncContextManager[ShowTransfer]:
        return shown_on(self._streams.get(scope, id)) if id else nullcontext(_nobody)


def _nobody(progress: TransferProgress) -> None: ...


class _Sides:
    """Messages of sources and destinations as what the contract has for them."""

    def __init__(self, streams: StreamManager, scope: Scope) -> None:
        self._streams = streams
        self._scope = scope

    def side(self, message: Any) -> object:
        """Raises Unimplemented for a type that is not known, InvalidArgument, NotFound for a stream."""
        name = message.type_url.rpartition("/")[2]
        kinds: dict[str, Callable[[bytes], object]] = {
            str(OCIRegistry.DESCRIPTOR.full_name): self._registry,
            str(ImageStore.DESCRIPTOR.full_name): self._store,
            str(ImageImportStream.DESCRIPTOR.full_name): self._import,
            str(ImageExportStream.DESCRIPTOR.full_name): self._export,
            str(images_pb.ConvertedImage.DESCRIPTOR.full_name): self._converted,
            str(images_pb.ReferredImage.DESCRIPTOR.full_name): self._referred,
            str(images_pb.SingleImage.DESCRIPTOR.full_name): self._single,
        }
        if name not in kinds:
            raise Unimplemented(f"transfer: there is nothing of type {name[:200]!r} to transfer from or to")
        try:
            return kinds[name](message.value)
        except DecodeError as error:
            raise InvalidArgument(f"transfer: {len(message.value)} bytes are no {name}: {error}") from error

    def _referred(self, value: bytes) -> RegistryImage:
        message = images_pb.ReferredImage.FromString(value)
        return self._image(message.registry, tuple(message.artifact_types))

    def _registry(self, value: bytes) -> RegistryImage:
        return self._image(OCIRegistry.FromString(value), None)

    def _image(self, message: OCIRegistry, referrers: tuple[str, ...] | None) -> RegistryImage:
        resolver = message.resolver
        ask = _asking(self._streams.get(self._scope, resolver.auth_stream)) if resolver.auth_stream else None
        dumped = resolver.http_debug != HTTPDebug.DISABLED and resolver.logs_stream
        return RegistryImage(
            message.reference,
            dict(resolver.headers),
            resolver.host_dir,
            resolver.default_scheme,
            ask,
            StreamWriter(self._streams.get(self._scope, resolver.logs_stream)) if dumped else None,
            referrers,
        )

    def _store(self, value: bytes) -> StoreImage:
        return store_image(ImageStore.FromString(value))

    def _single(self, value: bytes) -> SingleImage:
        message = images_pb.SingleImage.FromString(value)
        present(message, "platform")
        return SingleImage(store_image(message.store), platform(message.platform))

    def _converted(self, value: bytes) -> ConvertedImage:
        message = images_pb.ConvertedImage.FromString(value)
        return ConvertedImage(store_image(message.store), message.compression, message.oci)

    def _import(self, value: bytes) -> ImportArchive:
        message = ImageImportStream.FromString(value)
        stream = StreamReader(self._streams.get(self._scope, message.stream))
        return ImportArchive(stream, message.media_type, message.force_compress)

    def _export(self, value: bytes) -> ExportArchive:
        message = ImageExportStream.FromString(value)
        return ExportArchive(
            StreamWriter(self._streams.get(self._scope, message.stream)),
            message.media_type,
            platforms(message.platforms),
            message.all_platforms,
            message.skip_compatibility_manifest,
            message.skip_non_distributable,
        )


def _asking(stream: Stream) -> AskLogin:
    """Questions over the client's stream, one at a time."""
    turn = asyncio.Lock()

    async def ask(host: str, reference: str, challenges: Sequence[str]) -> Login | None:
        question = AuthRequest(host=host, reference=reference, wwwauthenticate=challenges)
        async with turn:
            await stream.send(packed(question))
            answer = await stream.receive()
        if answer is None:
            raise Unauthenticated(f"registry {host}: it wants a login, and the client gave none")
        try:
            return login(AuthResponse.FromString(answer.value))
        except DecodeError as error:
            raise InvalidArgument(f"transfer: the client answered with no credentials: {error}") from error

    return ask
