"""Where a shim begins: the zygote forks, and `run` is called with what the daemon wants of it.

The payload (see `settings`): `namespace`, `id`, `address` (of the daemon), `socket` (path to listen on), `console`
(prefix of paths for console sockets), `ttrpc_address` (of the daemon's events service), `runc`, `runc_root` and
`max_execs`, perhaps `shim_cgroup`; of a shim that was started as a program also `records`, which has it leave in each
bundle how runc is called. The answer is the pid, once the socket is there.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from corten.zygote import process

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import membership, settings
from .events import Announcer
from .loop import Loop
from .publisher import Publisher
from .reaper import Reaper
from .server import Server, listen
from .service import SERVICES, TaskService
from .streams_service import STREAMS, stream_methods

TITLE = "containerd-shim-corten"
"""What `ps` shows, with flags as containerd's shims have them."""
FLUSH_MAX = 5.0
"""Seconds that a shim whose container is gone goes on trying to deliver events."""
TEND_EVERY = 60.0
"""Seconds between garbage collections (few cycles are made) and looks at whether anybody can still reach the shim."""


def _one_more() -> bytes:
    with open("/proc/self/oom_score_adj", "rb") as file:
        return b"%d" % min(int(file.read()) + 1, 1000)


_OOM_SCORE = _one_more()
"""One more than what the zygote has from the daemon; read before rehearsals, which run in the zygote, raise that."""
_spare: "list[Shim]" = []
"""Where `prepare` leaves a shim; what was made before the fork costs the child nothing."""


def prepare() -> None:
    """Called in the zygote: make the shim that each of its children will be."""
    _spare.append(Shim())


def run(payload: bytes, fds: Sequence[int], ready: Callable[[bytes], None]) -> None:
    """Serve until Shutdown; see the module's docstring."""
    shim = _spare.pop() if _spare else Shim()
    start(shim, payload, ready)
    shim.loop.run()
    shim.close()


def start(shim: "Shim", payload: bytes, ready: Callable[[bytes], None]) -> None:
    """Make this process the shim. Rehearsed too, so all is here that can be."""
    told = settings.decode(payload)
    process.name_process("corten-shim")
    process.become_subreaper()
    process.set_title((TITLE, "-namespace", told["namespace"], "-id", told["id"], "-address", told["address"]))
    shim.open(told)
    ready(b"%d" % os.getpid())


class Shim:
    """All that makes a shim but the process: a server, its events, its timers. Holds no descriptor until `open`."""

    def __init__(self) -> None:
        self.path = ""
        self.loop, self.reaper = Loop(opened=False), Reaper()
        self.publisher = Publisher(self.loop)
        self._announcer = Announcer("", self.publisher.publish)
        self.service = TaskService(self.loop, self.reaper, self._announcer, {}, self.shutdown)
        services = dict.fromkeys(SERVICES, self.service.methods)
        self._server = Server(self.loop, {**services, STREAMS: stream_methods(self.service.process)})

    def open(self, told: Mapping[str, str]) -> None:
        """Take up what the daemon told, and listen."""
        _yield_to_oom_killer()
        if told.get("shim_cgroup"):
            membership.join(told["shim_cgroup"])
        self.path = told["socket"]
        self.loop.open()
        self.publisher.address = told["ttrpc_address"].removeprefix("unix://")
        self._announcer.namespace = told["namespace"]
        self.service.settings = told
        self._server.serve(listen(self.path))
        os.chdir(self.path.rpartition("/")[0])  # tells whoever looks at the process whose it is
        self.loop.on_child(self.reaper.collect)
        self.loop.after(TEND_EVERY, self._tend)

    def shutdown(self) -> None:
        """End once the events are delivered."""
        self.publisher.when_idle(FLUSH_MAX, self._end)

    def _end(self) -> None:
        self.loop.after(0, self.loop.stop)

    def close(self) -> None:
        """Let go of all descriptors of the shim's own, and remove the socket."""
        self._server.close()
        self.publisher.close()
        self.loop.release()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def _tend(self) -> None:
        """A shim whose socket was removed is of no use to anybody once nothing runs in it."""
        gc.collect()
        if not self.service.busy and not os.path.exists(self.path):
            self.loop.stop()
        self.loop.after(TEND_EVERY, self._tend)


def _yield_to_oom_killer() -> None:
    """Be one point more killable than the daemon, so that it outlives its shims (proc(5))."""
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, _OOM_SCORE)
    os.close(fd)
