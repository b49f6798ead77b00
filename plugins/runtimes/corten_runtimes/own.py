"""The provider of Corten's own shim: forks one from the zygote for each task."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Exit, ShimEndpoint
from corten.contracts.workers import Workers
from corten.errors import InvalidArgument
from corten.linux import mount
from corten.pools import Pools

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import bundle as bundles
from . import names, pids, remains, runc
from .config import RuncConfig
from .copier import CopiedStreams, Copier, streams_at_shim
from .groups import Groups, SharedShim, group_of
from .shim import settings
from .shim.facts import spec_facts

SCHEMA = 1
"""Of the `corten` object in bootstrap.json; a newer daemon reads all older ones."""
TARGET = "corten_runtimes.shim.entry:run"
KILLED = 128 + signal.SIGKILL


class OwnShim:
    """Handles `io.containerd.runc.v2`, unless it is told to leave that to the binary."""

    def __init__(
        self, workers: Workers, pools: Pools, state: Path, ttrpc_address: str, config: RuncConfig, copier: Copier
    ) -> None:
        self._workers, self._pools, self._state, self._copier = workers, pools, state, copier
        self._ttrpc_address, self._runc, self._enabled = ttrpc_address, config.runc, config.shim != "binary"
        self._runc_root = config.runc_root or str(state / "runc")
        self._max_execs, self._runc_deadline = config.max_execs, config.runc_deadline
        self._runc_stamp: runc.Stamp | None = None
        self._runc_tried = False
        self._groups = Groups(_runs)

    def handles(self, runtime: str) -> bool:
        return self._enabled and runtime == names.OWN

    async def prepare(self) -> None:
        """One that is forked already waits for what it will be told."""
        await self._pools.run("runtime", self._workers.ahead, TARGET)

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        return await self._pools.run("runtime", self._start, namespace, id, Path(bundle), options)

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        streams = self.streams(namespace, id, bundle)
        if streams is not None:
            await streams.close("")
        return await self._pools.run("runtime", self._remove, id, Path(bundle))

    def adopt(self, bundle: str) -> None:
        """Know again who shares a shim, and who reads its streams."""
        if streams_at_shim(bundle):
            self._copier.recall(bundle)
        record = bundles.read_bootstrap(Path(bundle))
        if group := (record.get("corten") or {}).get("group"):
            self._groups.recall((Path(bundle).parent.name, str(group)), Path(bundle), record)

    def retire(self, bundle: str) -> bool:
        return self._groups.leave(Path(bundle))

    def release(self, bundle: str) -> None:
        """Nothing else is held for a shim."""

    def streams(self, namespace: str, id: str, bundle: str) -> CopiedStreams | None:
        """It knows all schemes itself; where it serves streams somebody must read them."""
        if streams_at_shim(bundle):
            return CopiedStreams(self._copier, self._pools, namespace, id, bundle)
        return None

    async def close(self) -> None:
        """Leave the copier to itself."""
        await self._copier.disconnect()

    async def plugin_info(self, runtime: str, options: AnyValue | None) -> AnyValue:
        binary = _options(options).binary_name or self._runc
        info = await self._pools.run("runtime", runc.info, runtime or names.OWN, binary)
        if options is not None:
            info.options.type_url, info.options.value = options.type_url, options.value
        return AnyValue(info.DESCRIPTOR.full_name, info.SerializeToString())

    def _start(self, namespace: str, id: str, bundle: Path, options: CreateOptions) -> ShimEndpoint:
        spec = bundles.parse_spec(id, options.spec)
        facts = {**spec_facts(spec), "direct": self._direct()}
        bundles.write_private(bundle / "facts.json", json.dumps(facts).encode())
        if program := _program():  # for tools that look there: it is the same shim
            bundles.write_private(bundle / "shim-binary-path", program.encode())
        group = group_of(options.sandbox_id, spec)
        if not group:
            return _endpoint(self._fork(namespace, id, bundle, options, ""))
        shared = self._groups.enter((namespace, group), bundle)
        with shared.starting:
            return _endpoint(self._join(shared, namespace, id, bundle, options, group))

    def _join(
        self, shared: SharedShim, namespace: str, id: str, bundle: Path, options: CreateOptions, group: str
    ) -> Mapping[str, Any]:
        """The shim of the pod, forked for the first of its tasks; the bundle tells which it is."""
        if shared.record is None:
            shared.record = self._fork(namespace, group, bundle, options, group)
        else:
            known = {**shared.record["corten"], **self._runc_of(namespace, options)}
            bundles.write_bootstrap(bundle, {**shared.record, "corten": known})
        return shared.record

    def _runc_of(self, namespace: str, options: CreateOptions) -> dict[str, Any]:
        """How runc is called for a container: what it takes to delete it when its shim is gone."""
        chosen = _options(options.runtime.options)
        root = os.path.join(chosen.root or self._runc_root, namespace)
        os.makedirs(root, 0o700, exist_ok=True)
        return {"runc": chosen.binary_name or self._runc, "runc_root": root, "systemd_cgroup": chosen.systemd_cgroup}

    def _fork(self, namespace: str, id: str, bundle: Path, options: CreateOptions, group: str) -> Mapping[str, Any]:
        """Start a shim, and write what is needed to find it again; returns that."""
        folder = self._state / "s"
        folder.mkdir(mode=0o700, exist_ok=True)
        socket = folder / os.urandom(8).hex()
        known: dict[str, Any] = {"schema": SCHEMA, "kind": "own", "boot_id": bundles.boot_id(), "group": group}
        known |= self._runc_of(namespace, options)
        record = {"version": 3, "address": f"unix://{socket}", "protocol": "ttrpc", "corten": known}
        bundles.write_bootstrap(bundle, record)  # before the fork: whatever happens then, the shim can be found
        known["pid"], _ = self._workers.detach(TARGET, settings.encode(self._told(namespace, id, socket, options)))
        known["started"] = pids.started(known["pid"])
        bundles.write_record(bundle, record)
        return record

    def _told(self, namespace: str, id: str, socket: Path, options: CreateOptions) -> dict[str, str]:
        return {
            "namespace": namespace,
            "id": id,
            "address": self._ttrpc_address.removesuffix(".ttrpc"),
            "socket": str(socket),
            "console": f"{socket}.t",
            "ttrpc_address": self._ttrpc_address,
            "runc": self._runc,
            "runc_root": self._runc_root,
            "max_execs": str(self._max_execs),
            "runc_deadline": str(self._runc_deadline),
            "shim_cgroup": _options(options.runtime.options).shim_cgroup,
        }

    def _direct(self) -> bool:
        """Whether the runc that is installed now may be passed by; asked again when the file changes."""
        stamp = runc.stamp(self._runc)
        if stamp is None:
            return False
        if stamp != self._runc_stamp:
            self._runc_stamp, self._runc_tried = stamp, runc.tried(stamp[0])
        return self._runc_tried

    def _remove(self, id: str, bundle: Path) -> Exit:
        record = bundles.read_bootstrap(bundle)
        known: Mapping[str, Any] = record.get("corten") or {}
        self._groups.leave(bundle)
        address, pid = str(record.get("address", "")), _init_pid(bundle)
        last = not known.get("group") or not self._groups.others(address)
        try:
            if known.get("boot_id") == bundles.boot_id():
                if last:
                    pids.kill(int(known.get("pid", 0)), int(known.get("started", 0)))
                _delete(id, bundle, known)
        finally:
            mount.unmount_all(bundle / "rootfs")
            if last:
                self._remove_sockets(address)
        return Exit(pid, KILLED, time.time_ns())

    def _remove_sockets(self, address: str) -> None:
        name = Path(address.removeprefix("unix://")).name
        for path in self._state.glob(f"s/{name}*") if name else ():
            path.unlink(missing_ok=True)


@cache
def _program() -> str:
    """Where the shim is installed as a program; empty if it is not."""
    beside = Path(sys.executable).with_name(names.OWN_PROGRAM)
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(names.OWN_PROGRAM) or ""


def _endpoint(record: Mapping[str, Any]) -> ShimEndpoint:
    return ShimEndpoint(str(record["address"]), 3)


def _runs(record: Mapping[str, Any]) -> bool:
    """Whether the process that a record names is still there."""
    known = record["corten"]
    return pids.runs(int(known.get("pid", 0)), int(known.get("started", 0)))


def _options(options: AnyValue | None) -> oci_pb2.Options:
    parsed = oci_pb2.Options()
    if options is not None and options.type_url.endswith(parsed.DESCRIPTOR.full_name):
        parsed.ParseFromString(options.value)
    return parsed


def _delete(id: str, bundle: Path, known: Mapping[str, Any]) -> None:
    """Kill and delete the container of a bundle, and what commands that were killed have left of it."""
    remains.end_commands(str(bundle))
    root = str(known["runc_root"])
    runc.delete(id, str(known["runc"]), root, systemd_cgroup=bool(known.get("systemd_cgroup")))
    try:
        spec = bundles.parse_spec(id, (bundle / "config.json").read_bytes())
    except (OSError, InvalidArgument):
        return  # somebody else has begun to remove the bundle
    remains.sweep(id, root, spec)


def _init_pid(bundle: Path) -> int:
    try:
        return int((bundle / "init.pid").read_text())
    except (OSError, ValueError):
        return 0
