"""Runs the daemon: claims its folders, brings up the plugins, waits for a signal, and stops in reverse."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from corten import __version__, tracing
from corten.config.migrate import GRPC
from corten.config.settings import CLOSE_TIMEOUT, HOOK_TIMEOUT, INIT_TIMEOUT, START_TIMEOUT
from corten.contracts.workers import Workers
from corten.plugin.context import Environment
from corten.plugin.hooks import HookRelay
from corten.plugin.lifecycle import Deadlines, Lifecycle
from corten.plugin.model import State
from corten.plugin.watchdog import Watchdog
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.zygote.client import Zygote

from . import process
from .boot import Boot
from .folders import boot_id, claim, claim_address, rebooted
from .notify import notify

log = logging.getLogger(__name__)


def serve(boot: Boot) -> None:
    """Run until SIGTERM or SIGINT. Raises CortenError, in one sentence, when the daemon cannot start."""
    began = time.monotonic()
    settings = boot.config.settings
    process.prepare(settings)
    with ExitStack() as held:
        for lock in [*claim(Path(settings.root), Path(settings.state)), claim_address(boot.config.grpc_address)]:
            held.callback(lock.release)
        if rebooted(Path(settings.root), boot_id()):
            log.info("the machine was restarted since the last start")
        workers = _zygote(boot)
        held.callback(workers.close)
        tracing.setup()
        held.callback(tracing.shutdown)
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_Daemon(boot, workers, began).run())


POOL_SIZES = {"metadata": 32, "content": 16}
"""Threads by kind of work. Writers of metadata that wait together share one commit, so more of them cost less each."""


class _Daemon:
    """One run of the event loop."""

    def __init__(self, boot: Boot, workers: Workers, began: float) -> None:
        self._boot = boot
        self._workers = workers
        self._began = began
        self._signals = 0

    async def run(self) -> None:
        self._asked_to_stop = asyncio.Event()
        self._listen_to_signals()
        environment = self._environment()
        lifecycle = self._lifecycle()
        watchdog = Watchdog(lifecycle.plugins)
        try:
            if await self._start(lifecycle, environment):
                self._announce(lifecycle, environment)
                await self._asked_to_stop.wait()
        finally:
            notify("STOPPING=1")
            log.info("stopping")
            await lifecycle.stop(environment.hooks)
            await environment.supervisor.close()
            environment.pools.close()
            watchdog.close()
            log.info("stopped")

    def _environment(self) -> Environment:
        config = self._boot.config
        pools = Pools(POOL_SIZES)
        return Environment(
            root=Path(config.settings.root),
            state=Path(config.settings.state),
            grpc_address=config.grpc_address,
            ttrpc_address=config.ttrpc_address,
            pools=pools,
            supervisor=Supervisor(),
            workers=self._workers,
            hooks=HookRelay(pools, config.settings.timeout(HOOK_TIMEOUT)),
            configs=config.plugins,
            stream_processors=config.settings.stream_processors,
        )

    def _lifecycle(self) -> Lifecycle:
        settings = self._boot.config.settings
        times = [settings.timeout(name) for name in (INIT_TIMEOUT, START_TIMEOUT, CLOSE_TIMEOUT)]
        disabled = frozenset(settings.disabled_plugins)
        # Without its socket the daemon would run for nobody; whoever wants that disables the plugin.
        own = {GRPC} & {each.uri for each in self._boot.found} - disabled
        return Lifecycle(
            self._boot.found,
            choices=self._boot.choices,
            disabled=disabled,
            required=own | frozenset(settings.required_plugins),
            deadlines=Deadlines(*times),
        )

    async def _start(self, lifecycle: Lifecycle, environment: Environment) -> bool:
        """Whether all is up; False if a signal came first."""
        starting = asyncio.ensure_future(lifecycle.start(environment))
        stopping = asyncio.ensure_future(self._asked_to_stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return False
        starting.result()
        return True

    def _announce(self, lifecycle: Lifecycle, environment: Environment) -> None:
        up = [uri for uri in lifecycle.plan.order if lifecycle.plugins[uri].state is State.OK]
        gc.freeze()
        gc.enable()
        seconds = time.monotonic() - self._began
        log.info("serving on %s: %r", environment.grpc_address, lifecycle)
        log.info("cortend successfully booted in %.3fs", seconds)
        notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={lifecycle!r}")
        environment.supervisor.background("hooks of the start", self._tell(up, environment.hooks))

    async def _tell(self, up: Iterable[str], hooks: HookRelay) -> None:
        if hooks.has("config_loaded"):
            await hooks.config_loaded(self._boot.config.merged.data)
        if hooks.has("plugin_ready"):
            for uri in up:
                await hooks.plugin_ready(uri)

    def _listen_to_signals(self) -> None:
        if sys.platform == "win32":
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, log.info, "SIGHUP: nothing to do (restart to read the configuration)")
        loop.add_signal_handler(signal.SIGUSR1, _dump_tasks, loop)
        # In C, so that it works while the loop is blocked; it then passes the signal on.
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=True)

    def _on_stop_signal(self, name: str) -> None:
        self._signals += 1
        if self._signals > 2:
            log.error("%s for the third time: ending at once", name)
            os._exit(1)
        log.info("%s received", name)
        self._asked_to_stop.set()


def _dump_tasks(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.print_stack(file=sys.stderr)


def _zygote(boot: Boot) -> Zygote:
    preload = [module for each in boot.found if each.error is None for module in each.registration.preload]
    return Zygote.launch(preload)


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def version() -> str:
    """The line that `--version` prints."""
    return f"cortend corten v{__version__}"
