"""The same step for each of several objects, one failing without keeping the others from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from corten.errors import CortenError

from ..reporting import each
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client


def for_each(session: Session, names: tuple[str, ...], step: Callable[[Client, str], Awaitable[object]]) -> int:
    """Do it one after the other; prints the names of those that went well. Returns the exit code."""
    return each(names, tried(session, names, step))


def tried(
    session: Session, names: tuple[str, ...], step: Callable[[Client, str], Awaitable[object]]
) -> dict[str, CortenError]:
    """Do it one after the other; what went wrong, by name."""

    async def work(client: Client) -> dict[str, CortenError]:
        failures: dict[str, CortenError] = {}
        for name in names:
            try:
                await step(client, name)
            except CortenError as error:
                failures[name] = error
        return failures

    return session.run(work)
