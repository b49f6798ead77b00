"""gRPC over a real socket: the four kinds of method, errors, headers, deadlines and cancellation."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from corten.errors import (
    BY_CODE,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    Unknown,
)
from corten.plugin.model import State
from corten.supervisor import Supervisor
from corten.wire.channel import Channel
from corten.wire.limits import Limits
from counts import count
from google.protobuf.wrappers_pb2 import StringValue
from wire.support import DEFAULT, Echo, grpc_pair, grpc_server, rpc, text, until, view


@pytest.fixture
def sock(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


async def _each(*values: str) -> AsyncIterator[StringValue]:
    for value in values:
        yield text(value)


async def test_all_four_kinds_of_method(sock: Path) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        assert await channel.unary(rpc("Say"), text("hello")) == text("hello")
        counted = [reply.value async for reply in channel.server_stream(rpc("Count"), text("3"))]
        assert counted == ["0", "1", "2"]
        assert await channel.client_stream(rpc("Join"), _each("a", "b")) == text("ab")
        assert [reply.value async for reply in channel.bidi(rpc("Chat"), _each("a", "b"))] == ["A", "B"]


@pytest.mark.parametrize("code", sorted(BY_CODE))
async def test_every_error_keeps_its_class_and_text(sock: Path, code: int) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        with pytest.raises(BY_CODE[code]) as caught:
            await channel.unary(rpc("Say"), text(f"raise:{code}"))
    assert type(caught.value) is BY_CODE[code]
    assert caught.value.message == f"told to fail with {code}"


async def test_error_in_a_stream_comes_after_its_replies(sock: Path) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        replies = channel.bidi(rpc("Chat"), _each("a", "boom"))
        assert await anext(replies) == text("A")
        with pytest.raises(FailedPrecondition, match="told to fail in the stream"):
            await anext(replies)


@pytest.mark.parametrize(
    ("what", "says"),
    [("boom", "RuntimeError: a bug in the service"), ("exit", "SystemExit"), ("none", "NoneType"),
     ("self-cancel", "cancelled by itself")],
)  # fmt: skip
async def test_bug_in_a_service_is_unknown_and_the_server_goes_on(
    sock: Path, what: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        with pytest.raises((Unknown, Unavailable), match=says):
            await channel.unary(rpc("Say"), text(what), timeout=5)
        assert await channel.unary(rpc("Say"), text("still here")) == text("still here")
    if what == "boom":
        logged = next(record for record in caplog.records if record.levelno == logging.ERROR)
        assert "corten.test.Echo/Say" in logged.getMessage()
        assert logged.exc_info


async def test_long_and_foreign_error_texts_arrive_shortened(sock: Path) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        for letter in ("x", "ü", "界"):
            with pytest.raises(BY_CODE[5]) as caught:
                await channel.unary(rpc("Say"), text("text:" + letter * 32_768))
            assert caught.value.message.startswith(letter)
            assert "bytes…" in caught.value.message
            assert len(caught.value.message) < 4000


async def test_namespace_and_lease_come_from_headers(sock: Path) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        headers = {"containerd-namespace": "k8s.io", "containerd-lease": "123-ab_-"}
        assert await channel.unary(rpc("Say"), text("scope"), metadata=headers) == text("k8s.io/123-ab_-")
        with pytest.raises(FailedPrecondition, match="namespace is required"):
            await channel.unary(rpc("Say"), text("scope"))
        with pytest.raises(InvalidArgument, match="namespace"):
            await channel.unary(rpc("Say"), text("scope"), metadata={"containerd-namespace": "not/valid"})
        with pytest.raises(InvalidArgument, match="lease"):
            await channel.unary(rpc("Say"), text("scope"), metadata={**DEFAULT, "containerd-lease": "x" * 2000})


async def test_of_a_header_that_comes_twice_the_first_counts(sock: Path) -> None:
    """containerd's client puts an inner namespace or lease before the outer one; buildkitd's history needs it."""
    pairs = [(f"containerd-{name}", value) for value in ("inner", "outer") for name in ("namespace", "lease")]
    async with grpc_server(sock, Echo()), grpc.aio.insecure_channel(f"unix:{sock}") as channel:
        method = rpc("Say")
        say = channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
        assert StringValue.FromString(await say(text("scope").SerializeToString(), metadata=pairs)) == text(
            "inner/inner"
        )


async def test_call_context_knows_peer_deadline_and_headers(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        await channel.unary(rpc("Say"), text("x"), metadata={"x-mine": "yes"}, timeout=30)
        call = echo.calls[0]
        assert call.method == "corten.test.Echo/Say"
        assert call.metadata["x-mine"] == "yes"
        assert call.peer.startswith("unix:")
        assert call.deadline
        assert 20 < call.deadline - time.monotonic() <= 31
        await channel.unary(rpc("Say"), text("x"))
        assert echo.calls[1].deadline is None


async def test_client_that_cannot_send_its_headers_is_told(sock: Path) -> None:
    async with grpc_pair(sock, Echo()) as channel:
        for metadata in ({"Not Valid": "x"}, {"name": "line\nbreak"}, {"name": "ü"}):
            with pytest.raises(InvalidArgument, match="cannot be sent"):
                await channel.unary(rpc("Say"), text("x"), metadata=metadata)


async def test_mutating_call_runs_on_when_its_client_goes(sock: Path) -> None:
    echo, supervisor = Echo(), Supervisor()
    async with grpc_pair(sock, echo, supervisor=supervisor) as channel:
        call = asyncio.ensure_future(channel.unary(rpc("Work"), text("x")))
        await echo.until("begun")
        call.cancel()
        await asyncio.sleep(0.1)
        assert supervisor.running["operations"] == ["corten.test.Echo/Work"]
        echo.go.set()
        await echo.until("done")
    assert echo.log == ["begun", "gone=True", "done"]


async def test_mutating_call_can_stop_at_a_checkpoint(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        with pytest.raises(DeadlineExceeded):
            await channel.unary(rpc("Work"), text("checkpoint"), timeout=1)
        await asyncio.sleep(0.5)
        echo.go.set()
        await echo.until("gone=True")
        await asyncio.sleep(0.05)
    assert echo.log == ["begun", "gone=True"]


async def test_cancellable_call_is_cancelled_at_once(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        call = asyncio.ensure_future(channel.unary(rpc("Wait"), text("x")))
        await echo.until("waiting")
        call.cancel()
        await echo.until("cancelled")


async def test_deadline_ends_a_wait(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        with pytest.raises(DeadlineExceeded):
            await channel.unary(rpc("Wait"), text("x"), timeout=1)
        await echo.until("cancelled")


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_stream_is_closed_when_its_client_goes(sock: Path, taken: int) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        replies = channel.server_stream(rpc("Count"), text("1000000:100"))
        for _ in range(taken):
            await anext(replies)
        waiting = asyncio.ensure_future(anext(replies))
        await until(lambda: echo.counting == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await replies.aclose()  # type: ignore[attr-defined]
        await echo.until("closed")


async def test_silent_stream_is_closed_when_its_client_goes(sock: Path) -> None:
    echo = Echo()
    async with grpc_server(sock, echo):
        channel = Channel(str(sock))
        waiting = asyncio.ensure_future(anext(channel.server_stream(rpc("Count"), text("0"))))
        await until(lambda: echo.counting == 1)
        await channel.close()
        await asyncio.gather(waiting, return_exceptions=True)
        await echo.until("closed")


async def test_stream_of_requests_finishes_its_work_when_its_client_goes(sock: Path) -> None:
    echo = Echo()

    async def endless() -> AsyncIterator[StringValue]:
        yield text("part")
        await asyncio.Event().wait()

    async with grpc_pair(sock, echo) as channel:
        waiting = asyncio.ensure_future(anext(channel.bidi(rpc("Store"), endless())))
        await echo.until("begun")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert echo.log == ["begun"]
        echo.go.set()
        await echo.until("done")
        await echo.until("GeneratorExit")


async def test_stream_of_requests_that_waits_learns_that_its_client_went(sock: Path) -> None:
    echo = Echo()
    echo.go.set()

    async def endless() -> AsyncIterator[StringValue]:
        yield text("part")
        await asyncio.Event().wait()

    async with grpc_pair(sock, echo) as channel:
        replies = channel.bidi(rpc("Store"), endless())
        await anext(replies)
        await echo.until("replied")  # or it may be closed at its reply
        await replies.aclose()  # type: ignore[attr-defined]
        await echo.until(Cancelled.__name__)


async def test_unknown_service_and_method_are_unimplemented(sock: Path) -> None:
    from corten.api.services.version.v1 import version_pb2
    from google.protobuf.empty_pb2 import Empty

    version = version_pb2.DESCRIPTOR.services_by_name["Version"].methods_by_name["Version"]
    async with grpc_pair(sock, Echo()) as channel:
        with pytest.raises(Unimplemented, match=r"unknown service containerd\.services\.version\.v1\.Version"):
            await channel.unary(version, Empty())
        with pytest.raises(Unimplemented, match=r"unknown method Absent for service corten\.test\.Echo"):
            await channel.unary(rpc("Absent"), text("x"))


@pytest.mark.parametrize(
    ("state", "error", "answer", "says"),
    [
        (State.ERROR, ValueError("no such tape drive"), FailedPrecondition, "no such tape drive"),
        (State.SKIPPED, InvalidArgument("not for this host"), FailedPrecondition, "skipped: not for this host"),
        (State.DISABLED, None, FailedPrecondition, "disabled"),
        (State.PENDING, None, Unavailable, "has not started yet"),
    ],
)
async def test_service_of_a_failed_plugin_answers_with_its_error(
    sock: Path, state: State, error: BaseException | None, answer: type[Exception], says: str
) -> None:
    from corten.api.services.content.v1 import content_pb2

    methods = content_pb2.DESCRIPTOR.services_by_name["Content"].methods_by_name
    plugins = view("content", state, "containerd.services.content.v1.Content", error=error)
    async with grpc_pair(sock, Echo(), plugins=plugins) as channel:
        with pytest.raises(answer, match=says) as caught:
            await channel.unary(methods["Info"], content_pb2.InfoRequest())
        assert "io.containerd.grpc.v1.content" in str(caught.value)
        with pytest.raises(answer, match=says):
            await anext(channel.server_stream(methods["List"], content_pb2.ListContentRequest()))


async def test_request_that_is_no_message_is_invalid(sock: Path) -> None:
    import grpc.aio

    async with grpc_server(sock, Echo()), grpc.aio.insecure_channel(f"unix:{sock}") as raw:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw.unary_unary("/corten.test.Echo/Say")(b"\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "google.protobuf.StringValue" in str(caught.value.details())


async def test_oversized_messages_are_refused_with_the_bound(sock: Path) -> None:
    limits = Limits(max_recv_message_size=10_000, max_send_message_size=20_000, stop_grace=0.5)
    async with grpc_pair(sock, Echo(), limits=limits) as channel:
        with pytest.raises(ResourceExhausted, match="10000"):
            await channel.unary(rpc("Say"), text("x" * 20_000))
        with pytest.raises(ResourceExhausted, match="20000"):
            await channel.unary(rpc("Say"), text("size:30000"))
        with pytest.raises(ResourceExhausted, match="20000"):
            [_ async for _ in channel.server_stream(rpc("Count"), text("2:30000"))]
        assert await channel.unary(rpc("Say"), text("x")) == text("x")


async def test_idle_calls_cost_no_thread(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        await channel.unary(rpc("Say"), text("x"))
        before = threading.active_count()
        waits = [asyncio.ensure_future(channel.unary(rpc("Wait"), text("x"))) for _ in range(1000)]
        streams = [
            asyncio.ensure_future(anext(channel.server_stream(rpc("Count"), text("0")), None)) for _ in range(100)
        ]
        await until(lambda: echo.waiting == 1000)
        assert threading.active_count() <= before
        assert await channel.unary(rpc("Say"), text("still quick"), timeout=5) == text("still quick")
        echo.go.set()
        await asyncio.gather(*waits, *streams)


async def test_calls_over_the_bound_of_a_connection_wait(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo, limits=Limits(max_concurrent_streams=2, stop_grace=0.5)) as channel:
        waits = [asyncio.ensure_future(channel.unary(rpc("Wait"), text("x"))) for _ in range(3)]
        await asyncio.sleep(0.3)
        assert echo.waiting == 2
        async with Channel(str(sock)) as other:
            assert await other.unary(rpc("Say"), text("another connection")) == text("another connection")
        echo.go.set()
        assert len(await asyncio.gather(*waits)) == 3


async def test_calls_over_the_bound_of_the_server_are_refused(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo, limits=Limits(max_concurrent_calls=2, stop_grace=0.5)) as channel:
        waits = [asyncio.ensure_future(channel.unary(rpc("Wait"), text("x"))) for _ in range(2)]
        await until(lambda: echo.waiting == 2)
        with pytest.raises(ResourceExhausted):
            await channel.unary(rpc("Say"), text("x"))
        echo.go.set()
        await asyncio.gather(*waits)
        assert await channel.unary(rpc("Say"), text("x")) == text("x")


async def test_client_that_does_not_read_its_stream_is_ended(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo, limits=Limits(stream_stall=0.3, stop_grace=0.5)) as channel:
        replies = channel.server_stream(rpc("Count"), text("1000:100000"))
        assert (await anext(replies)).value.startswith("0")
        await echo.until("closed", timeout=10)
        with pytest.raises(ResourceExhausted, match=r"took nothing from its stream for 0\.3 s"):
            async with asyncio.timeout(10):
                async for _ in replies:
                    pass
        assert await channel.unary(rpc("Say"), text("x")) == text("x")


async def test_stopping_does_not_wait_for_a_client_that_does_not_read(sock: Path) -> None:
    echo = Echo()
    async with grpc_server(sock, echo, limits=Limits(stream_stall=0.1, stop_grace=30)) as server:
        channel = Channel(str(sock))
        replies = channel.server_stream(rpc("Count"), text("1000:100000"))
        await anext(replies)
        await echo.until("closed", timeout=10)
        await asyncio.wait_for(server.close(), 5)
        await channel.close()


async def test_stopping_ends_waits_at_once_and_lets_work_finish(sock: Path) -> None:
    echo = Echo()
    supervisor = Supervisor()
    async with grpc_server(sock, echo, limits=Limits(stop_grace=30), supervisor=supervisor) as server:
        channel = Channel(str(sock))
        wait = asyncio.ensure_future(channel.unary(rpc("Wait"), text("x")))
        stream = asyncio.ensure_future(anext(channel.server_stream(rpc("Count"), text("0"))))
        work = asyncio.ensure_future(channel.unary(rpc("Work"), text("w")))
        await echo.until("begun")
        await echo.until("waiting")
        await until(lambda: echo.counting == 1)
        stop = asyncio.ensure_future(server.close())
        for ended in (wait, stream):
            with pytest.raises(Unavailable, match="the daemon stops"):
                await asyncio.wait_for(ended, 10)
        assert not sock.exists()
        assert not stop.done()
        echo.go.set()
        assert await asyncio.wait_for(work, 10) == text("w")
        await asyncio.wait_for(stop, 10)
        await channel.close()


async def test_stopping_does_not_wait_for_a_client_that_sends_nothing(sock: Path) -> None:
    echo = Echo()
    echo.go.set()

    async def endless() -> AsyncIterator[StringValue]:
        yield text("part")
        await asyncio.Event().wait()

    async with grpc_server(sock, echo, limits=Limits(stop_grace=30)) as server:
        channel = Channel(str(sock))
        replies = channel.bidi(rpc("Store"), endless())
        await anext(replies)
        await echo.until("replied")
        await asyncio.wait_for(server.close(), 5)
        with pytest.raises(Unavailable, match="the daemon stops"):
            await anext(replies)
        await channel.close()
    assert echo.log == ["begun", "done", "replied", "CancelledError"]


async def test_work_that_outlasts_the_grace_is_cut_off_from_its_client(sock: Path) -> None:
    echo = Echo()
    async with grpc_server(sock, echo, limits=Limits(stop_grace=0.2)) as server:
        channel = Channel(str(sock))
        work = asyncio.ensure_future(channel.unary(rpc("Work"), text("w")))
        await echo.until("begun")
        await asyncio.wait_for(server.close(), 5)
        with pytest.raises((Unavailable, Cancelled)):
            await asyncio.wait_for(work, 10)
        await channel.close()
        assert echo.log == ["begun"]
        echo.go.set()
        await echo.until("done")


async def test_client_finds_a_server_that_was_restarted(sock: Path) -> None:
    async with Channel(str(sock)) as channel:
        for _ in range(3):
            async with grpc_server(sock, Echo()):
                await channel.ready(5)
                assert await channel.unary(rpc("Say"), text("x"), timeout=5) == text("x")


async def test_context_of_a_call_stays_usable_after_its_end(sock: Path) -> None:
    echo = Echo()
    async with grpc_pair(sock, echo) as channel:
        await channel.unary(rpc("Say"), text("x"), metadata=DEFAULT, timeout=30)
        await asyncio.sleep(0.05)
        call = echo.calls[0]
        assert (call.peer, call.scope().namespace, call.client_gone) == ("unix:", "default", False)
        assert call.deadline


async def test_requests_that_are_read_after_the_end_of_their_call_are_over(sock: Path) -> None:
    kept: list[AsyncIterator[StringValue]] = []

    class Keeps(Echo):
        async def join(self, requests: AsyncIterator[StringValue], call: object) -> StringValue:
            kept.append(requests)
            return await anext(requests)

    async with grpc_pair(sock, Keeps()) as channel:
        assert await channel.client_stream(rpc("Join"), _each("a", "b")) == text("a")
        await asyncio.sleep(0.05)
        assert [request async for request in kept[0]] == []


async def test_call_under_way_fails_when_its_channel_is_closed(sock: Path) -> None:
    echo = Echo()
    async with grpc_server(sock, echo):
        channel = Channel(str(sock))
        wait = asyncio.ensure_future(channel.unary(rpc("Wait"), text("x")))
        stream = asyncio.ensure_future(anext(channel.server_stream(rpc("Count"), text("0"))))
        await echo.until("waiting")
        await channel.close()
        for call in (wait, stream):
            with pytest.raises(Unavailable, match="closed"):
                await asyncio.wait_for(call, 5)


async def test_storm_of_leaving_clients_leaves_nothing(sock: Path, caplog: pytest.LogCaptureFixture) -> None:
    echo, supervisor, dice = Echo(), Supervisor(), random.Random(7)
    echo.go.set()

    async def one(channel: Channel, kind: int) -> None:
        call: Any
        match kind:
            case 0:
                call = channel.unary(rpc("Say"), text("raise:5"))
            case 1:
                call = channel.unary(rpc("Work"), text("x"))
            case 2:
                call = anext(channel.server_stream(rpc("Count"), text("50:1000")))
            case 3:
                call = anext(channel.bidi(rpc("Store"), _each("a", "b", "c")))
            case _:
                call = channel.client_stream(rpc("Join"), _each("a", "b", "c"))
        task = asyncio.ensure_future(call)
        await asyncio.sleep(dice.random() * 0.04)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with grpc_pair(sock, echo, supervisor=supervisor) as channel:
        for _ in range(12 * count("cancel steps")):
            await asyncio.gather(*(one(channel, number % 5) for number in range(50)))
        await until(lambda: not supervisor.running["operations"])
        assert await channel.unary(rpc("Say"), text("x")) == text("x")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
