"""Errors as a person reads them: one or two lines on standard error that say what to do."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

import click

from corten.errors import CortenError, FailedPrecondition, NotFound

from . import exits
from .words import shown_size

if TYPE_CHECKING:
    from corten.client.usage import Usage


def report(error: BaseException, code: int | None = None) -> int:
    """Print it; returns the exit code. With `--debug` the traceback comes first."""
    context = click.get_current_context(silent=True)
    if "--debug" in sys.argv or (context is not None and getattr(context.obj, "debug", False)):
        traceback.print_exception(error)
    if not isinstance(error, CortenError):
        say(f"{type(error).__name__}: {error} (this is a bug in corten: run again with --debug for its place)")
        return exits.FAILED if code is None else code
    say(error.message + _remedy(error))
    return exits.of(error) if code is None else code


def _remedy(error: CortenError) -> str:
    """What to do, where the daemon cannot know which command the person has."""
    message = error.message
    if message.endswith(")"):
        return ""
    if isinstance(error, NotFound):
        local = ": registry " not in message
        command = next((way for kind, way in _LISTS if local and message.startswith(kind)), "")
        return f" (see `{command}`)" if command else ""
    if isinstance(error, FailedPrecondition) and message.startswith("task "):
        return next((f" ({remedy})" for ends, remedy in _STATES if message.endswith(ends)), "")
    return ""


_LISTS = (("container ", "corten ps -a"), ("task ", "corten ps -a"), ("image ", "corten images"))
_AGAIN = "`corten start` runs its container again, `corten logs` shows what it printed"
_STATES = (
    ("it is stopped", _AGAIN),
    ("it has ended", _AGAIN),
    ("cannot exec: it is paused", "`corten resume` lets its container run on"),
)


def say(message: str) -> None:
    """A line for the person, on standard error."""
    click.echo(f"corten: {message.strip()}", err=True)


def say_out_of_memory(used: Usage) -> None:
    """Why a process was killed that nobody here has killed."""
    limit = f"its limit is {shown_size(used.memory_limit)}" if used.memory_limit else "the host's, it has no limit"
    say(f"container {used.id!r}: it ran out of memory ({limit}), and the kernel killed a process of it")


def each(names: tuple[str, ...], failures: dict[str, CortenError]) -> int:
    """The outcome of a command on several objects, the failed ones with their reason; returns the exit code."""
    code = 0
    for name in names:
        if name in failures:
            code = report(failures[name])
        else:
            click.echo(name)
    return code
