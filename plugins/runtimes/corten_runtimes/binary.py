"""The provider of any shim v2 binary: containerd's start and delete protocol (its docs/runtime-v2.md).

The program is run as `… -namespace N -address A -publish-binary P -id I start` in the bundle, with the same and more
on stdin, and prints where its server listens (see `bootstrap`). `delete` cleans up after a crash.
"""

import asyncio
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

from corten import CONTAINERD_VERSION
from corten.api.runtime.task.v2 import shim_pb2
from corten.api.types import introspection_pb2
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Exit, ShimEndpoint
from corten.errors import CortenError, DeadlineExceeded, InvalidArgument, NotFound, Unimplemented, Unknown, mapped
from corten.linux import mount
from corten.pools import Pools
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import bootstrap, names
from . import bundle as bundles
from .config import BinaryConfig
from .copier import CopiedStreams, Copier
from .dial import dial

log = logging.getLogger(__name__)
START_DEADLINE = 30.0
DELETE_DEADLINE = 30.0
"""Seconds that the program may take."""
SHUTDOWN_DEADLINE = 3.0
SOCKET_DIR_MAX = 42
"""Bytes, so that the path of a socket in it, with a digest for its name, is not too long (unix(7))."""


class BinaryShim:
    """Handles every runtime name that the own shim does not."""

    def __init__(
        self, copier: Copier, pools: Pools, grpc_address: str, ttrpc_address: str, config: BinaryConfig
    ) -> None:
        self._copier, self._pools, self._socket_dir = copier, pools, _socket_dir(config.socket_dir)
        self._old: set[tuple[str, int, int]] = set()
        """Programs found not to know the bootstrap protocol."""
        self._environ = dict(_variable(word) for word in config.env)
        self._grpc_address, self._ttrpc_address = grpc_address, ttrpc_address
        self._logs: dict[str, int] = {}

    def handles(self, runtime: str) -> bool:
        return True

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        binary = find(options.runtime_path or options.runtime.name)
        path = Path(bundle)
        bundles.write_private(path / "shim-binary-path", binary.encode())
        self.adopt(bundle)
        endpoint = bootstrap.endpoint(binary, await self._begin(binary, namespace, id, path, options.runtime.options))
        record: dict[str, Any] = {
            "version": endpoint.version,
            "address": endpoint.address,
            "protocol": endpoint.protocol,
        }
        record["corten"] = {"schema": 1, "kind": "binary", "boot_id": bundles.boot_id()}
        bundles.write_bootstrap(path, record)
        return endpoint

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        path = Path(bundle)
        try:
            await self.streams(namespace, id, bundle).close("")
            await _shut_down(bundles.read_bootstrap(path), id)  # before `delete`, which removes its socket
            return await self._delete(namespace, id, path)
        finally:
            await self._pools.run("runtime", mount.unmount_all, path / "rootfs")
            self.release(bundle)  # not before: a shim that just begins waits for its log to be read

    async def _delete(self, namespace: str, id: str, bundle: Path) -> Exit:
        """Run `delete`, and read what it prints."""
        ended = Exit(0, 128 + signal.SIGKILL, time.time_ns())
        try:
            binary = (bundle / "shim-binary-path").read_text()
            output = await self._run(binary, namespace, id, bundle, ["-bundle", str(bundle), "delete"], DELETE_DEADLINE)
            response = shim_pb2.DeleteResponse.FromString(output)
        except (OSError, DecodeError) as error:
            log.warning("task %s/%s: its shim cannot clean up: %s", namespace, id, error)
            return ended
        if not output:
            return ended
        return Exit(response.pid, response.exit_status, response.exited_at.ToNanoseconds() or ended.exited_at)

    async def prepare(self) -> None:
        """A foreign program cannot wait for what it will be told."""

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

    async def _begin(self, binary: str, namespace: str, id: str, bundle: Path, options: AnyValue | None) -> bytes:
        """Run `start`. A shim that takes what it reads for options, as those before 2.3 do, gets just these."""
        version = await self._pools.run("runtime", _identity, binary)
        old = version in self._old or any(name in os.path.basename(binary) for name in bootstrap.OPTIONS_ON_STDIN)
        if not old:
            told = self._told(namespace, id, options)
            try:
                return await self._run(binary, namespace, id, bundle, ["start"], START_DEADLINE, told)
            except Unknown as error:
                if not bootstrap.TAKEN_FOR_OPTIONS.search(error.message):
                    raise
                self._old.add(version)
        return await self._run(binary, namespace, id, bundle, ["start"], START_DEADLINE, bootstrap.packed(options))

    def _told(self, namespace: str, id: str, options: AnyValue | None) -> bytes:
        return bootstrap.params(
            id=id, namespace=namespace, grpc_address=self._grpc_address, ttrpc_address=self._ttrpc_address,
            binary=_publisher(), version=CONTAINERD_VERSION, socket_dir=self._socket_dir,
            debug=logging.getLogger().isEnabledFor(logging.DEBUG), options=options,
        )  # fmt: skip

    async def _run(
        self,
        binary: str,
        namespace: str,
        id: str,
        bundle: Path,
        action: list[str],
        deadline: float,
        stdin: bytes = b"",
    ) -> bytes:
        flags = ["-namespace", namespace, "-address", self._grpc_address, "-publish-binary", _publisher(), "-id", id]
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            flags.append("-debug")
        environ = {
            "GOMAXPROCS": "2",
            "TTRPC_ADDRESS": self._ttrpc_address,
            "GRPC_ADDRESS": self._grpc_address,
            "NAMESPACE": namespace,
            "MAX_SHIM_VERSION": "2",
            **self._environ,
        }
        return await self._communicate(binary, [*flags, *action], bundle, environ, deadline, stdin)

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
    if not record.get("address"):
        return
    try:
        endpoint = bundles.endpoint(record)
        client = await dial(endpoint, SHUTDOWN_DEADLINE, lambda _: None)
        try:
            service = f"containerd.task.v{endpoint.version}.Task"
            await client.call(service, "Shutdown", shim_pb2.ShutdownRequest(id=id), Empty, timeout=SHUTDOWN_DEADLINE)
        finally:
            await client.close()
    except CortenError:
        pass


def _identity(binary: str) -> tuple[str, int, int]:
    """What changes when another program is installed under the path."""
    with mapped(f"shim {binary}"):
        known = os.stat(binary)
    return binary, known.st_ino, known.st_mtime_ns


def _publisher() -> str:
    """The program that shims of old call to publish an event."""
    return shutil.which("cortend") or sys.argv[0]


def _socket_dir(path: str) -> str:
    if path and (not path.startswith("/") or len(os.fsencode(os.path.normpath(path))) > SOCKET_DIR_MAX):
        raise InvalidArgument(f"socket_dir {path!r}: not an absolute path of at most {SOCKET_DIR_MAX} bytes")
    return os.path.normpath(path) if path else ""


def _variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise InvalidArgument(f"env {word!r} of shims: not of the form NAME=VALUE")
    return name, value


def find(runtime: str) -> str:
    """The absolute path of a runtime's shim. Raises InvalidArgument for the name, NotFound for the program."""
    binary = names.shim_binary(runtime)
    path = shutil.which(binary)
    if path is None:
        where = "there is no such program" if os.path.isabs(binary) else f"no program {binary} on PATH"
        raise NotFound(f"runtime {runtime!r}: {where} (install it, or give its absolute path)")
    return os.path.abspath(path)
