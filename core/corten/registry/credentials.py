"""Who one is at a registry, and where that is looked up."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import field

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or an identity token that token servers accept in their stead."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    header: str = field(default="", repr=False)
    """A ready value of the header Authorization, which wins over all else."""


Lookup = Callable[[str], Credentials | Awaitable[Credentials | None] | None]
"""The credentials for a registry host (`docker.io`, `localhost:5000`), or None to go unnamed."""


async def looked_up(lookup: Lookup, host: str) -> Credentials | None:
    """What `lookup` says, waited for if need be."""
    found = lookup(host)
    return await found if inspect.isawaitable(found) else found


def anonymous(host: str) -> None:
    """Nobody, everywhere."""
