"""Copying from a source to a sink, to the end."""

from contextlib import suppress

from .model import Sink, Source


async def pump(source: Source, sink: Sink | None) -> None:
    """Until the source ends. Once nobody takes it (or from the beginning), the rest is read and dropped.

    So a process never stands still because its client has gone.
    """
    while data := await source.read():
        if sink is not None:
            try:
                await sink.write(data)
            except ConnectionError:
                sink = None
    if sink is not None:
        with suppress(ConnectionError):
            await sink.close()
