"""The runtime plugins: the own shim, any shim v2 binary, and the runtime that has the tasks."""

import sys
from typing import Any

from corten.plugin.model import PluginContext, Registration, SkipPlugin, each, one
from corten.plugin.types import EVENT, MOUNT_MANAGER, RUNTIME, SANDBOX_CONTROLLER, SHIM

from .config import BinaryConfig, RuncConfig


def plugins() -> tuple[Registration, ...]:
    """Entry point `runtime`."""
    return (
        Registration(
            type=SHIM,
            id="runc",
            config=RuncConfig,
            init=_runc,
            preload=("corten_runtimes.shim.warm",),
            summary="Corten's own shim for runc: a forked process per container, no interpreter of its own",
        ),
        Registration(
            type=SHIM,
            id="binary",
            config=BinaryConfig,
            init=_binary,
            summary="Any containerd shim v2 binary, found on PATH by the runtime's name",
        ),
        Registration(
            type=SHIM,
            id="sandbox",
            init=_sandboxed,
            summary="Tasks in sandboxes whose own shim takes them",
        ),
        Registration(
            type=SANDBOX_CONTROLLER,
            id="shim",
            requires=(each(SHIM), one(EVENT)),
            init=_sandboxes,
            summary="Sandboxes of shims that speak the sandbox API, found again after a restart",
        ),
        Registration(
            type=RUNTIME,
            id="task",
            requires=(each(SHIM), one(EVENT), each(MOUNT_MANAGER)),
            exports={"log-uri-schemes": "fifo,binary,binary-v2,file"},
            init=_task,
            summary="All tasks: their bundles, their shims, and finding them again after a restart",
        ),
    )


def _runc(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .own import OwnShim

        return OwnShim(
            context.workers,
            context.pools,
            context.state.parent,
            context.ttrpc_address,
            context.config_as(RuncConfig),
            _copier(context),
        )
    raise SkipPlugin(_NOT_HERE)


def _binary(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .binary import BinaryShim

        return BinaryShim(
            _copier(context),
            context.pools,
            context.grpc_address,
            context.ttrpc_address,
            context.config_as(BinaryConfig),
        )
    raise SkipPlugin(_NOT_HERE)


def _sandboxed(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .sandbox.tasks import SandboxedTasks

        return SandboxedTasks(_copier(context), context.pools)
    raise SkipPlugin(_NOT_HERE)


def _copier(context: PluginContext) -> Any:
    if sys.platform == "linux":
        from .copier import Copier

        return Copier(context.workers, context.pools, context.supervisor, context.state / "copier")
    raise SkipPlugin(_NOT_HERE)


def _sandboxes(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .bundle import Bundles
        from .sandbox.controller import ShimSandboxes
        from .sandbox.tasks import SandboxedTasks

        shims = context.each(SHIM)
        tasks = shims["sandbox"]
        assert isinstance(tasks, SandboxedTasks)
        store = Bundles(context.state, context.root)
        made = ShimSandboxes(
            store, shims["binary"], tasks.endpoints, context.one(EVENT), context.pools, context.supervisor
        )
        context.supervisor.job("find sandboxes of before", made.recover)
        return made
    raise SkipPlugin(_NOT_HERE)


def _task(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .bundle import Bundles
        from .runtime import TaskRuntime

        shims = context.each(SHIM)
        ordered = {id: shims[id] for id in sorted(shims, key=lambda id: id == "binary")}  # it takes what others leave
        context.export("root", str(context.root))
        context.export("state", str(context.state))
        context.state.chmod(0o711)  # with mapped ids, the root of a container walks through it
        return TaskRuntime(
            Bundles(context.state, context.root),
            ordered,
            context.one(EVENT),
            context.pools,
            context.supervisor,
            next(iter(context.each(MOUNT_MANAGER).values()), None),
        )
    raise SkipPlugin(_NOT_HERE)


_NOT_HERE = "shims for runc need Linux"
