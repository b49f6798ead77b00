"""`cortend publish`: hands an event that a shim gives on stdin to the running daemon, as `containerd publish` does."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from corten.api.services.ttrpc.events.v1 import events_pb2
from corten.errors import InvalidArgument

SERVICE = "containerd.services.events.ttrpc.v1.Events"
DEADLINE = 5.0
"""Seconds after which a publish gives up: a shim waits for it."""


def publish(address: str, namespace: str, topic: str) -> None:
    """Forward the event over ttrpc. Raises InvalidArgument for stdin that is no Any, Unavailable without a daemon."""
    event = read_event(sys.stdin.buffer.read())
    ttrpc = os.environ.get("TTRPC_ADDRESS") or f"{address}.ttrpc"
    asyncio.run(_forward(ttrpc.removeprefix("unix://"), namespace, topic, event))


def read_event(raw: bytes) -> Any:
    """The message of the well-known type Any in those bytes. Raises InvalidArgument."""
    event = Any()
    try:
        event.ParseFromString(raw)
    except DecodeError as error:
        raise InvalidArgument(f"event on stdin: is not a google.protobuf.Any: {error}") from error
    return event


async def _forward(address: str, namespace: str, topic: str, event: Any) -> None:
    from corten.wire.ttrpc.client import TtrpcClient

    request = events_pb2.ForwardRequest()
    envelope = request.envelope
    envelope.timestamp.FromNanoseconds(time.time_ns())
    envelope.namespace, envelope.topic = namespace, topic
    envelope.event.CopyFrom(event)
    client = await TtrpcClient.connect(address, timeout=DEADLINE)
    try:
        await client.call(SERVICE, "Forward", request, Empty, timeout=DEADLINE)
    finally:
        await client.close()
