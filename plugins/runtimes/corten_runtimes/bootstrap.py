"""The start of a shim v2 binary as messages, without I/O: what it reads on stdin, what it prints.

Since containerd 2.3 a shim reads `BootstrapParams` and prints `BootstrapResult`, both protobuf. Those before read
flags and environment, which are given too, and print an address (2.0 and before), or a JSON object with address,
version and protocol.
"""

import json
import re

from corten.api.runtime.bootstrap.v1 import bootstrap_pb2 as pb
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import ShimEndpoint
from corten.errors import InvalidArgument, Unimplemented
from corten.wire import virtual
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from .sandbox.endpoints import require_ttrpc

VERSIONS = (2, 3)
PROTOCOLS = ("ttrpc", "grpc")
TAKEN_FOR_OPTIONS = re.compile("type with url|proto|unmarshal", re.IGNORECASE)
"""In the errors of shims before 2.3, which take `BootstrapParams` for an Any with options."""
OPTIONS_ON_STDIN = ("shim-runc-v1", "shim-runhcs-v1")
"""In the names of shims that read their runtime's options on stdin, and nothing else."""


def params(
    *,
    id: str,
    namespace: str,
    grpc_address: str,
    ttrpc_address: str,
    binary: str,
    version: str,
    socket_dir: str = "",
    debug: bool = False,
    options: AnyValue | None = None,
) -> bytes:
    """What the shim reads."""
    message = pb.BootstrapParams(
        instance_id=id, namespace=namespace, containerd_version=version, containerd_ttrpc_address=ttrpc_address,
        containerd_grpc_address=grpc_address, containerd_binary=binary,
        log_level=pb.LOG_LEVEL_DEBUG if debug else pb.LOG_LEVEL_INFO,
    )  # fmt: skip
    if socket_dir:
        message.socket_dir = socket_dir
    if options is not None:
        extension = message.extensions.add()
        extension.value.type_url, extension.value.value = options.type_url, options.value
    return message.SerializeToString()


def packed(options: AnyValue | None) -> bytes:
    """What a shim before 2.3 reads: its runtime's options, or nothing."""
    return b"" if options is None else AnyMessage(type_url=options.type_url, value=options.value).SerializeToString()


def endpoint(binary: str, output: bytes) -> ShimEndpoint:
    """What it printed. Raises InvalidArgument if that cannot be read, Unimplemented for what is not spoken here."""
    text = output.strip()
    if not text:
        raise InvalidArgument(f"shim {binary}: it has ended without telling where it listens")
    if text.startswith((b"{", b"/")) or text[:1].isalpha():
        return _checked(binary, *_legacy(binary, text.decode(errors="replace")))
    try:
        result = pb.BootstrapResult.FromString(output)
    except DecodeError:
        raise InvalidArgument(f"shim {binary}: its answer cannot be read: {output[:200]!r}") from None
    return _checked(binary, result.address, result.version, result.protocol)


def _legacy(binary: str, text: str) -> tuple[str, int, str]:
    if not text.startswith("{"):
        return text, 2, "ttrpc"
    try:
        answer = json.loads(text)
        return str(answer["address"]), int(answer["version"]), str(answer.get("protocol") or "ttrpc")
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(f"shim {binary}: its answer cannot be read: {error}: {text[:200]!r}") from None


def _checked(binary: str, address: str, version: int, protocol: str) -> ShimEndpoint:
    protocol = protocol.lower()
    if protocol not in PROTOCOLS or version not in VERSIONS:
        raise Unimplemented(
            f"shim {binary}: it speaks version {version} over {protocol or 'nothing'}: "
            "versions 2 and 3 over ttrpc and gRPC are spoken here"
        )
    if address.startswith(virtual.SCHEMES):
        require_ttrpc(protocol, address, f"shim {binary}")
        return ShimEndpoint(address, version, protocol)
    if not address.startswith(("unix://", "/")):
        raise InvalidArgument(f"shim {binary}: its answer is not the address of a socket: {address[:200]!r}")
    return ShimEndpoint(address, version, protocol)
