"""What outlives a call: jobs, operations, and work in threads."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from corten.errors import Internal, Unavailable
from corten.pools import PAGE, Pools
from corten.supervisor import Supervisor


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_cancelled_caller_leaves_its_operation_running() -> None:
    supervisor, ended, gate = Supervisor(), [], asyncio.Event()

    async def work() -> int:
        await gate.wait()
        ended.append("work")
        return 7

    caller = asyncio.ensure_future(supervisor.operation("work", work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait({caller})
    assert supervisor.running["operations"] == ["work"]
    gate.set()
    await supervisor.close()
    assert ended == ["work"]
    assert supervisor.running["operations"] == []


async def test_an_operation_that_wants_to_exit_only_fails() -> None:
    supervisor = Supervisor()

    async def work() -> None:
        raise SystemExit("everybody out")

    with pytest.raises(Internal, match="work: raised SystemExit: everybody out"):
        await supervisor.operation("work", work())
    await supervisor.close()


async def test_a_job_that_raises_is_named_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, runs = Supervisor(), []

    async def job() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise SystemExit("once")

    supervisor.job("tape cleaner", job)
    await until(lambda: len(runs) == 2)
    assert "tape cleaner" in caplog.text
    await supervisor.close()


async def test_close_ends_what_does_not_end_by_itself() -> None:
    supervisor = Supervisor()
    supervisor.job("forever", asyncio.Event().wait)  # type: ignore[arg-type]
    supervisor.background("also forever", asyncio.sleep(1000))
    await until(lambda: supervisor.running["jobs"])
    await supervisor.close(grace=0.05)
    assert supervisor.running == {"jobs": [], "operations": []}


async def test_a_kind_of_work_that_hangs_stops_no_other() -> None:
    pools, gate = Pools({"slow": 1}), threading.Event()
    stuck = [asyncio.ensure_future(pools.run("slow", gate.wait)) for _ in range(3)]
    assert await pools.run("quick", lambda: 7) == 7
    gate.set()
    await asyncio.gather(*stuck)
    pools.close()


async def test_work_sees_the_callers_context_and_cannot_end_the_loop() -> None:
    pools, name = Pools(), contextvars.ContextVar("name", default="")
    name.set("caller")
    assert await pools.run("x", name.get) == "caller"

    def leave() -> None:
        raise SystemExit("everybody out")

    with pytest.raises(Internal, match="everybody out"):
        await pools.run("x", leave)
    pools.close()


async def test_a_call_that_waits_for_a_thread_is_given_up_with_its_caller() -> None:
    pools, gate, done = Pools({"slow": 1}), threading.Event(), list[str]()
    stuck, left, kept = (
        asyncio.ensure_future(pools.run("slow", call, *args))
        for call, args in ((gate.wait, ()), (done.append, ("left",)), (done.append, ("kept",)))
    )
    await asyncio.sleep(0)
    left.cancel()
    gate.set()
    await asyncio.gather(stuck, kept)
    assert done == ["kept"]
    pools.close()


async def test_calls_that_wait_for_a_thread_are_given_up_at_the_end() -> None:
    pools, entered, gate, done = Pools({"slow": 1}), threading.Event(), threading.Event(), list[str]()

    def hold() -> bool:
        entered.set()
        return gate.wait(10)

    stuck = pools.submit("slow", hold)
    late = asyncio.ensure_future(pools.run("slow", done.append, "late"))
    await asyncio.sleep(0)
    waiting = pools.submit("slow", done.append, "waiting")
    assert entered.wait(10)
    pools.close()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert stuck.result(10) is True
    assert waiting.cancelled()
    assert done == []
    with pytest.raises(Unavailable):
        await pools.run("slow", done.clear)


async def test_there_are_no_more_threads_than_are_allowed() -> None:
    pools, barrier = Pools({"x": 3}), threading.Barrier(3)

    def meet() -> int:
        barrier.wait(10)
        return threading.get_ident()

    assert len(set(await asyncio.gather(*(pools.run("x", meet) for _ in range(9))))) == 3
    pools.close()


class Held:
    """What a call that fails holds, and gives back when it is let go of: a descriptor, say."""


async def test_a_call_that_fails_keeps_nothing_alive() -> None:
    pools, left = Pools(), list[weakref.ref[Held]]()

    def fail() -> None:
        held = Held()
        left.append(weakref.ref(held))
        raise ValueError(held)

    gc.disable()  # what only it would find is kept alive
    try:
        with suppress(ValueError):
            await pools.run("x", fail)
        await until(lambda: left[0]() is None)
    finally:
        gc.enable()
    pools.close()


async def test_what_is_submitted_has_a_future() -> None:
    pools = Pools()
    assert pools.submit("x", divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pools.submit("x", divmod, 7, 0).result(10)
    pools.close()


async def test_an_iterator_is_advanced_in_threads_and_comes_in_pages() -> None:
    pools, threads = Pools(), set()

    def items() -> Iterator[int]:
        for item in range(2 * PAGE + 1):
            threads.add(threading.current_thread())
            yield item

    pages = [page async for page in pools.iterate("x", items)]
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert threading.current_thread() not in threads
    pools.close()
