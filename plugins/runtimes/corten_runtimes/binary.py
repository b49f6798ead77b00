"""The provider of any shim v2 binary: containerd's start and delete protocol (its docs/runtime-v2.md).

The program is run as `… -namespace N -address A -publish-binary P -id I start` in the bundle, and prints where its
server listens: an address, or a JSON object with address, version and protocol. `delete` cleans up after a crash.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corten.api.runtime.task.v2 import shim_pb2
from corten.api.types import introspection_pb2
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Exit, ShimEndpoint
from corten.errors import CortenError, DeadlineExceeded, InvalidArgument, NotFound, Unimplemented, Unknown, mapped
from corten.linux import mount
from corten.pools import Pools
from corten.wire.ttrpc.client import TtrpcClient
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import bundle as bundles
from . import names
from .copier import CopiedStreams, Copier

log = logging.getLogger(__name__)
START_DEADLINE = 30.0
DELETE_DEADLINE = 30.0
"""Seconds that the program may take."""
SHUTDOWN_DEADLINE = 3.0


class BinaryShim:
    """Handles every runtime name that the own shim does not."""

    def __init__(self, copier: Copier, pools: Pools, grpc_address: str, ttrpc_address: str) -> None:
        self._copier, self._pools = copier, pools
        self._grpc_address, self._ttrpc_address = grpc_address, ttrpc_address
        self._logs: dict[str, int] = {}

    def handles(self, runtime: str) -> bool:
        return True

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        binary = find(options.runtime_path or options.runtime.name)
        path = Path(bundle)
        bundles.write_private(path / "shim-binary-path", binary.encode())
        self.adopt(bundle)
        output = await self._run(binary, namespace, id, path, ["start"], START_DEADLINE)
        endpoint = parse_endpoint(binary, output.decode(errors="replace"))
        record: dict[str, Any] = {"version": endpoint.version, "address": endpoint.address, "protocol": "ttrpc"}
        record["corten"] = {"schema": 1, "kind": "binary", "boot_id": bundles.boot_id()}
        bundles.write_bootstrap(path, record)
        return endpoint

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        path = Path(bundle)
        self.release(bundle)
        await self.streams(namespace, id, bundle).close("")
        ended = Exit(0, 128 + signal.SIGKILL, time.time_ns())
        await _shut_down(bundles.read_bootstrap(path), id)  # before `delete`, which removes its socket
        try:
            binary = (path / "shim-binary-path").read_text()
            output = await self._run(binary, namespace, id, path, ["-bundle", bundle, "delete"], DELETE_DEADLINE)
            response = shim_pb2.DeleteResponse.FromString(output)
            ended = Exit(response.pid, response.exit_status, response.exited_at.ToNanoseconds() or ended.exited_at)
        except (OSError, DecodeError) as error:
            log.warning("task %s/%s: its shim cannot clean up: %s", namespace, id, error)
        await self._pools.run("runtime", mount.unmount_all, path / "rootfs")
        return ended

    def streams(self, namespace: str, id: str, bundle: str) -> CopiedStreams:
        return CopiedStreams(self._copier, self._pools, namespace, id, bundle)

    async def plugin_info(self, runtime: str, options: AnyValue | None) -> AnyValue:
        binary = find(runtime)
        stdin = b""
        if options is not None:
            request = introspection_pb2.RuntimeRequest(runtime_path=runtime)
            request.options.type_url, request.options.value = options.type_url, options.value
            stdin = request.options.SerializeToString()
        output = await self._communicate(binary, ["-info"], None, {}, START_DEADLINE, stdin)
        try:
            info = introspection_pb2.RuntimeInfo.FromString(output)
        except DecodeError:
            raise Unimplemented(f"runtime {binary}: it does not answer -info") from None
        return AnyValue(info.DESCRIPTOR.full_name, info.SerializeToString())

    def adopt(self, bundle: str) -> None:
        """Read what the shim writes to the FIFO `log` of its bundle, so that it never waits for a reader."""
        self._copier.recall(bundle)
        path = f"{bundle}/log"
        with mapped(f"shim log {path}"):
            if not os.path.lexists(path):
                os.mkfifo(path, 0o600)
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                return
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._logs[bundle] = fd
        asyncio.get_running_loop().add_reader(fd, self._relay, bundle)

    def retire(self, bundle: str) -> bool:
        """Always asked to end: which tasks share a shim is its own decision, and so is whether it ends."""
        return True

    async def close(self) -> None:
        """Stop reading logs, and leave the copier to itself."""
        for bundle in list(self._logs):
            self.release(bundle)
        await self._copier.disconnect()

    def _relay(self, bundle: str) -> None:
        try:
            text = os.read(self._logs[bundle], 65536).decode(errors="replace")
        except BlockingIOError:
            return
        for line in text.splitlines():
            log.info("shim of %s: %s", Path(bundle).name, line)

    def release(self, bundle: str) -> None:
        """Stop reading its log."""
        fd = self._logs.pop(bundle, None)
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    async def _run(
        self, binary: str, namespace: str, id: str, bundle: Path, action: list[str], deadline: float
    ) -> bytes:
        publish = shutil.which("cortend") or sys.argv[0]
        flags = ["-namespace", namespace, "-address", self._grpc_address, "-publish-binary", publish, "-id", id]
        environ = {
            "TTRPC_ADDRESS": self._ttrpc_address,
            "GRPC_ADDRESS": self._grpc_address,
            "NAMESPACE": namespace,
            "MAX_SHIM_VERSION": "3",
        }
        return await self._communicate(binary, [*flags, *action], bundle, environ, deadline, b"")

    async def _communicate(
        self, binary: str, words: list[str], cwd: Path | None, environ: dict[str, str], deadline: float, stdin: bytes
    ) -> bytes:
        def run() -> subprocess.CompletedProcess[bytes]:
            # In a thread and not on the loop: uvloop leaves the child's end of a pipe open in the program, which a shim
            # hands on to the server that it starts, and the end of its output never comes.
            whole = {**os.environ, **environ}
            return subprocess.run(
                [binary, *words], cwd=cwd, env=whole, input=stdin, capture_output=True, timeout=deadline, check=False
            )

        try:
            with mapped(f"shim {binary}", {FileNotFoundError: NotFound}):
                done = await self._pools.run("runtime", run)
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(f"shim {binary} {words[-1]}: not done in {deadline:.0f} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
            raise Unknown(f"shim {binary} {words[-1]}: ended with status {done.returncode}: {said}")
        return done.stdout


async def _shut_down(record: Mapping[str, Any], id: str) -> None:
    """Ask a shim that still answers to end, unless it has other tasks, which it knows best. Raises nothing."""
    try:
        client = await TtrpcClient.connect(str(record["address"]), timeout=SHUTDOWN_DEADLINE)
        try:
            service = f"containerd.task.v{record.get('version', 2)}.Task"
            await client.call(service, "Shutdown", shim_pb2.ShutdownRequest(id=id), Empty, timeout=SHUTDOWN_DEADLINE)
        finally:
            await client.close()
    except (CortenError, KeyError):
        pass


def find(runtime: str) -> str:
    """The absolute path of a runtime's shim. Raises InvalidArgument for the name, NotFound for the program."""
    binary = names.shim_binary(runtime)
    path = shutil.which(binary)
    if path is None:
        raise NotFound(f"runtime {runtime!r}: no program {binary} on PATH (install it, or give its absolute path)")
    return os.path.abspath(path)


def parse_endpoint(binary: str, output: str) -> ShimEndpoint:
    """What `start` printed: an address, or a JSON object. Raises InvalidArgument for other than ttrpc on a path."""
    text, version = output.strip(), 2
    if text.startswith("{"):
        try:
            answer = json.loads(text)
            text, version, protocol = answer["address"], int(answer["version"]), answer.get("protocol", "ttrpc")
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidArgument(f"shim {binary}: its answer cannot be read: {error}: {text!r}") from None
        if protocol != "ttrpc" or version not in (2, 3):
            raise Unimplemented(f"shim {binary}: it speaks version {version} over {protocol}: only ttrpc 2 and 3 here")
    if not text.startswith(("unix://", "/")):
        raise InvalidArgument(f"shim {binary}: its answer is not the address of a socket: {text!r}")
    return ShimEndpoint(text, version)
