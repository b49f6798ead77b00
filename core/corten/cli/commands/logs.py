"""`corten logs`."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from corten.errors import FailedPrecondition, InvalidArgument, NotFound

from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.logs import Entry, LogFile

PAUSE = 0.1
"""Seconds between looks at a log that is followed."""
AGAIN = 1.0
"""Seconds between looks whether a container has been started again."""


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until the container ends for good.")
@click.option("-n", "--tail", type=click.IntRange(0), help="Only so many lines from the end.")
@click.option("-t", "--timestamps", is_flag=True, help="The time before each line, if the log has it.")
@click.option("--since", default="", help="Only what came after: an RFC 3339 time, or a span such as 90s, 10m, 2h, 1d.")
@click.argument("container")
@click.pass_obj
def logs(session: Session, container: str, follow: bool, tail: int | None, timestamps: bool, since: str) -> None:
    """Print what CONTAINER, started with `run -d` or `-t`, has written; its errors go to standard error."""
    show = Printer(timestamps, moment(since) if since else 0)
    session.run(lambda client: _logs(client, container, follow, tail, show))


async def _logs(client: Client, id: str, follow: bool, tail: int | None, show: Printer) -> None:
    from corten.client.logs import LOG_LABEL, LogFile, tail_offset

    container = await client.containers.get(id)
    if (path := container.labels.get(LOG_LABEL, "")) == "":
        raise FailedPrecondition(f"container {id!r}: it keeps no log (those started with `corten run -d` or `-t` do)")
    try:
        log = LogFile(path, 0 if tail is None else await asyncio.to_thread(tail_offset, path, tail))
    except (NotFound, FileNotFoundError):
        raise NotFound(
            f"container {id!r}: its log {path} is not there: it was removed, or is on another host"
        ) from None
    try:
        await (_follow(client, id, log, show) if follow else _once(log, show))
    finally:
        log.close()


async def _once(log: LogFile, show: Printer) -> None:
    for entry in log.entries():
        show(entry)
    for entry in log.rest():
        show(entry)


async def _follow(client: Client, id: str, log: LogFile, show: Printer) -> None:
    """Until the container has ended and all that it wrote was shown."""
    ended = asyncio.ensure_future(_ended(client, id))
    try:
        while True:
            over = ended.done()
            for entry in log.entries():
                show(entry)
            if over:
                break
            await asyncio.wait((ended,), timeout=PAUSE)
        await _once(log, show)
    finally:
        ended.cancel()


async def _ended(client: Client, id: str) -> None:
    """Until it has ended, and its restart policy does not have it started again."""
    from corten.client import restarts
    from corten.client.process import Process

    status = 0
    while True:
        with suppress(NotFound):  # it has no task, for now or for good
            status = ended.status if (ended := await Process(client, id).wait()) else 0
        try:
            container = await client.containers.get(id)
        except NotFound:
            return
        if not restarts.again(container.labels, status):
            return
        await asyncio.sleep(AGAIN)


class Printer:
    """Writes entries as they were written: parts without a line feed, errors to standard error."""

    def __init__(self, timestamps: bool, since: int) -> None:
        self._timestamps, self._since = timestamps, since
        self._within: dict[str, bool] = {}

    def __call__(self, entry: Entry) -> None:
        if self._since and not self._is_new(entry):
            return
        out = (sys.stderr if entry.stream == "stderr" else sys.stdout).buffer
        begins = not self._within.get(entry.stream, False)
        if self._timestamps and entry.time and begins:
            out.write(entry.time.encode() + b" ")
        out.write(entry.text + (b"\n" if entry.ends else b""))
        out.flush()
        self._within[entry.stream] = not entry.ends

    def _is_new(self, entry: Entry) -> bool:
        from corten.client.logs import nanoseconds

        try:
            return nanoseconds(entry.time) >= self._since
        except ValueError:
            return True


def moment(text: str, now: float | None = None) -> int:
    """A time or a span before now, in nanoseconds since the epoch. Raises InvalidArgument."""
    from corten.client.logs import nanoseconds

    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit in units and number.isascii() and number.isdigit():
        return int(((time.time() if now is None else now) - int(number) * units[unit]) * 1e9)
    try:
        return nanoseconds(text)
    except ValueError:
        raise InvalidArgument(
            f"since {text!r}: write a time (2026-01-31T12:00:00Z) or a span before now (90s, 10m, 2h, 1d)"
        ) from None
