"""`Watchdog`: says which plugin's code blocks the event loop, while it does.

A thread asks the loop for a sign of life; if none comes for a second, it logs where the loop's thread stands and whose
code that is. Code that holds the GIL for good stops this thread too: such code belongs into a process of its own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from types import FrameType

from .model import PluginView
from .threads import place

log = logging.getLogger(__name__)

LIMIT = 1.0
"""Seconds for which the loop may be blocked before it is reported; also the time between two questions."""


class Watchdog:
    """Made on the event loop that it watches; ends with `close`."""

    def __init__(self, plugins: Mapping[str, PluginView], limit: float = LIMIT) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._plugins = plugins
        self._limit = limit
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="corten-watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self._limit):
            alive = threading.Event()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop was closed
                return
            asked = time.monotonic()
            if not alive.wait(self._limit) and not self._closed.is_set():
                self._report()
                alive.wait()
                log.warning("event loop: moves again after %.1f s", time.monotonic() - asked)

    def _report(self) -> None:
        frame = sys._current_frames().get(self._watched)
        owner = blame(frame, self._plugins.values())
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        log.warning("event loop: blocked for over %g s by %s in %s\n%s", self._limit, owner, place(frame), stack)


def blame(frame: FrameType | None, plugins: Iterable[PluginView]) -> str:
    """Whose code a stack is in: the plugins of the innermost package that registered any, or the daemon."""
    owners: dict[str, list[str]] = {}
    for each in plugins:
        package = str(getattr(each.registration.init, "__module__", "")).partition(".")[0]
        owners.setdefault(package, []).append(each.registration.uri)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in owners:
            uris = owners[package]
            return f"plugin {uris[0]}" if len(uris) == 1 else f"a plugin of {package} ({', '.join(sorted(uris))})"
        frame = frame.f_back
    return "the daemon"
