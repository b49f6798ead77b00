"""`start`: find the shim of the container's group or have one forked, and answer with its address.

Two ways to be asked. The old one: flags, environment, the runtime's options on standard input, and the address as the
answer. The bootstrap protocol: all in one message on standard input, and a message as the answer.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from corten.errors import InvalidArgument
from corten.zygote import standing

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from ..groups import group_of
from ..shim import settings
from ..shim.facts import spec_facts
from . import place, runc

if TYPE_CHECKING:
    from corten.api.runtime.bootstrap.v1 import bootstrap_pb2

TARGET, PRELOAD = "corten_runtimes.shim.entry:run", ("corten_runtimes.shim.warm",)
OPTIONS = "containerd.runc.v1.Options"


class Asked(NamedTuple):
    """What a start is asked for; `options` is the value of runc's options, empty for none."""

    namespace: str
    id: str
    grpc_address: str
    ttrpc_address: str
    socket_dir: str = ""
    options: bytes = b""
    bootstrap: bool = False


def asked(flags: Mapping[str, str], environ: Mapping[str, str], message: bytes) -> Asked:
    """What flags, environment and standard input ask for together."""
    namespace, id = flags["namespace"], flags["id"]
    address = flags.get("address", "")
    ttrpc_address = environ.get("TTRPC_ADDRESS") or (address and f"{address}.ttrpc")
    params = _bootstrap(message, namespace, id)
    if params is None:
        return Asked(namespace, id, address, ttrpc_address, options=_options(message))
    options = next((e.value.value for e in params.extensions if e.value.type_url.endswith(OPTIONS)), b"")
    return Asked(
        namespace, id, params.containerd_grpc_address or address, params.containerd_ttrpc_address or ttrpc_address,
        params.socket_dir, options, bootstrap=True,
    )  # fmt: skip


def start(asked: Asked, bundle: str) -> bytes:
    """Have a shim for the bundle; returns what to print. Raises InvalidArgument for its spec, Unavailable."""
    folder = place.folder(bundle)
    with standing.locked(folder):
        spec = _spec(bundle)
        group = group_of("", spec) or asked.id
        path = place.socket(asked.socket_dir or folder, asked.grpc_address, asked.namespace, group)
        _write(f"{bundle}/{place.RECORD}", path.encode())
        _write(f"{bundle}/facts.json", json.dumps({**spec_facts(spec), "direct": runc.tried(folder)}).encode())
        if not place.listens(path):
            _fork(asked, folder, path, group)
    address = f"unix://{path}"
    if not asked.bootstrap:
        _write(f"{bundle}/address", address.encode())
        return address.encode()
    from corten.api.runtime.bootstrap.v1.bootstrap_pb2 import BootstrapResult

    return BootstrapResult(version=3, address=address, protocol="ttrpc").SerializeToString()


def _fork(asked: Asked, folder: str, path: str, group: str) -> None:
    os.makedirs(os.path.dirname(path), 0o711, exist_ok=True)
    told = {
        "namespace": asked.namespace,
        "id": group,
        "address": asked.grpc_address,
        "socket": path,
        "console": f"{path}.t",
        "ttrpc_address": asked.ttrpc_address,
        "runc": runc.BINARY,
        "runc_root": runc.ROOT,
        "records": "yes",
        "shim_cgroup": _shim_cgroup(asked.options),
    }
    standing.borrow(folder, PRELOAD).detach(TARGET, settings.encode(told))


def _spec(bundle: str) -> dict[str, Any]:
    try:
        with open(f"{bundle}/config.json", "rb") as file:
            spec = json.load(file)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"bundle {bundle}: its config.json cannot be read: {error}") from None
    if not isinstance(spec, dict):
        raise InvalidArgument(f"bundle {bundle}: its config.json is not an object")
    return spec


def _bootstrap(message: bytes, namespace: str, id: str) -> "bootstrap_pb2.BootstrapParams | None":
    """The message of the bootstrap protocol; None for anything else, which may be of a form that parses as one."""
    if not message:
        return None
    from corten.api.runtime.bootstrap.v1.bootstrap_pb2 import BootstrapParams
    from google.protobuf.message import DecodeError

    try:
        params = BootstrapParams.FromString(message)
    except DecodeError:
        return None
    return params if (params.instance_id, params.namespace) == (id, namespace) else None


def _options(message: bytes) -> bytes:
    """Runc's options in the message Any that older callers write."""
    if not message:
        return b""
    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.protobuf.message import DecodeError

    try:
        packed = AnyMessage.FromString(message)
    except DecodeError:
        return b""
    return packed.value if packed.type_url.endswith(OPTIONS) else b""


def _shim_cgroup(options: bytes) -> str:
    if not options:
        return ""
    from corten.api.types.runc.options.oci_pb2 import Options

    return str(Options.FromString(options).shim_cgroup)


def _write(path: str, data: bytes) -> None:
    temporary = f"{path}.new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    os.rename(temporary, path)
