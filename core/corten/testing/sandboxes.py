"""Conformance suite of the `SandboxController` contract.

A test gives a controller and a way to make records that it can run:

    @pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
    async def test_conformance(check):
        await check(controller, lambda id: Sandbox(id, RuntimeInfo("io.containerd.mine.v1"), sandboxer="mine"))
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from corten.contracts.objects import Sandbox
from corten.contracts.sandboxes import NOT_READY, READY, SandboxController, SandboxOptions
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound

Make = Callable[[str], Sandbox]
Check = Callable[[SandboxController, Make], Awaitable[None]]
NAMESPACE = "conformance"
_NONE = SandboxOptions()


async def check_life_cycle(controller: SandboxController, make: Make) -> None:
    """Created, started, stopped, shut down; what is told of it at each step."""
    await controller.create(NAMESPACE, make("life"), _NONE)
    begun = time.time_ns()
    started = await controller.start(NAMESPACE, "life")
    assert started.id == "life" and started.created_at > 0
    assert not started.address or (started.version and "+" in started.address)
    found = await controller.status(NAMESPACE, "life")
    assert (found.id, found.state, found.pid) == ("life", READY, started.pid)
    assert (await controller.platform(NAMESPACE, "life")).os
    await controller.stop(NAMESPACE, "life", timeout=5)
    ended = await controller.wait(NAMESPACE, "life")
    assert ended.exited_at > begun
    assert (await controller.status(NAMESPACE, "life")).state == NOT_READY
    await controller.shutdown(NAMESPACE, "life")
    assert (await controller.status(NAMESPACE, "life")).state == NOT_READY


async def check_names(controller: SandboxController, make: Make) -> None:
    """A name is there once in a namespace, and again in another; it is free once the sandbox is shut down."""
    await controller.create(NAMESPACE, make("twice"), _NONE)
    await _refused(AlreadyExists, controller.create(NAMESPACE, make("twice"), _NONE))
    await controller.create(f"{NAMESPACE}-2", make("twice"), _NONE)
    await controller.shutdown(NAMESPACE, "twice")
    await controller.create(NAMESPACE, make("twice"), _NONE)
    for namespace in (NAMESPACE, f"{NAMESPACE}-2"):
        await controller.shutdown(namespace, "twice")
    for name in ("", "../up", "a/b"):
        await _refused(InvalidArgument, controller.create(NAMESPACE, make(name), _NONE))


async def check_absent(controller: SandboxController, make: Make) -> None:
    """Of one that is not there: to stop it is done, to ask for its status is answered, all else is NotFound."""
    await controller.stop(NAMESPACE, "absent")
    found = await controller.status(NAMESPACE, "absent")
    assert (found.id, found.state) == ("absent", NOT_READY) and found.exited_at > 0
    for call in (controller.start, controller.platform, controller.wait, controller.shutdown, controller.metrics):
        await _refused(NotFound, call(NAMESPACE, "absent"))
    await _refused(NotFound, controller.update(NAMESPACE, "absent", make("absent")))


async def check_waiting(controller: SandboxController, make: Make) -> None:
    """All who wait are told the same; one who gives up disturbs nobody; a later one is told at once."""
    await controller.create(NAMESPACE, make("awaited"), _NONE)
    await controller.start(NAMESPACE, "awaited")
    waiting = [asyncio.ensure_future(controller.wait(NAMESPACE, "awaited")) for _ in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert not any(each.done() for each in waiting[1:])
    await controller.stop(NAMESPACE, "awaited", timeout=5)
    async with asyncio.timeout(30):
        told = [*await asyncio.gather(*waiting[1:]), await controller.wait(NAMESPACE, "awaited")]
    assert len(set(told)) == 1
    await controller.stop(NAMESPACE, "awaited")
    await controller.shutdown(NAMESPACE, "awaited")


async def check_unstarted(controller: SandboxController, make: Make) -> None:
    """One that was never started can be stopped and shut down."""
    await controller.create(NAMESPACE, make("unstarted"), _NONE)
    assert (await controller.status(NAMESPACE, "unstarted")).state == NOT_READY
    await controller.stop(NAMESPACE, "unstarted")
    await controller.shutdown(NAMESPACE, "unstarted")
    await _refused(NotFound, controller.start(NAMESPACE, "unstarted"))


SUITE: Sequence[Check] = (check_life_cycle, check_names, check_absent, check_waiting, check_unstarted)


async def _refused(kind: type[CortenError], call: Awaitable[object]) -> None:
    try:
        await call
    except kind:
        return
    raise AssertionError(f"{call!r} was not refused with {kind.__name__}")
