"""The harness that drives services without a network: it must find what cancellation breaks."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from corten.api.services.content.v1 import content_pb2
from corten.api.services.version.v1 import version_pb2
from corten.errors import Cancelled, FailedPrecondition, Unimplemented
from corten.testing.calls import Attempt, Caller, FakeCall, Outcome, abandon_at_every_step
from corten.wire.service import CallContext, Service, cancellable
from google.protobuf.empty_pb2 import Empty

VERSION = version_pb2.DESCRIPTOR.services_by_name["Version"]
CONTENT = content_pb2.DESCRIPTOR.services_by_name["Content"]


class Ledger:
    """Takes three steps to book something; `half` says whether it stands in the middle."""

    def __init__(self, half: bool = False) -> None:
        self.half = half
        self.closed = False

    async def version(self, request: Empty, call: CallContext) -> version_pb2.VersionResponse:
        await asyncio.sleep(0)
        self.half = True
        await asyncio.sleep(0)
        self.half = False
        return version_pb2.VersionResponse(version=call.scope().namespace)

    async def list(
        self, request: content_pb2.ListContentRequest, call: CallContext
    ) -> AsyncIterator[content_pb2.ListContentResponse]:
        try:
            for size in range(3):
                await asyncio.sleep(0)
                yield content_pb2.ListContentResponse(info=[content_pb2.Info(size=size)])
        finally:
            self.closed = True

    async def write(
        self, requests: AsyncIterator[content_pb2.WriteContentRequest], call: CallContext
    ) -> AsyncIterator[content_pb2.WriteContentResponse]:
        async for request in requests:
            self.half = True
            await asyncio.sleep(0)
            self.half = False
            yield content_pb2.WriteContentResponse(offset=request.offset)


class Hasty(Ledger):
    @cancellable
    async def version(self, request: Empty, call: CallContext) -> version_pb2.VersionResponse:
        return await super().version(request, call)


async def test_plain_unary_runs_to_its_end_at_every_step() -> None:
    async def fresh() -> Attempt:
        ledger = Ledger()
        return Attempt(Service(VERSION, ledger), "Version", Empty(), state=ledger)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert not attempt.state.half
        assert outcome.replies == [version_pb2.VersionResponse(version="default")]

    assert await abandon_at_every_step(fresh, check) == 2


async def test_cancelled_method_that_leaves_half_a_state_is_found() -> None:
    seen = []

    async def fresh() -> Attempt:
        ledger = Hasty()
        return Attempt(Service(VERSION, ledger), "Version", Empty(), state=ledger)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        seen.append((outcome.left, attempt.state.half, type(outcome.error)))

    await abandon_at_every_step(fresh, check)
    assert seen == [
        (True, False, asyncio.CancelledError),
        (True, True, asyncio.CancelledError),
        (False, False, type(None)),
    ]


async def test_server_stream_is_closed_at_every_step() -> None:
    async def fresh() -> Attempt:
        ledger = Ledger()
        return Attempt(Service(CONTENT, ledger), "List", content_pb2.ListContentRequest(), state=ledger)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert attempt.state.closed or outcome.step == 1
        assert isinstance(outcome.error, asyncio.CancelledError) == outcome.left

    assert await abandon_at_every_step(fresh, check) == 6


async def test_bidi_stream_is_never_cancelled_in_its_own_work() -> None:
    errors = set()

    async def fresh() -> Attempt:
        ledger = Ledger()
        parts = [content_pb2.WriteContentRequest(offset=offset) for offset in range(2)]
        return Attempt(Service(CONTENT, ledger), "Write", parts, state=ledger)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert not attempt.state.half
        errors.add(type(outcome.error))

    assert await abandon_at_every_step(fresh, check) > 4
    assert errors == {Cancelled, type(None)}


async def test_a_call_that_never_ends_is_reported() -> None:
    class Stuck:
        async def version(self, request: Empty, call: CallContext) -> None:
            await asyncio.Event().wait()

    async def fresh() -> Attempt:
        return Attempt(Service(VERSION, Stuck()), "Version", Empty())

    async def check(attempt: Attempt, outcome: Outcome) -> None: ...

    with pytest.raises(AssertionError, match="still running"):
        await abandon_at_every_step(fresh, check, timeout=0.05)


async def test_caller_finds_methods_and_gives_the_scope() -> None:
    caller = Caller(Service(VERSION, Ledger()), Service(CONTENT, Ledger()), namespace="k8s.io")
    assert (await caller.unary("Version", Empty())).version == "k8s.io"
    assert len(await caller.replies("List", content_pb2.ListContentRequest())) == 3
    with pytest.raises(Unimplemented):
        await caller.unary("Info", content_pb2.InfoRequest())
    with pytest.raises(FailedPrecondition):
        FakeCall(namespace="").scope()


async def test_checkpoint_stops_only_when_the_client_is_gone() -> None:
    call = FakeCall()
    call.checkpoint()
    call.leave()
    with pytest.raises(Cancelled):
        call.checkpoint()
