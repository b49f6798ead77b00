"""The shim controller: each sandbox is a shim that speaks the sandbox API, found again by its bundle."""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping, Sequence

from corten import identifiers
from corten.api.events import sandbox_pb2 as events
from corten.api.runtime.sandbox.v1 import sandbox_pb2 as pb
from corten.contracts.events import Exchange
from corten.contracts.objects import Sandbox
from corten.contracts.runtime import CreateOptions, ShimEndpoint, ShimProvider, Stdio
from corten.contracts.sandboxes import SandboxExit, SandboxInstance, SandboxMetrics, SandboxOptions, SandboxStatus
from corten.errors import AlreadyExists, CortenError, NotFound
from corten.linux import processes
from corten.messages.values import mount_messages, optional_any
from corten.platforms import Platform
from corten.pools import Pools
from corten.supervisor import Supervisor

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .. import bundle as bundles
from ..bundle import Bundles
from ..links import Links
from .endpoints import Endpoints, url
from .shim import LONG, SHORT, SandboxShim

log = logging.getLogger(__name__)
ADOPT_DEADLINE = 5.0
"""Seconds for one shim to answer after a restart, independent of the others."""
SHUTDOWN_DEADLINE = 5.0
RECONNECTS = 3
LOST_STATUS = 137
"""Of a sandbox whose shim has died: it was killed."""
Key = tuple[str, str]


class ShimSandboxes:
    """Contract `SandboxController`. `recover` finds the sandboxes of before; `close` lets their shims go on."""

    def __init__(
        self,
        store: Bundles,
        shims: ShimProvider,
        endpoints: Endpoints,
        exchange: Exchange,
        pools: Pools,
        supervisor: Supervisor,
    ) -> None:
        self._bundles, self._shims, self._endpoints, self._exchange = store, shims, endpoints, exchange
        self._pools, self._supervisor = pools, supervisor
        self._links = Links()
        self._sandboxes: dict[Key, SandboxShim] = {}
        self._pending: dict[Key, asyncio.Future[None]] = {}
        self._recalled = asyncio.Event()
        self._closing = False

    def __repr__(self) -> str:
        return f"ShimSandboxes({len(self._sandboxes)}, pending={len(self._pending)})"

    async def recover(self) -> None:
        """Begin to adopt the sandboxes that are there; returns at once, and calls wait for the one they ask for."""
        try:
            found = await self._pools.run("runtime", lambda: [(k, self._record(k)) for k in self._bundles.all()])
            for key, record in found:
                self._pending[key] = asyncio.get_running_loop().create_future()
                self._supervisor.background(f"adopt sandbox {'/'.join(key)}", self._adopt(key, record))
        finally:
            self._recalled.set()

    async def close(self) -> None:
        self._closing = True
        for shim in list(self._sandboxes.values()):
            await shim.disconnect()

    async def create(self, namespace: str, sandbox: Sandbox, options: SandboxOptions) -> None:
        identifiers.validate(namespace, "namespace")
        identifiers.validate(sandbox.id, "sandbox id")
        key = (namespace, sandbox.id)
        await self._settled(key)
        if key in self._sandboxes or key in self._pending:
            raise AlreadyExists(f"sandbox {sandbox.id!r}: it is there already")
        self._pending[key] = asyncio.get_running_loop().create_future()
        await self._supervisor.operation(f"create sandbox {sandbox.id}", self._create(key, sandbox, options))

    async def start(self, namespace: str, id: str) -> SandboxInstance:
        shim = await self._get(namespace, id)
        return await self._supervisor.operation(f"start sandbox {id}", self._start(shim))

    async def platform(self, namespace: str, id: str) -> Platform:
        shim = await self._get(namespace, id)
        found = (await shim.call("Platform", pb.PlatformRequest(sandbox_id=id), pb.PlatformResponse)).platform
        return Platform(found.os, found.architecture, found.variant)

    async def stop(self, namespace: str, id: str, timeout: float = 0.0) -> None:
        try:
            shim = await self._get(namespace, id)
        except NotFound:
            return
        await self._supervisor.operation(f"stop sandbox {id}", shim.stop(timeout))

    async def wait(self, namespace: str, id: str) -> SandboxExit:
        return await asyncio.shield((await self._get(namespace, id)).ended)

    async def status(self, namespace: str, id: str, *, verbose: bool = False) -> SandboxStatus:
        try:
            shim = await self._get(namespace, id)
        except NotFound:
            return SandboxStatus(id, exited_at=time.time_ns())
        request = pb.SandboxStatusRequest(sandbox_id=id, verbose=verbose)
        found = await shim.call("SandboxStatus", request, pb.SandboxStatusResponse)
        return SandboxStatus(
            id=found.sandbox_id or id,
            pid=found.pid,
            state=found.state,
            info=dict(found.info),
            created_at=found.created_at.ToNanoseconds(),
            exited_at=found.exited_at.ToNanoseconds(),
            extra=optional_any(found, "extra"),
            address=url(shim.endpoint),
            version=shim.endpoint.version,
        )

    async def shutdown(self, namespace: str, id: str) -> None:
        shim = await self._get(namespace, id)
        await self._supervisor.operation(f"shut down sandbox {id}", self._shutdown(shim))

    async def metrics(self, namespace: str, id: str) -> SandboxMetrics:
        shim = await self._get(namespace, id)
        request = pb.SandboxMetricsRequest(sandbox_id=id)
        found = (await shim.call("SandboxMetrics", request, pb.SandboxMetricsResponse)).metrics
        return SandboxMetrics(found.id or id, found.timestamp.ToNanoseconds(), optional_any(found, "data"))

    async def update(self, namespace: str, id: str, sandbox: Sandbox, fieldpaths: Sequence[str] = ()) -> None:
        """The shim API has no call for it: nothing is taken over while the sandbox runs."""
        await self._get(namespace, id)

    async def _create(self, key: Key, sandbox: Sandbox, options: SandboxOptions) -> None:
        namespace, id = key
        spec = sandbox.spec.value if sandbox.spec and sandbox.spec.value else b"{}"
        try:
            bundle = str(await self._pools.run("runtime", self._bundles.create, namespace, id, spec))
            shim: SandboxShim | None = None
            try:
                wanted = CreateOptions(spec=spec, rootfs=(), stdio=Stdio(), runtime=sandbox.runtime)
                endpoint = await self._shims.start(namespace, id, bundle, wanted)
                shim = await self._connected(key, bundle, endpoint)
                await shim.call("CreateSandbox", _creation(id, bundle, options), pb.CreateSandboxResponse, LONG)
            except BaseException:
                await self._discard(key, bundle, shim)
                raise
            self._known(shim)
        finally:
            self._done(key)

    async def _start(self, shim: SandboxShim) -> SandboxInstance:
        request = pb.StartSandboxRequest(sandbox_id=shim.id)
        try:
            found = await shim.call("StartSandbox", request, pb.StartSandboxResponse, LONG)
        except BaseException:
            await self._shutdown(shim)
            raise
        shim.started = True
        self._watch(shim)
        return SandboxInstance(
            id=shim.id,
            pid=found.pid,
            created_at=found.created_at.ToNanoseconds(),
            address=url(shim.endpoint),
            version=shim.endpoint.version,
            spec=optional_any(found, "spec"),
        )

    async def _shutdown(self, shim: SandboxShim) -> None:
        """Ask the shim to end, then see to it that it has."""
        key = (shim.namespace, shim.id)
        self._pending[key] = asyncio.get_running_loop().create_future()
        self._sandboxes.pop(key, None)
        try:
            await self._discard(key, shim.bundle, shim)
        finally:
            shim.forgotten()
            self._done(key)

    async def _discard(self, key: Key, bundle: str, shim: SandboxShim | None) -> None:
        """Nothing is left: no shim, no bundle. What the shim complains of is only logged."""
        self._endpoints.forget(*key)
        if shim is None or not await self._shut_down(shim):
            try:
                await self._shims.remove(*key, bundle)
            except CortenError as error:
                log.warning("sandbox %s: its shim cannot clean up: %s", "/".join(key), error.message)
        self._shims.release(bundle)
        await self._pools.run("runtime", self._bundles.remove, *key)

    async def _shut_down(self, shim: SandboxShim) -> bool:
        try:
            await shim.shut_down(SHUTDOWN_DEADLINE)
        except (CortenError, TimeoutError) as error:
            log.warning("sandbox %s/%s: it does not shut down, its shim is killed: %s", shim.namespace, shim.id, error)
            await self._pools.run("runtime", _kill_in, shim.bundle)
            return False
        finally:
            await shim.disconnect()
        return True

    async def _connected(self, key: Key, bundle: str, endpoint: ShimEndpoint, timeout: float = SHORT) -> SandboxShim:
        shim = SandboxShim(*key, bundle, endpoint, self._links)
        await shim.connect(lambda: self._disconnected(shim), timeout)
        return shim

    def _known(self, shim: SandboxShim) -> None:
        self._sandboxes[shim.namespace, shim.id] = shim
        self._endpoints.put(shim.namespace, shim.id, shim.endpoint)

    def _watch(self, shim: SandboxShim) -> None:
        if not shim.watching:
            shim.watching = True
            self._supervisor.background(f"wait for sandbox {shim.id}", self._until_end(shim))

    async def _until_end(self, shim: SandboxShim) -> None:
        try:
            self._ended(shim, await shim.wait())
        except CortenError as error:
            shim.watching = False  # the connection broke: whoever reaches the shim again, watches again
            log.debug("sandbox %s/%s: %s", shim.namespace, shim.id, error.message)

    def _ended(self, shim: SandboxShim, exit: SandboxExit) -> None:
        if shim.over(exit):
            event = events.SandboxExit(sandbox_id=shim.id, exit_status=exit.status)
            event.exited_at.FromNanoseconds(exit.exited_at)
            self._exchange.publish(shim.namespace, "/sandboxes/exit", event)

    def _disconnected(self, shim: SandboxShim) -> None:
        if not self._closing and self._sandboxes.get((shim.namespace, shim.id)) is shim:
            self._supervisor.background(f"lost shim of sandbox {shim.id}", self._lost(shim))

    async def _lost(self, shim: SandboxShim) -> None:
        """The connection broke: reach the shim again, or count the sandbox as killed."""
        for _ in range(RECONNECTS):
            try:
                await shim.connect(lambda: self._disconnected(shim), 1.0)
            except CortenError:
                await asyncio.sleep(0.05)
            else:
                return self._watch(shim) if shim.started else None
        log.warning("sandbox %s/%s: its shim has died", shim.namespace, shim.id)
        self._ended(shim, SandboxExit(LOST_STATUS, time.time_ns()))
        await self._shutdown(shim)
        return None

    def _record(self, key: Key) -> Mapping[str, object]:
        return bundles.read_bootstrap(self._bundles.path(*key))

    async def _adopt(self, key: Key, record: Mapping[str, object]) -> None:
        bundle = str(self._bundles.path(*key))
        try:
            shim = await self._reached(key, bundle, record) if bundles.of_this_boot(record) else None
            if shim is None:
                return await self._bury(key, bundle)
            self._known(shim)
            shim.started = True  # nothing tells; a shim that was not started answers the watch with an error
            self._watch(shim)
        except Exception:
            log.exception("sandbox %s: neither its shim nor its remains can be dealt with", "/".join(key))
        finally:
            self._done(key)
        return None

    async def _reached(self, key: Key, bundle: str, record: Mapping[str, object]) -> SandboxShim | None:
        endpoint = bundles.endpoint(record)
        self._shims.adopt(bundle)
        shim: SandboxShim | None = None
        try:
            async with asyncio.timeout(ADOPT_DEADLINE):
                shim = await self._connected(key, bundle, endpoint, ADOPT_DEADLINE)
                await shim.call("PingSandbox", pb.PingRequest(sandbox_id=key[1]), pb.PingResponse, ADOPT_DEADLINE)
        except (CortenError, TimeoutError) as error:
            log.warning("sandbox %s: its shim does not answer: %s", "/".join(key), error)
            if shim is not None:
                await shim.disconnect()
            return None
        return shim

    async def _bury(self, key: Key, bundle: str) -> None:
        """What another boot, or a shim that died meanwhile, has left; the world has not heard of its end."""
        await self._discard(key, bundle, None)
        event = events.SandboxExit(sandbox_id=key[1], exit_status=LOST_STATUS)
        event.exited_at.FromNanoseconds(time.time_ns())
        self._exchange.publish(key[0], "/sandboxes/exit", event)

    async def _get(self, namespace: str, id: str) -> SandboxShim:
        await self._settled((namespace, id))
        shim = self._sandboxes.get((namespace, id))
        if shim is None:
            raise NotFound(f"sandbox {id!r}: the shim controller has none of that id")
        return shim

    async def _settled(self, key: Key) -> None:
        """Wait until a sandbox that is being made, adopted, or taken away is there or gone."""
        await self._recalled.wait()
        waiting = self._pending.get(key)
        if waiting is not None:
            await asyncio.shield(waiting)

    def _done(self, key: Key) -> None:
        waiting = self._pending.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def _kill_in(bundle: str) -> None:
    """End the shim that does not end by itself: it was started in its bundle."""
    for process in processes.in_folder(bundle):
        processes.kill(process)


def _creation(id: str, bundle: str, options: SandboxOptions) -> pb.CreateSandboxRequest:
    request = pb.CreateSandboxRequest(
        sandbox_id=id,
        bundle_path=bundle,
        rootfs=mount_messages(options.rootfs),
        netns_path=options.netns,
        annotations=dict(options.annotations),
    )
    if options.options is not None:
        request.options.type_url, request.options.value = options.options.type_url, options.options.value
    return request
