"""The contract's suite, against the fake, the own shim and Debian's containerd-shim-runc-v2."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import CreateOptions
from corten.testing import processes
from corten.testing.runtime import SUITE, FakeRuntime, fake_options
from corten_runtimes.config import RuncConfig
from runtimes.conftest import clear
from runtimes.world import RUNC, World

Check = Callable[..., Any]
every_check = pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)


def _maker(world: World) -> Callable[[Sequence[str]], CreateOptions]:
    root = oci_pb2.Options(root=str(world.folder / "runc"))  # the binary would use the host's
    options = AnyValue("containerd.runc.v1.Options", root.SerializeToString())
    return lambda args: replace(world.options(*args), runtime=RuntimeInfo(RUNC, options))


@pytest.mark.parametrize("check", processes.SUITE, ids=lambda check: check.__name__)
@pytest.mark.integration
async def test_processes(check: Check, shims: Any, world: World) -> None:
    """Streams, logs, attaching, resources and errors, on the own shim and on Debian's."""
    folder = world.folder / "streams"
    folder.mkdir()
    await check(shims, _maker(world), folder)
    await world.left_nothing()


@every_check
async def test_the_fake(check: Check) -> None:
    await check(FakeRuntime(), fake_options)


@every_check
@pytest.mark.integration
async def test_the_own_shim(check: Check, runtime: Any, world: World) -> None:
    await check(runtime, _maker(world))
    await world.left_nothing()


@every_check
@pytest.mark.integration
@pytest.mark.skipif(shutil.which("containerd-shim-runc-v2") is None, reason="no containerd-shim-runc-v2 on PATH")
async def test_the_binary_shim(check: Check, world: World) -> None:
    world.config = RuncConfig(shim="binary")
    runtime = await world.runtime()
    try:
        await check(runtime, _maker(world))
        await world.left_nothing()
    finally:
        await clear(runtime)
        await runtime.close()
