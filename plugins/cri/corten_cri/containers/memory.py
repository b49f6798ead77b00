"""Sees the kernel kill processes for a container's memory limit, which is the reason of the exit that follows."""

from __future__ import annotations

from contextlib import aclosing

from corten.events.envelopes import unpacked

from ..contracts import NAMESPACE
from ..parts import Parts
from .exits import Exits


async def watch_memory(parts: Parts, exits: Exits) -> None:
    """Runs for the daemon's life."""
    async with aclosing(parts.exchange.subscribe([f'namespace=={NAMESPACE},topic=="/tasks/oom"'])) as events:
        async for envelope in events:
            await exits.oom(str(getattr(unpacked(envelope.event), "container_id", "")))
