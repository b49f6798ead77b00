"""The RPCs of `corten.shim.v1.Streams`: log and attach, private between daemon and shim, beside the task service."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from corten.api.shim.v1 import streams_pb2 as pb
from corten.errors import FailedPrecondition
from google.protobuf.empty_pb2 import Empty

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import Steps
from .process import Process
from .streams import Streams

STREAMS = "corten.shim.v1.Streams"


def stream_methods(find: Callable[[str, str], Process]) -> Mapping[str, tuple[Any, Callable[[Any], Steps[Empty]]]]:
    """The table for a server; `find` gives a process by task and exec id."""

    def attach(request: pb.AttachRequest) -> Steps[Empty]:
        streams = _streams(find(request.id, request.exec_id))
        streams.attach(request.stdin, request.stdout, request.stderr, request.holds_up)
        return Empty()
        yield

    def reopen_log(request: pb.ReopenLogRequest) -> Steps[Empty]:
        _streams(find(request.id, request.exec_id)).reopen_log()
        return Empty()
        yield

    return {"Attach": (pb.AttachRequest, attach), "ReopenLog": (pb.ReopenLogRequest, reopen_log)}


def _streams(process: Process) -> Streams:
    if process.streams is None:
        raise FailedPrecondition(f"{process.name}: it was not started")
    if process.outcome is not None:
        raise FailedPrecondition(f"{process.name}: it has ended")
    return process.streams
