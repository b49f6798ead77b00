"""The content service: containerd's protocol of writes, reads by range, and streams that are left at any step."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import pytest
from corten import digests
from corten.api.services.content.v1 import content_pb2 as pb
from corten.contracts.content import ContentReader
from corten.contracts.scope import Scope
from corten.errors import (
    AlreadyExists,
    CortenError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from corten.plugin.types import METADATA
from corten.testing.calls import Attempt, Caller, Outcome, abandon_at_every_step
from corten.testing.memory_content import MemoryContent
from corten_services.content import CHUNK
from corten_services.small_blobs import SmallBlobs
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from services.doubles import MakeContext, Records, service

SCOPE = Scope("default")
DATA = b"some bytes of a layer"
DIGEST = digests.of(DATA)


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def store(records: Records) -> MemoryContent:
    return records.content(SCOPE)


@pytest.fixture
def caller(make_context: MakeContext, records: Records) -> Caller:
    return Caller(service("content", make_context(instances={(METADATA, "lmdb"): records})))


def stat(ref: str = "r", **fields: object) -> pb.WriteContentRequest:
    return pb.WriteContentRequest(action=pb.STAT, ref=ref, **fields)  # type: ignore[arg-type]


def write(data: bytes, offset: int = 0) -> pb.WriteContentRequest:
    return pb.WriteContentRequest(action=pb.WRITE, data=data, offset=offset)


def commit(offset: int = 0, **fields: object) -> pb.WriteContentRequest:
    return pb.WriteContentRequest(action=pb.COMMIT, offset=offset, **fields)  # type: ignore[arg-type]


async def test_a_write_as_ctr_does_it(caller: Caller, store: MemoryContent) -> None:
    requests = [
        stat(total=len(DATA), expected=DIGEST),
        write(DATA[:5]),
        write(DATA[5:], 5),
        commit(len(DATA), total=len(DATA), expected=DIGEST, labels={"a": "b"}),
    ]
    first, second, third, last = await caller.replies("Write", requests)
    assert (first.action, first.offset, first.total) == (pb.STAT, 0, len(DATA))
    assert first.started_at.seconds > 0
    assert first.digest == digests.of(b"")
    assert (second.action, second.offset, second.digest) == (pb.WRITE, 5, digests.of(DATA[:5]))
    assert (third.offset, third.digest) == (len(DATA), DIGEST)
    assert (last.action, last.offset, last.digest) == (pb.COMMIT, len(DATA), DIGEST)
    assert store.data(DIGEST) == DATA
    assert store.info(DIGEST).labels == {"a": "b"}
    assert store.statuses() == []


async def test_of_a_large_blob_whose_digest_is_known_only_the_last_answer_tells_it(caller: Caller) -> None:
    data = bytes(range(256)) * 1024
    half, digest = len(data) // 2, digests.of(data)
    pieces = [write(data[:half]), write(data[half:], half)]
    known = await caller.replies("Write", [stat(total=len(data), expected=digest), *pieces])
    assert [reply.offset for reply in known] == [0, half, len(data)]
    assert [reply.digest for reply in known[1:]] == ["", digest]
    unknown = await caller.replies(
        "Write", [pb.WriteContentRequest(action=pb.STAT, ref="other"), *_of("other", pieces)]
    )
    assert [reply.digest for reply in unknown[1:]] == [digests.of(data[:half]), digest]


def _of(ref: str, requests: list[pb.WriteContentRequest]) -> list[pb.WriteContentRequest]:
    for request in requests:
        request.ref = ref
    return requests


async def test_a_failure_midway_is_told_with_the_next_message_or_the_end(caller: Caller, store: MemoryContent) -> None:
    data = bytes(range(256)) * 1024
    half, digest = len(data) // 2, digests.of(data)
    begun, piece = stat(total=len(data), expected=digest), write(data[:half])
    for more in ([], [write(data[half:], half)]):
        store.room = 1000
        with pytest.raises(ResourceExhausted):
            await caller.replies("Write", [begun, piece, *more])
    store.room = None
    await caller.replies("Write", [begun, write(data[:half]), write(data[half:], half), commit(len(data))])
    assert store.data(digest) == data


async def test_data_may_come_with_the_commit(caller: Caller, store: MemoryContent) -> None:
    await caller.replies("Write", [pb.WriteContentRequest(action=pb.COMMIT, ref="r", data=DATA)])
    assert store.data(DIGEST) == DATA


async def test_what_follows_a_commit_is_not_read(caller: Caller) -> None:
    replies = await caller.replies("Write", [stat(), write(DATA), commit(len(DATA)), write(b"more", len(DATA))])
    assert [reply.action for reply in replies] == [pb.STAT, pb.WRITE, pb.COMMIT]


async def test_an_ingest_is_resumed_where_it_stands(caller: Caller, store: MemoryContent) -> None:
    await caller.replies("Write", [stat(total=len(DATA)), write(DATA[:7])])
    status = await caller.unary("Status", pb.StatusRequest(ref="r"))
    assert (status.status.offset, status.status.total) == (7, len(DATA))
    again = await caller.replies("Write", [stat(), write(DATA[7:], 7), commit(len(DATA))])
    assert again[0].offset == 7
    assert again[0].total == len(DATA)
    assert store.data(DIGEST) == DATA


async def test_offset_zero_starts_anew(caller: Caller, store: MemoryContent) -> None:
    await caller.replies("Write", [stat(), write(b"wrong")])
    await caller.replies("Write", [stat(), write(DATA), commit(len(DATA), expected=DIGEST)])
    assert store.data(DIGEST) == DATA


async def test_a_wrong_offset_is_out_of_range(caller: Caller, store: MemoryContent) -> None:
    with pytest.raises(OutOfRange, match=r"offset 9.*stands at 5"):
        await caller.replies("Write", [stat(), write(b"12345"), write(b"6", 9)])
    assert store.status("r").offset == 5


@pytest.mark.parametrize("fields", [{"total": 3}, {"expected": digests.of(b"other")}])
async def test_a_commit_of_the_wrong_thing_stores_nothing(
    caller: Caller, store: MemoryContent, fields: dict[str, object]
) -> None:
    with pytest.raises(FailedPrecondition):
        await caller.replies("Write", [stat(), write(DATA), commit(len(DATA), **fields)])
    assert list(store.walk()) == []
    assert [status.ref for status in store.statuses()] == ["r"]


async def test_what_exists_needs_no_writing_and_leaves_no_ingest(caller: Caller, store: MemoryContent) -> None:
    store.add(DATA)
    with pytest.raises(AlreadyExists):
        await caller.replies("Write", [stat(expected=DIGEST)])
    with pytest.raises(AlreadyExists, match="ingest 'r' is dropped"):
        await caller.replies("Write", [stat(), write(b"12345"), commit(5, expected=DIGEST)])
    assert store.statuses() == []


BAD_WRITES: list[tuple[str, list[pb.WriteContentRequest]]] = [
    ("no message", []),
    ("ref", [stat("")]),
    ("digest", [stat(expected="sha256:short")]),
    ("negative", [stat(total=-1)]),
    ("negative", [stat(), write(b"x", -4)]),
    ("another ref", [stat(), stat("other")]),
    ("write action 9", [stat(), pb.WriteContentRequest(action=9)]),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("words", "requests"), BAD_WRITES, ids=range(len(BAD_WRITES)))
async def test_bad_writes_are_refused(caller: Caller, words: str, requests: list[pb.WriteContentRequest]) -> None:
    with pytest.raises(InvalidArgument, match=words):
        await caller.replies("Write", requests)


async def read(caller: Caller, digest: str, offset: int = 0, size: int = 0) -> bytes:
    request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
    return b"".join([reply.data for reply in await caller.replies("Read", request)])


async def test_reads_by_range(caller: Caller, store: MemoryContent) -> None:
    big = bytes(range(256)) * (CHUNK // 128) + b"tail"
    digest = store.add(big)
    assert await read(caller, digest) == big
    assert await read(caller, digest, CHUNK - 3, 10) == big[CHUNK - 3 : CHUNK + 7]
    assert await read(caller, digest, len(big) - 2, 100) == big[-2:]
    assert await read(caller, digest, len(big)) == b""
    with pytest.raises(OutOfRange, match=str(len(big))):
        await read(caller, digest, len(big) + 1)
    replies = await caller.replies("Read", pb.ReadContentRequest(digest=digest))
    assert [reply.offset for reply in replies] == [0, CHUNK, 2 * CHUNK]


class OtherBytes(MemoryContent):
    """Counts how often a blob is opened, and may have the bytes of another in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.opened, self.instead = 0, ""

    def reader(self, digest: str) -> ContentReader:
        self.opened += 1
        return super().reader(self.instead or digest)


@pytest.fixture
def counting(records: Records) -> OtherBytes:
    records.stores[SCOPE.namespace] = store = OtherBytes()
    return store


async def test_a_small_blob_is_opened_once(caller: Caller, counting: OtherBytes) -> None:
    counting.add(DATA)
    assert [await read(caller, DIGEST, 0, len(DATA)) for _ in range(3)] == [DATA] * 3
    assert await read(caller, DIGEST, 5, 3) == DATA[5:8]
    assert await read(caller, DIGEST, len(DATA)) == b""
    with pytest.raises(OutOfRange, match=str(len(DATA))):
        await read(caller, DIGEST, len(DATA) + 1)
    assert counting.opened == 1
    counting.instead = counting.add(b"damaged")
    assert await read(caller, DIGEST) == b"damaged", "who asks for all of it, to verify it, gets what is there"


async def test_what_is_kept_of_a_blob_is_for_namespaces_that_have_it(
    make_context: MakeContext, records: Records, counting: OtherBytes
) -> None:
    content = service("content", make_context(instances={(METADATA, "lmdb"): records}))
    caller, other = Caller(content), Caller(content, namespace="other")
    counting.add(DATA)
    assert await read(caller, DIGEST) == DATA
    with pytest.raises(NotFound):
        await read(other, DIGEST)
    counting.delete(DIGEST)
    with pytest.raises(NotFound):
        await read(caller, DIGEST)


async def test_damaged_bytes_are_not_kept(caller: Caller, counting: OtherBytes) -> None:
    counting.add(DATA)
    counting.instead = counting.add(b"something else")
    assert await read(caller, DIGEST) == b"something else"
    counting.instead = ""
    assert await read(caller, DIGEST) == DATA


def test_of_small_blobs_those_are_kept_that_were_read_last() -> None:
    kept, blobs = SmallBlobs(most=8), {digests.of(data): data for data in (b"1111", b"2222", b"3333")}
    first, second, third = blobs
    for digest in (first, second):
        kept.keep(digest, blobs[digest])
    assert kept.get(first) == b"1111"
    kept.keep(third, b"3333")
    assert [kept.get(digest) for digest in blobs] == [b"1111", None, b"3333"]


async def test_info_update_list_delete(caller: Caller, store: MemoryContent) -> None:
    store.add(DATA, {"keep": "1"})
    update = pb.UpdateRequest(
        info=pb.Info(digest=DIGEST, labels={"new": "2"}), update_mask=FieldMask(paths=["labels.new"])
    )
    assert (await caller.unary("Update", update)).info.labels == {"keep": "1", "new": "2"}
    info = (await caller.unary("Info", pb.InfoRequest(digest=DIGEST))).info
    assert (info.digest, info.size) == (DIGEST, len(DATA))
    listed = await caller.replies("List", pb.ListContentRequest(filters=["labels.new==2"]))
    assert [each.digest for reply in listed for each in reply.info] == [DIGEST]
    await caller.unary("Delete", pb.DeleteContentRequest(digest=DIGEST))
    with pytest.raises(NotFound):
        await caller.unary("Info", pb.InfoRequest(digest=DIGEST))


async def test_ingests_are_listed_and_aborted(caller: Caller) -> None:
    await caller.replies("Write", [stat("one"), write(DATA)])
    assert [s.ref for s in (await caller.unary("ListStatuses", pb.ListStatusesRequest())).statuses] == ["one"]
    await caller.unary("Abort", pb.AbortRequest(ref="one"))
    assert not (await caller.unary("ListStatuses", pb.ListStatusesRequest())).statuses


async def test_an_abort_waits_for_a_writer_that_is_about_to_go(caller: Caller, store: MemoryContent) -> None:
    """The end of its stream and the abort come over one connection, and either may be first."""
    writer = store.writer("one")
    aborting = asyncio.ensure_future(caller.unary("Abort", pb.AbortRequest(ref="one")))
    await asyncio.wait([aborting], timeout=0.1)
    writer.close()
    await aborting
    assert not store.statuses()


async def test_a_writer_that_stays_is_not_aborted(caller: Caller, store: MemoryContent) -> None:
    with store.writer("one"), pytest.raises(Unavailable):
        await caller.unary("Abort", pb.AbortRequest(ref="one"))
    assert [status.ref for status in store.statuses()] == ["one"]


async def test_a_ref_with_another_total_is_begun_anew(caller: Caller) -> None:
    """Who was told a wrong size once, by a registry say, would be held up by it for a day."""
    await caller.replies("Write", [stat("one", total=len(DATA) + 1), write(DATA)])
    first, last = await caller.replies("Write", [stat("one", total=len(DATA)), commit(data=DATA)])
    assert (first.offset, first.total, last.digest) == (0, len(DATA), DIGEST)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Info", pb.InfoRequest(digest="nonsense")),
        ("Delete", pb.DeleteContentRequest(digest="sha256:" + "A" * 64)),
        ("Update", pb.UpdateRequest()),
        ("Update", pb.UpdateRequest(info=pb.Info(digest=""))),
    ],
)
async def test_bad_requests_are_refused(caller: Caller, method: str, request_: Message) -> None:
    with pytest.raises(InvalidArgument):
        await caller.unary(method, request_)


@pytest.mark.parametrize(("method", "request_"), [("Status", pb.StatusRequest()), ("Abort", pb.AbortRequest())])
async def test_no_ingest_has_the_empty_ref(caller: Caller, method: str, request_: Message) -> None:
    with pytest.raises(NotFound):
        await caller.unary(method, request_)


async def test_a_call_without_namespace_is_refused(make_context: MakeContext, records: Records) -> None:
    nameless = Caller(service("content", make_context(instances={(METADATA, "lmdb"): records})), namespace="")
    with pytest.raises(FailedPrecondition, match="namespace"):
        await nameless.unary("Info", pb.InfoRequest(digest=DIGEST))
    with pytest.raises(FailedPrecondition, match="namespace"):
        await nameless.replies("Write", [stat()])


class CountingStore(MemoryContent):
    """Counts the readers and writers that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0

    def reader(self, digest: str) -> Any:
        return _Counted(self, super().reader(digest))

    def writer(self, ref: str, *, total: int = 0, expected: str = "", media_type: str = "") -> Any:
        return _Counted(self, super().writer(ref, total=total, expected=expected))


class _Counted:
    def __init__(self, store: CountingStore, inner: Any) -> None:
        self._store, self._inner = store, inner
        store.open += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def close(self) -> None:
        self._store.open -= 1
        self._inner.close()


MakeAttempt = Callable[[str, Message | Iterable[Message]], Coroutine[Any, Any, Attempt]]


@pytest.fixture
def attempts(make_context: MakeContext) -> MakeAttempt:
    async def fresh(method: str, request: Message | Iterable[Message]) -> Attempt:
        records = Records()
        store = records.stores["default"] = CountingStore()
        store.add(DATA * 200_000)
        content = service("content", make_context(instances={(METADATA, "lmdb"): records}))
        return Attempt(content, method, request, state=store)

    return fresh


async def settled(store: CountingStore) -> None:
    """Threads cannot be stopped: what a call left running ends by itself."""
    for _ in range(200):
        if not store.open:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{store.open} readers or writers are still open")


async def test_a_write_left_at_any_step_is_whole_or_resumable(attempts: MakeAttempt) -> None:
    requests = [stat(total=len(DATA), expected=DIGEST), write(DATA[:5]), write(DATA[5:], 5), commit(len(DATA))]

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        await settled(attempt.state)
        caller = Caller(attempt.service)
        try:
            await caller.unary("Info", pb.InfoRequest(digest=DIGEST))
        except NotFound:
            replies = await caller.replies("Write", [stat(total=len(DATA), expected=DIGEST)])
            at = replies[0].offset
            await caller.replies("Write", [stat(), write(DATA[at:], at), commit(len(DATA), expected=DIGEST)])
        assert attempt.state.data(DIGEST) == DATA
        assert attempt.state.statuses() == []

    steps = await abandon_at_every_step(lambda: attempts("Write", requests), check)
    assert steps > 8


async def test_a_read_left_at_any_step_closes_its_reader(attempts: MakeAttempt) -> None:
    async def check(attempt: Attempt, outcome: Outcome) -> None:
        await settled(attempt.state)

    request = pb.ReadContentRequest(digest=digests.of(DATA * 200_000))
    assert await abandon_at_every_step(lambda: attempts("Read", request), check) > 8


async def test_a_client_that_fails_between_requests_frees_the_ref(caller: Caller, store: MemoryContent) -> None:
    async def breaks() -> AsyncIterator[pb.WriteContentRequest]:
        yield stat()
        yield write(DATA[:3])
        raise CortenError("the connection broke")

    with pytest.raises(CortenError, match="broke"):
        async for _ in caller.stream("Write", breaks()):
            pass
    store.abort("r")
