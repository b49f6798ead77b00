"""The provider of Corten's own shim: forks one from the zygote for each task."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corten.api.types import introspection_pb2
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Exit, ShimEndpoint
from corten.contracts.workers import Workers
from corten.errors import NotFound, Unknown, mapped
from corten.linux import mount
from corten.pools import Pools

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import bundle as bundles
from . import names
from .config import RuncConfig
from .groups import Groups, SharedShim, group_of
from .shim import direct, settings
from .shim.service import spec_facts

SCHEMA = 1
"""Of the `corten` object in bootstrap.json; a newer daemon reads all older ones."""
TARGET = "corten_runtimes.shim.entry:run"
KILLED = 128 + signal.SIGKILL
_FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
_REMOVE_DEADLINE = 30.0


class OwnShim:
    """Handles `io.containerd.runc.v2`, unless it is told to leave that to the binary."""

    def __init__(self, workers: Workers, pools: Pools, state: Path, ttrpc_address: str, config: RuncConfig) -> None:
        self._workers, self._pools, self._state = workers, pools, state
        self._ttrpc_address, self._runc, self._enabled = ttrpc_address, config.runc, config.shim != "binary"
        self._runc_root = config.runc_root or str(state / "runc")
        self._max_execs = config.max_execs
        self._runc_version: tuple[str, int, int] = ("", 0, 0)
        self._runc_tried = False
        self._groups = Groups(_runs)

    def handles(self, runtime: str) -> bool:
        return self._enabled and runtime == names.OWN

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        return await self._pools.run("runtime", self._start, namespace, id, Path(bundle), options)

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        return await self._pools.run("runtime", self._remove, id, Path(bundle))

    def adopt(self, bundle: str) -> None:
        """Know again who shares a shim."""
        record = bundles.read_bootstrap(Path(bundle))
        if group := (record.get("corten") or {}).get("group"):
            self._groups.recall((Path(bundle).parent.name, str(group)), Path(bundle), record)

    def retire(self, bundle: str) -> bool:
        return self._groups.leave(Path(bundle))

    def release(self, bundle: str) -> None:
        """Nothing else is held for a shim."""

    def streams(self, namespace: str, id: str, bundle: str) -> None:
        """It knows all schemes itself."""

    async def plugin_info(self, runtime: str, options: AnyValue | None) -> AnyValue:
        binary = _options(options).binary_name or self._runc
        info = introspection_pb2.RuntimeInfo(name=runtime or names.OWN)
        info.version.version = (
            (await self._pools.run("runtime", _output, binary, "--version"))
            .split("\n")[0]
            .removeprefix("runc version ")
        )
        features = await self._pools.run("runtime", _output, binary, "features")
        info.features.type_url, info.features.value = _FEATURES, features.encode()
        if options is not None:
            info.options.type_url, info.options.value = options.type_url, options.value
        return AnyValue(info.DESCRIPTOR.full_name, info.SerializeToString())

    def _start(self, namespace: str, id: str, bundle: Path, options: CreateOptions) -> ShimEndpoint:
        spec = bundles.parse_spec(id, options.spec)
        facts = {**spec_facts(spec), "direct": self._direct()}
        bundles.write_private(bundle / "facts.json", json.dumps(facts).encode())
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
        known["pid"], _ = self._workers.detach(TARGET, settings.encode(self._told(namespace, id, socket)))
        known["started"] = _started(known["pid"])
        bundles.write_record(bundle, record)
        return record

    def _told(self, namespace: str, id: str, socket: Path) -> dict[str, str]:
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
        }

    def _direct(self) -> bool:
        """Whether the runc that is installed now may be passed by; asked again when the file changes."""
        path = shutil.which(self._runc)
        if path is None:
            return False
        stat = os.stat(path)
        version = (path, stat.st_ino, stat.st_mtime_ns)
        if version != self._runc_version:
            answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
            self._runc_version, self._runc_tried = version, direct.is_tried(answer.stdout)
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
                    _kill_shim(int(known.get("pid", 0)), int(known.get("started", 0)))
                _delete_container(id, known)
        finally:
            mount.unmount_all(bundle / "rootfs")
            if last:
                self._remove_sockets(address)
        return Exit(pid, KILLED, time.time_ns())

    def _remove_sockets(self, address: str) -> None:
        name = Path(address.removeprefix("unix://")).name
        for path in self._state.glob(f"s/{name}*") if name else ():
            path.unlink(missing_ok=True)


def _endpoint(record: Mapping[str, Any]) -> ShimEndpoint:
    return ShimEndpoint(str(record["address"]), 3)


def _runs(record: Mapping[str, Any]) -> bool:
    """Whether the process that a record names is still there."""
    known = record["corten"]
    return bool(known.get("started")) and _started(int(known["pid"])) == known["started"]


def _options(options: AnyValue | None) -> oci_pb2.Options:
    parsed = oci_pb2.Options()
    if options is not None and options.type_url.endswith(parsed.DESCRIPTOR.full_name):
        parsed.ParseFromString(options.value)
    return parsed


def _init_pid(bundle: Path) -> int:
    try:
        return int((bundle / "init.pid").read_text())
    except (OSError, ValueError):
        return 0


def _started(pid: int) -> int:
    """When a process was started, in ticks since boot (proc(5), stat field 22): pid and this name it for good."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _kill_shim(pid: int, started: int) -> None:
    if pid and started and _started(pid) == started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _delete_container(id: str, known: Mapping[str, Any]) -> None:
    if not os.path.isdir(os.path.join(str(known["runc_root"]), id)):
        return  # runc knows nothing of it
    flags = ["--systemd-cgroup"] if known.get("systemd_cgroup") else []
    command = [str(known["runc"]), "--root", str(known["runc_root"]), *flags, "delete", "--force", id]
    with mapped(f"task {id!r}: runc delete --force", {FileNotFoundError: NotFound}):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_REMOVE_DEADLINE, check=False)
    if done.returncode and "does not exist" not in done.stderr:
        raise Unknown(f"task {id!r}: runc delete --force failed: {done.stderr.strip()}")


def _output(binary: str, verb: str) -> str:
    if shutil.which(binary) is None:
        raise NotFound(f"runtime {binary}: no such program on PATH")
    done = subprocess.run([binary, verb], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    return done.stdout.decode() if done.returncode == 0 else ""
