"""One `Content.Write` stream, without the stream: requests in, responses out, all of it blocking.

STAT    answers where the ingest stands
WRITE   appends data; an offset, if given, must be where the ingest stands, and offset 0 starts it anew
COMMIT  as WRITE, then makes the ingest a blob; the last message
"""

from collections.abc import Callable

from corten import digests
from corten.api.services.content.v1 import content_pb2 as pb
from corten.contracts.content import ContentStore, ContentWriter, IngestStatus
from corten.errors import AlreadyExists, InvalidArgument, NotFound, OutOfRange
from corten.messages.values import named, timestamp

LARGE = 64 << 10
"""Bytes of a message from which on to write and hash them takes as long as the way to and from the client."""


def opener(store: ContentStore, request: pb.WriteContentRequest) -> Callable[[], "WriteSession"]:
    """What opens the writer that the first request of a stream asks for. Raises InvalidArgument."""
    ref = named(request.ref, "ref in the first message of a write")
    _check(ref, request)
    return lambda: WriteSession(store, ref, request, store.writer(ref, total=request.total, expected=request.expected))


class WriteSession:
    """Holds the writer of a ref; what later messages say of total and digest replaces what earlier ones said."""

    def __init__(self, store: ContentStore, ref: str, first: pb.WriteContentRequest, writer: ContentWriter) -> None:
        self._store = store
        self._ref = ref
        self._writer = writer
        self._total = first.total
        self._expected = first.expected
        self._offset = -1

    def close(self) -> None:
        """Free the ref; the ingest stays unless it was committed."""
        self._writer.close()

    def midway(self, request: pb.WriteContentRequest) -> int:
        """Where the ingest will stand if the request has some of a large blob whose digest is known; else 0.

        Such a request may be answered with that alone, before it is done: nobody needs the digest so far, and an error
        is as well told with the next one.
        """
        if request.action != pb.WRITE or request.offset != self._offset or request.ByteSize() < LARGE:
            return 0
        if request.total or request.expected or not self._expected:
            return 0
        end = self._offset + len(request.data)
        return end if end < self._total else 0

    def answer(self, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
        """Do what the request says.

        Raises OutOfRange for an offset that is not the ingest's, AlreadyExists when the expected blob is there (the
        ingest is then gone), InvalidArgument, and what the store raises.
        """
        _check(self._ref, request)
        self._note_expectations(request)
        status = self._writer.status()
        if request.action == pb.STAT:
            self._offset = status.offset
            return self._stat(status)
        offset = self._offset = self._append(request, status.offset)
        if request.action == pb.COMMIT:
            digest = self._writer.commit(self._total, self._expected, dict(request.labels))
        else:
            digest = self._writer.digest()
        return pb.WriteContentResponse(action=request.action, offset=offset, digest=digest)

    def _note_expectations(self, request: pb.WriteContentRequest) -> None:
        self._total = request.total or self._total
        if request.expected:
            self._expected = request.expected
            self._refuse_what_exists(request.expected)

    def _refuse_what_exists(self, digest: str) -> None:
        try:
            self._store.info(digest)
        except NotFound:
            return
        self._writer.close()
        try:
            self._store.abort(self._ref)
        except NotFound:
            pass
        raise AlreadyExists(f"content {digest}: it exists already, so ingest {self._ref!r} is dropped")

    def _stat(self, status: IngestStatus) -> pb.WriteContentResponse:
        return pb.WriteContentResponse(
            action=pb.STAT,
            started_at=timestamp(status.started_at),
            updated_at=timestamp(status.updated_at),
            offset=status.offset,
            total=self._total or status.total,
            digest=self._writer.digest(),
        )

    def _append(self, request: pb.WriteContentRequest, offset: int) -> int:
        """Write the data of a request; returns the offset behind it."""
        if request.offset > 0 and request.offset != offset:
            raise OutOfRange(f"ingest {self._ref!r}: cannot write at offset {request.offset}: it stands at {offset}")
        if request.offset == 0 and offset > 0:
            self._writer.truncate(0)
            offset = 0
        data = request.data  # each look at it is a copy
        return offset + (self._writer.write(data) if data else 0)


def _check(ref: str, request: pb.WriteContentRequest) -> None:
    """Refuse what no state of the ingest would make right."""
    if request.ref and request.ref != ref:
        raise InvalidArgument(f"ingest {ref!r}: a later message of its write names another ref, {request.ref!r}")
    if request.offset < 0 or request.total < 0:
        raise InvalidArgument(f"ingest {ref!r}: offset {request.offset} or total {request.total} is negative")
    if request.action not in (pb.STAT, pb.WRITE, pb.COMMIT):
        raise InvalidArgument(f"ingest {ref!r}: there is no write action {request.action}")
    if request.expected:
        digests.parse(request.expected)
