"""Where a shim begins: the zygote forks, and `run` is called with what the daemon wants of it.

The payload is a JSON object: `namespace`, `socket` (path to listen on), `console` (prefix of paths for console
sockets), `ttrpc_address` (of the daemon's events service), `runc` and `runc_root`, and `direct`, whether that runc is
of a version whose containers may be started without it. The answer is the pid, once the socket is there.
"""

import gc
import json
import os
import sys
from collections.abc import Callable, Sequence

from corten.zygote import process

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .events import Announcer
from .loop import Loop
from .publisher import Publisher
from .reaper import Reaper
from .server import Server, listen
from .service import SERVICES, TaskService

FLUSH_MAX = 5.0
"""Seconds that a shim whose container is gone goes on trying to deliver events."""
TEND_EVERY = 60.0
"""Seconds between garbage collections (few cycles are made) and looks at whether anybody can still reach the shim."""


def run(payload: bytes, fds: Sequence[int], ready: Callable[[bytes], None]) -> None:
    """Serve until Shutdown; see the module's docstring."""
    settings = json.loads(payload)
    process.name_process("corten-shim")
    process.become_subreaper()
    _yield_to_oom_killer()
    listener = listen(settings["socket"])
    os.chdir(os.path.dirname(settings["socket"]))  # tells whoever looks at the process whose it is
    loop, reaper = Loop(), Reaper()
    publisher = Publisher(loop, settings["ttrpc_address"])

    def shutdown() -> None:
        publisher.when_idle(FLUSH_MAX, lambda: loop.after(0, loop.stop))

    service = TaskService(loop, reaper, Announcer(settings["namespace"], publisher.publish), settings, shutdown)
    Server(loop, listener, SERVICES, service.methods)
    loop.on_child(reaper.collect)
    loop.after(TEND_EVERY, lambda: _tend(loop, service, settings["socket"]))
    ready(str(os.getpid()).encode())
    loop.run()
    if os.path.exists(settings["socket"]):
        os.unlink(settings["socket"])


def nothing() -> None:
    """For whoever rehearses a shim and must not end."""


def _tend(loop: Loop, service: TaskService, path: str) -> None:
    """A shim whose socket was removed is of no use to anybody once nothing runs in it."""
    gc.collect()
    if not service.busy and not os.path.exists(path):
        loop.stop()
    loop.after(TEND_EVERY, lambda: _tend(loop, service, path))


def _yield_to_oom_killer() -> None:
    """Be one point more killable than a protected daemon, so that the daemon outlives its shims (proc(5))."""
    with open("/proc/self/oom_score_adj", "r+") as file:
        score = int(file.read())
        if score < 0:
            file.write(str(score + 1))
