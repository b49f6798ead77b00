"""`-info`: what the runtime is and can, as `containerd.types.RuntimeInfo`."""

import sys

from corten.api.types.runc.options.oci_pb2 import Options
from corten.errors import InvalidArgument
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .. import runc as programs
from . import runc


def info(runtime: str, message: bytes) -> bytes:
    """The answer of the runtime of that name to runc's options, packed in an Any or nothing.

    Raises InvalidArgument, NotFound without runc.
    """
    try:
        packed = Any.FromString(message)
        options = Options.FromString(packed.value) if packed.type_url.endswith(Options.DESCRIPTOR.full_name) else None
    except DecodeError as error:
        raise InvalidArgument(f"the options on standard input cannot be read: {error}") from None
    answer = programs.info(runtime, (options.binary_name if options else "") or runc.BINARY)
    if message:
        answer.options.CopyFrom(packed)
    return answer.SerializeToString()
