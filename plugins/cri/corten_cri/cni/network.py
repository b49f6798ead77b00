"""`CniNetwork`: attaches pods to the networks that are configured, and gives back what they got, whatever happens.

What is to be attached is on disk before the first plugin runs, with the configuration as it is then: detaching goes by
the record, not by what the folder says later. Detaching that failed, or that a crash cut off, is tried again until it
succeeds.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from corten.errors import CortenError, FailedPrecondition
from corten.pools import Pools
from corten.supervisor import Supervisor

from ..contracts import NetworkCondition, PodNetwork
from ..timers import SET_UP, STATUS, TEAR_DOWN, Timers
from . import arguments, cidr, results, versions
from .configuration import NetworkList
from .settings import DEFAULT, NetworkSettings
from .turns import Turns

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import chain
from .attachments import Attached, Attachment, Attachments
from .folder import ConfFolder
from .invocation import POOL, Plugins

log = logging.getLogger(__name__)

NOT_READY = "NetworkPluginNotReady"
LOCK_PAUSE = 0.1
"""Seconds between looks at whether a plugin of an earlier daemon has ended."""
RETRY_PAUSE = 5.0
"""Seconds before a failed clean-up is tried again; doubles up to `RETRY_PAUSE_MAX`."""
RETRY_PAUSE_MAX = 300.0


class CniNetwork:
    """Fulfils `Network`. `start` before anything else."""

    def __init__(
        self,
        pools: Pools,
        supervisor: Supervisor,
        root: Path,
        settings: NetworkSettings,
        pause: float = RETRY_PAUSE,
        timers: Timers | None = None,
    ) -> None:
        self._timers = timers or Timers()
        self._pools, self._supervisor, self._settings, self._pause = pools, supervisor, settings, pause
        self._attachments = Attachments(root)
        self._plugins = Plugins(pools, settings.bin_dirs, settings.deadline)
        self._folders = {name: ConfFolder(pools, *each, self._found) for name, each in settings.folders.items()}
        self._turns = Turns()
        self._stale: set[str] = set()
        self._checked: dict[str, str] = {}
        self._left_over = asyncio.Event()

    def __repr__(self) -> str:
        return f"CniNetwork({len(self._attachments.known())} attached, {len(self._stale)} to be cleaned up)"

    async def start(self) -> None:
        """Read the records and the configuration; begin to watch the folders."""
        await self._pools.run(POOL, self._attachments.load)
        for name, folder in self._folders.items():
            await folder.load()
            self._supervisor.job(f"cni configuration {name}", folder.watch)
        self._supervisor.job("cni clean-up", self._clean_up)

    async def setup(self, pod: PodNetwork) -> tuple[str, ...]:
        networks = await self._folder(pod.handler).current()
        told = arguments.arguments(pod.id, pod.config), arguments.capabilities(pod.config)
        attached = tuple(Attached(f"eth{place}", network) for place, network in enumerate(networks))
        attachment = Attachment(pod.id, pod.netns, *told, attached)
        async with self._turns.of(pod.id):
            if earlier := self._attachments.find(pod.id):
                await self._detach(earlier)
            await self._pools.run(POOL, self._attachments.create, attachment)
            try:
                with self._timers.call("sandbox_create_network"), self._timers.network(SET_UP):
                    found = await self._attach(attachment)
            except Exception:
                await self._undo(pod.id)
                raise
        return found

    async def check(self, pod: PodNetwork) -> None:
        async with self._turns.of(pod.id):
            try:
                await self._check(pod)
            except CortenError as error:
                self._checked[pod.id] = error.message
                raise
            self._checked[pod.id] = "OK"

    async def teardown(self, pod: PodNetwork) -> None:
        async with self._turns.of(pod.id):
            if attachment := self._attachments.find(pod.id):
                with self._timers.call("sandbox_delete_network"), self._timers.network(TEAR_DOWN):
                    await self._detach(attachment)

    async def collect(self, alive: Sequence[PodNetwork]) -> None:
        ids = {pod.id for pod in alive}
        known = self._attachments.known()
        held = [
            (each.container, attached.interface)
            for each in known
            if each.container in ids
            for attached in each.networks
        ]
        for name, network in {each.name: each for folder in self._folders.values() for each in folder.networks}.items():
            try:
                await chain.collect(self._plugins, network, held)
            except CortenError as error:
                log.warning("CNI network %s: its plugins could not be told what is attached: %s", name, error)
        # Only now, as GC must not run beside DEL.
        self._later(*(each.container for each in known if each.container not in ids))

    async def condition(self) -> NetworkCondition:
        try:
            for network in await self._folders[DEFAULT].current():
                await chain.status(self._plugins, network)
        except CortenError as error:
            return NetworkCondition(False, NOT_READY, f"Network plugin returns error: {error.message}")
        return NetworkCondition(True)

    def describe(self) -> Mapping[str, Any]:
        each = {f"lastCNILoadStatus.{name}": folder.status for name, folder in self._folders.items()}
        default = self._folders[DEFAULT]
        return {"cniconfig": _document(default, self._settings), "lastCNILoadStatus": default.status, **each}

    def describe_pod(self, id: str) -> Mapping[str, Any] | None:
        attachment = self._attachments.find(id)
        if attachment is None:
            return None
        checked = {"LastCheck": self._checked[id]} if id in self._checked else {}
        return {**results.describe(attachment.results, attachment.netns, self._settings.shows_loopback), **checked}

    async def update_pod_cidr(self, cidr_list: str) -> None:
        values = cidr.values(cidr_list)
        default = self._folders[DEFAULT]
        if not self._settings.template:
            log.info("pod CIDR %s: no conf_template is set, so others write the CNI configuration", values["PodCIDR"])
            return
        with self._timers.network(STATUS):
            condition = await self.condition()
        if condition.ready:
            return
        await default.load()
        if default.error:
            await self._pools.run(POOL, cidr.write, self._settings.template, default.folder, cidr_list)
            await default.load()

    def _folder(self, handler: str) -> ConfFolder:
        return self._folders.get(handler) or self._folders[DEFAULT]

    def _found(self, networks: Sequence[NetworkList]) -> None:
        self._supervisor.background("cni: plugins of new networks", self._look_at(networks))

    async def _look_at(self, networks: Sequence[NetworkList]) -> None:
        """Say in the log what will fail with the first pod; a plugin that knows no VERSION is given the benefit."""
        for network in networks:
            for plugin in network.plugins:
                try:
                    known = await chain.supported(self._plugins, plugin.type)
                except FailedPrecondition as error:
                    log.warning("network %s: no pod can be attached: %s", network.name, error.message)
                except CortenError as error:
                    log.debug("network %s: %s", network.name, error.message)
                else:
                    if (network.version or versions.OLDEST) not in known:
                        log.warning(
                            "network %s is of version %s, which the CNI plugin %s does not know (it knows %s)",
                            network.name, network.version, plugin.type, ", ".join(known),
                        )  # fmt: skip

    async def _check(self, pod: PodNetwork) -> None:
        attachment = self._attachments.find(pod.id)
        if attachment is None or not attachment.complete:
            raise FailedPrecondition(f"pod {pod.id}: it is not attached to its networks")
        if not _is_namespace(attachment.netns):
            raise FailedPrecondition(f"pod {pod.id}: its network namespace {attachment.netns} is gone")
        for each in attachment.networks:
            await chain.check(self._plugins, each.network, attachment.attaching(each), each.result)

    async def _attach(self, attachment: Attachment) -> tuple[str, ...]:
        async with self._locked(attachment.container) as lock:
            attachment = await self._add_all(attachment, lock)
        found = [
            address.ip
            for result in attachment.results
            for address in results.addresses(result)
            if address.interface == results.DEFAULT_INTERFACE
        ]
        if not found:
            names = ", ".join(each.network.name for each in attachment.networks)
            raise FailedPrecondition(f"network {names} of pod {attachment.container}: its plugins gave eth0 no address")
        return results.choose(found, self._settings.preference)

    async def _add_all(self, attachment: Attachment, lock: int) -> Attachment:
        """ADD for every network; all have ended when this returns or raises the first failure."""

        async def add(each: Attached) -> Attached:
            result = await chain.add(self._plugins, each.network, attachment.attaching(each, lock))
            return replace(each, result=result)

        work = [add(each) for each in attachment.networks]
        answered = await (
            _one_by_one(work) if self._settings.serially else asyncio.gather(*work, return_exceptions=True)
        )
        networks = []
        for answer in answered:
            if isinstance(answer, BaseException):
                raise answer
            networks.append(answer)
        done = replace(attachment, networks=tuple(networks), complete=True)
        await self._pools.run(POOL, self._attachments.complete, done)
        return done

    async def _undo(self, container: str) -> None:
        """After a failed ADD; what cannot be undone now is tried again later."""
        attachment = self._attachments.find(container)
        try:
            if attachment:
                await self._detach(attachment)
        except CortenError as error:
            log.warning("CNI: what pod %s got cannot be given back yet, this is tried again: %s", container, error)
            self._later(container)

    async def _detach(self, attachment: Attachment) -> None:
        """DEL for every network, last first; the record goes when all have succeeded. Raises the first failure."""
        there = _is_namespace(attachment.netns)
        failures: list[CortenError] = []
        async with self._locked(attachment.container) as lock:
            for each in reversed(attachment.networks):
                try:
                    attaching = attachment.attaching(each, lock, netns=there)
                    await chain.delete(self._plugins, each.network, attaching, each.result)
                except CortenError as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        await self._pools.run(POOL, self._attachments.drop, attachment.container)
        self._stale.discard(attachment.container)
        self._checked.pop(attachment.container, None)

    @asynccontextmanager
    async def _locked(self, container: str) -> AsyncIterator[int]:
        """The lock that plugins hold; those of an earlier daemon are waited for, and killed in the end."""
        deadline = asyncio.get_running_loop().time() + self._settings.deadline
        while (fd := await self._pools.run(POOL, self._attachments.lock, container)) < 0:
            if asyncio.get_running_loop().time() > deadline:
                await self._pools.run(POOL, self._attachments.evict, container)
            await asyncio.sleep(LOCK_PAUSE)
        try:
            yield fd
        finally:
            os.close(fd)

    def _later(self, *containers: str) -> None:
        self._stale.update(containers)
        if self._stale:
            self._left_over.set()

    async def _clean_up(self) -> None:
        """A job: detach what belongs to no pod, again and again until it succeeds."""
        pause = self._pause
        while True:
            await self._left_over.wait()
            for container in sorted(self._stale):
                await self._clean_up_one(container)
            if self._stale:
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_PAUSE_MAX)
            else:
                pause = self._pause
                self._left_over.clear()

    async def _clean_up_one(self, container: str) -> None:
        async with self._turns.of(container):
            attachment = self._attachments.find(container)
            if attachment is None or container not in self._stale:
                self._stale.discard(container)
                return
            try:
                await self._detach(attachment)
            except CortenError as error:
                log.warning("CNI: what pod %s held is not given back yet: %s", container, error)


async def _one_by_one(work: Sequence[Coroutine[Any, Any, Attached]]) -> list[Attached | BaseException]:
    """Await each in turn; after a failure the others are not begun."""
    done: list[Attached | BaseException] = []
    for each in work:
        if done and isinstance(done[-1], BaseException):
            each.close()
            continue
        try:
            done.append(await each)
        except CortenError as error:
            done.append(error)
    return done


def _is_namespace(path: str) -> bool:
    """Namespace files lie on a file system of their own."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False


def _document(folder: ConfFolder, settings: NetworkSettings) -> dict[str, Any]:
    """The configuration as the verbose status shows it, with containerd's names."""
    return {
        "PluginDirs": list(settings.bin_dirs),
        "PluginConfDir": folder.folder,
        "PluginMaxConfNum": folder.limit,
        "Prefix": "eth",
        "Networks": [
            {"Config": _network(network), "IFName": f"eth{place}"} for place, network in enumerate(folder.networks)
        ],
    }


def _network(network: NetworkList) -> dict[str, Any]:
    plugins = [{"Network": dict(each.document), "Source": json.dumps(dict(each.document))} for each in network.plugins]
    return {"Name": network.name, "CNIVersion": network.version, "Plugins": plugins, "Source": network.source}
