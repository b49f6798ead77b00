"""`corten events`."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..output import format_option, printable
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.events import Envelope
    from corten.contracts.objects import AnyValue


@click.command()
@format_option
@click.argument("filters", nargs=-1)
@click.pass_obj
def events(session: Session, filters: tuple[str, ...], format: str) -> None:
    """Print what happens in all namespaces until interrupted, one event a line.

    FILTERS are containerd's, e.g. namespace==default or 'topic=="/tasks/exit"'.
    """
    decode = _decoder()

    async def work(client: Client) -> None:
        async for envelope in client.events.subscribe(filters):
            click.echo(_line(envelope, decode(envelope.event), format))

    try:
        session.run(work)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _line(envelope: Envelope, event: object, format: str) -> str:
    when = datetime.fromtimestamp(envelope.timestamp / 1e9, UTC)
    if format == "json":
        return json.dumps(
            {
                "timestamp": envelope.timestamp,
                "namespace": envelope.namespace,
                "topic": envelope.topic,
                "type": envelope.event.type_url,
                "event": event,
            }
        )
    return f"{when:%Y-%m-%d %H:%M:%S.%f} {printable(envelope.namespace)} {envelope.topic} {json.dumps(event)}"


def _decoder() -> Callable[[AnyValue], object]:
    """Events as JSON objects, for the types that Corten's API has; others as the length of their bytes."""
    from google.protobuf import symbol_database
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError

    import corten.api.events as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package.__name__}.{module.name}")
    known = symbol_database.Default()

    def decode(event: AnyValue) -> object:
        try:
            message: Any = known.GetSymbol(event.type_url.rpartition("/")[2])()
            message.ParseFromString(event.value)
        except (KeyError, DecodeError):
            return f"{len(event.value)} bytes of {event.type_url}"
        return MessageToDict(message, preserving_proto_field_name=True)

    return decode
