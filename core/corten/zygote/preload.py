"""Importing modules before anything is forked, so that no failure and no endless import takes the zygote down."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

assert sys.platform != "win32"

IMPORT_DEADLINE = 10.0
"""Seconds that one module may take to import."""


_child: Any = None
_SKIPPED = ("threading", "logging", "random")


def skip_fork_hooks() -> None:
    """Keep `threading`, `logging` and `random` from registering fork hooks; call it before anything imports them.

    The hooks rebuild locks and the table of threads, and in doing so dirty half a MiB in every child. The zygote has
    one thread and holds no lock when it forks, so there is nothing to rebuild; `after_fork` is for those who want.
    """
    register: Any = os.register_at_fork

    def filtered(**hooks: Callable[[], object]) -> None:
        if not any(_module(hook) in _SKIPPED for hook in hooks.values()):
            register(**hooks)

    os.register_at_fork = filtered  # type: ignore[assignment]


def _module(hook: Callable[[], object]) -> str:
    owner = type(getattr(hook, "__self__", hook))  # random's hook is a method
    return str(getattr(hook, "__module__", None) or owner.__module__)


def after_fork() -> None:
    """Run the hooks that were skipped: for children that start threads or need numbers of their own."""
    threading: Any = sys.modules.get("threading")
    random: Any = sys.modules.get("random")
    if threading is not None:
        threading._after_fork()
    if random is not None:
        random.seed()


def preload(modules: Iterable[str]) -> dict[str, str]:
    """Import each module; returns module to traceback for those that failed, by whatever exception."""
    return _each(modules, importlib.import_module)


def rehearse(modules: Iterable[str]) -> dict[str, str]:
    """Call the function `rehearse` of each imported module that has one; returns failures as `preload`.

    It imports and runs what children will run, so that these share what first use writes, and so that it lies
    together (`compact`): code is rewritten when it has run some times (PEP 659), caches are filled.
    """
    children().rehearse()
    return _each([name for name in modules if hasattr(sys.modules.get(name), "rehearse")], _rehearse)


def children() -> Any:
    """The module `child`, imported late, so that it lies with what else runs in children."""
    global _child
    if _child is None:
        _child = importlib.import_module("corten.zygote.child")
    return _child


def _rehearse(module: str) -> None:
    sys.modules[module].rehearse()


def _each(modules: Iterable[str], call: Callable[[str], object]) -> dict[str, str]:
    failures = {}
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, _told_to_end)
    for name in modules:
        signal.setitimer(signal.ITIMER_REAL, IMPORT_DEADLINE)
        try:
            call(name)
        except BaseException:
            failures[name] = traceback.format_exc(limit=-8)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return failures


def _told_to_end(signum: int, frame: object) -> None:
    """Raised into what is under way, so that a rehearsal clears up behind it."""
    raise SystemExit("the daemon wants no zygote any more")


def _too_long(signum: int, frame: object) -> None:
    raise TimeoutError(f"import takes longer than {IMPORT_DEADLINE:.0f} s")
