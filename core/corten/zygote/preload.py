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


_SKIPPED = ("threading", "logging")


def skip_fork_hooks() -> None:
    """Keep `threading` and `logging` from registering after-fork hooks; call it before anything imports them.

    The hooks rebuild locks and the table of threads, and in doing so dirty half a MiB in every child. The zygote has
    one thread and holds no lock when it forks, so there is nothing to rebuild; `after_fork` is for those who want.
    """
    register: Any = os.register_at_fork

    def filtered(**hooks: Callable[[], object]) -> None:
        if not any(getattr(hook, "__module__", "") in _SKIPPED for hook in hooks.values()):
            register(**hooks)

    os.register_at_fork = filtered  # type: ignore[assignment]


def after_fork() -> None:
    """Run the hook of `threading` that was skipped: for children that go on to start threads."""
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._after_fork()


def preload(modules: Iterable[str]) -> dict[str, str]:
    """Import each module; returns module to traceback for those that failed, by whatever exception."""
    failures = {}
    signal.signal(signal.SIGALRM, _too_long)
    for name in modules:
        signal.setitimer(signal.ITIMER_REAL, IMPORT_DEADLINE)
        try:
            importlib.import_module(name)
        except BaseException:
            failures[name] = traceback.format_exc(limit=-8)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return failures


def _too_long(signum: int, frame: object) -> None:
    raise TimeoutError(f"import takes longer than {IMPORT_DEADLINE:.0f} s")
