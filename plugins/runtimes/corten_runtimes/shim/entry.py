"""Where a shim begins: the zygote forks, and `run` is called with what the daemon wants of it.

The process that is forked becomes the keeper, and its children do the work (see `keeper`).

The payload (see `settings`): `namespace`, `id`, `address` (of the daemon), `socket` (path to listen on), `console`
(prefix of paths for console sockets), `ttrpc_address` (of the daemon's events service), `runc`, `runc_root` and
`max_execs`, perhaps `shim_cgroup`; of a shim that was started as a program also `records`, which has it leave in each
bundle how runc is called. The answer is the pid, once the socket is there.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from corten.zygote import process

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import membership, settings
from .events import Announcer
from .keeper import Keeper
from .loop import IN, Loop
from .publisher import Publisher
from .reaper import Reaper
from .server import Server, listen
from .service import SERVICES, TaskService
from .streaming import STREAMING, Streaming
from .streams_service import STREAMS, stream_methods
from .worker import Worker

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
"""One more than what the zygote has from the daemon; made here once, so that no shim has to."""


class Ready(Protocol):
    """How the daemon is told that the shim is there: called in one process, let go of in the others."""

    def __call__(self, answer: bytes, /) -> None: ...
    def forgo(self) -> None: ...


_spare: "list[Shim]" = []
"""Where `prepare` leaves a shim; what was made before the fork costs the child nothing."""


def prepare() -> None:
    """Called in the zygote: make the shim that each of its children will be."""
    _spare.append(Shim())


def run(payload: bytes, fds: Sequence[int], ready: "Ready") -> None:
    """Serve until Shutdown; see the module's docstring."""
    told = settings.decode(payload)
    _yield_to_oom_killer()
    keeper = start(told)
    status = keeper.keep(ready.forgo)
    if status is not None:
        os._exit(status)
    if keeper.apart:
        process.die_with_parent(keeper.pid)
    worker = take_on(_spare.pop() if _spare else Shim(), keeper, told, ready)
    worker.work()
    worker.shim.close()


def start(told: Mapping[str, str]) -> Keeper:
    """Make this process the keeper. Rehearsed too, as is the next, so all is here that can be."""
    process.name_process("corten-shim")
    process.become_subreaper()
    process.set_title((TITLE, "-namespace", told["namespace"], "-id", told["id"], "-address", told["address"]))
    os.chdir(told["socket"].rpartition("/")[0])  # tells whoever looks at the process whose it is
    return Keeper(told["socket"])


def take_on(shim: "Shim", keeper: Keeper, told: Mapping[str, str], ready: Callable[[bytes], None]) -> Worker:
    """Make this process a worker: the first one of the shim, or one that goes on."""
    worker = Worker(shim, keeper)
    if keeper.parked:
        worker.go_on()
    else:
        shim.open(told, keeper)
        ready(b"%d" % keeper.pid)
    return worker


class Shim:
    """All that makes a shim but the process: a server, its events, its timers. Holds no descriptor until `open`."""

    def __init__(self) -> None:
        self.path = ""
        self.loop, self.reaper = Loop(opened=False), Reaper()
        self.publisher = Publisher(self.loop)
        self._announcer = Announcer("", self.publisher.publish)
        self._streaming = Streaming()
        self.service = TaskService(self.loop, self.reaper, self._announcer, self._streaming, {}, self.shutdown)
        self._server = Server(self.loop, _services(self.service, self._streaming))
        self.roots: Mapping[str, object] = {
            "loop": self.loop, "reaper": self.reaper, "announcer": self._announcer, "service": self.service,
            "server": self._server, "streaming": self._streaming,
        }  # fmt: skip
        """What is there in every worker."""

    def open(self, told: Mapping[str, str], keeper: Keeper) -> None:
        """Take up what the daemon told, and listen."""
        if told.get("shim_cgroup"):
            membership.join(told["shim_cgroup"], (keeper.pid, os.getpid()))
        self._settle(told, keeper)
        self._server.serve(listen(self.path))
        self.reaper.read_exits(keeper.exits)
        self.loop.watch(keeper.exits, IN, self.reaper.told)

    @property
    def rests(self) -> bool:
        """Whether nothing is under way that this process must see to its end; the one timer is that of `_tend`."""
        return not self.loop.operations and self.loop.timers <= 1 and self.publisher.idle

    @property
    def connected(self) -> bool:
        """Whether a client is there."""
        return self._server.connected

    def rest(self) -> None:
        """Close what no other worker needs."""
        self.publisher.close()
        self.loop.ignore_children()

    def wake(self) -> None:
        """Undo `rest`, as far as it has to be undone at once."""
        self.loop.on_child(self.reaper.collect)
        self.reaper.collect()

    def kept(self) -> Any:
        """What `take_up` needs, when it rests."""
        parts = self.service.kept(), self._server.kept(), self.reaper.kept(), self._streaming.kept()
        return parts, self.loop.handlers

    def take_up(self, state: Any, keeper: Keeper) -> None:
        """Go on where another worker has rested."""
        (service, server, reaper, streaming), handlers = state
        self._streaming.take_up(streaming)
        self.service.take_up(service)
        self._server.take_up(server)
        self.reaper.take_up(reaper)
        self._settle(self.service.settings, keeper)
        self.loop.watched(handlers)
        self._look()

    def _settle(self, told: Mapping[str, str], keeper: Keeper) -> None:
        self.path = self._streaming.path = told["socket"]
        self.loop.open(keeper.epoll)
        self.publisher.address = told["ttrpc_address"].removeprefix("unix://")
        self._announcer.namespace = told["namespace"]
        self.service.settings, self.service.pid = told, keeper.pid
        self.wake()
        self.loop.after(TEND_EVERY, self._tend)

    def shutdown(self) -> None:
        """End once the events are delivered."""
        self.publisher.when_idle(FLUSH_MAX, self._end)

    def _end(self) -> None:
        self.loop.after(0, self.loop.stop)

    def abandon(self) -> None:
        """Leave all descriptors to the shim in the same process that has taken them up."""
        self._server.abandon()

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
        self._look()
        self.loop.after(TEND_EVERY, self._tend)

    def _look(self) -> None:
        if not self.service.busy and not os.path.exists(self.path):
            self.loop.stop()


def _services(service: TaskService, streaming: Streaming) -> Mapping[str, Mapping[str, Any]]:
    mine = {STREAMS: stream_methods(service.process), STREAMING: streaming.methods}
    return {**dict.fromkeys(SERVICES, service.methods), **mine}


def _yield_to_oom_killer() -> None:
    """Be one point more killable than the daemon, so that it outlives its shims (proc(5))."""
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, _OOM_SCORE)
    os.close(fd)
