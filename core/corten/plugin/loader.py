"""Discovery of plugins by entry point (group `corten.plugins`), which loses no failure.

Every entry point is imported and called in a thread under a deadline. Whatever goes wrong there (any exception,
SystemExit among them, a wrong return value, or no return at all) becomes a `Found` with that error, under a stand-in
URI that names the distribution and the entry point. Plugins of Corten's own come in by the same door.

stevedore drives the loading. Its list of entry points is taken from the installed metadata directly: its cache lives
in HOME, which may be read-only, and tells apart files changed within two minutes only by name.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from stevedore.extension import Extension, ExtensionManager

from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument

from .model import PluginContext, Registration, Requirement
from .record import Found, describe
from .threads import Abandonable
from .types import PluginType

GROUP = "corten.plugins"
BUILTIN = "corten"
IMPORT_DEADLINE = 10.0
"""Seconds that importing and calling one entry point may take."""

UNLOADED = "io.corten.unloaded"
"""With the name of the distribution and `v1` behind it: the type of what stands in for a plugin that was not loaded."""

EntryPoint = importlib.metadata.EntryPoint


class _EntryPoints(ExtensionManager[list[Found]]):
    """stevedore's manager, with a deadline around each entry point and no exception that it would drop or raise."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        super().__init__(GROUP)

    def list_entry_points(self) -> list[EntryPoint]:
        """All of the group, Corten's own first, then by distribution and name."""
        return sorted(importlib.metadata.entry_points(group=GROUP), key=_sort_key)

    def _load_one_plugin(self, ep: EntryPoint, *_: object) -> Extension[list[Found]]:
        return Extension(ep.name, ep, list, load(ep, self._deadline))


def discover(deadline: float = IMPORT_DEADLINE) -> list[Found]:
    """Every plugin of every installed distribution, those that cannot be used with their error; URIs are unique."""
    found = [each for extension in _EntryPoints(deadline) for each in extension.obj or ()]
    return list(settle(found))


def load(entry_point: EntryPoint, deadline: float = IMPORT_DEADLINE) -> list[Found]:
    """What one entry point announces; raises nothing."""
    distribution, builtin = _origin(entry_point)
    name = f"entry point {entry_point.name} = {entry_point.value} of {distribution}: import"
    try:
        returned = Abandonable(name, lambda: entry_point.load()(), None).wait(deadline)
        return [Found(each, distribution, builtin) for each in checked(returned)]
    except BaseException as error:
        reason = describe(error)
        failure = FailedPrecondition(reason if reason.startswith(name) else f"{name}: {reason}")
        failure.__cause__ = error
        return [Found(stand_in(distribution, entry_point.name), distribution, builtin, failure)]


def checked(returned: object) -> tuple[Registration, ...]:
    """The registrations that an entry point returned. Raises InvalidArgument if they are not sound."""
    several = returned if isinstance(returned, tuple) else (returned,)
    if not several:
        raise InvalidArgument("returned no registration (a plugin that is not for this host raises SkipPlugin in init)")
    for each in several:
        if not isinstance(each, Registration):
            raise InvalidArgument(f"returned {type(each).__name__}, not a Registration or a tuple of them")
        for complaint in _complaints(each):
            raise InvalidArgument(f"plugin {each.uri}: {complaint}")
    return several


def stand_in(distribution: str, entry_point: str) -> Registration:
    """A registration for what could not be loaded; its init is never run."""
    type: PluginType[object] = PluginType(f"{UNLOADED}.{_identifier(distribution.partition(' ')[0])}.v1")
    summary = f"Entry point {entry_point} of {distribution}, not loaded"
    return Registration(type, _identifier(entry_point), _never, summary=summary)


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


def settle(found: Iterable[Found]) -> Iterator[Found]:
    """Make URIs unique: of several claims to one URI a built-in wins; without one, nobody gets it and all are named."""
    claims: dict[str, list[Found]] = {}
    for each in found:
        claims.setdefault(each.uri, []).append(each)
    for uri, claimants in claims.items():
        if len(claimants) == 1 or uri.startswith(f"{UNLOADED}."):
            yield from claimants[:1]
        else:
            yield from _contested(uri, claimants)


def _contested(uri: str, claimants: Sequence[Found]) -> Iterator[Found]:
    own = [each for each in claimants if each.builtin]
    names = " and ".join(sorted({each.distribution for each in claimants}))
    if len(own) != 1:
        error = AlreadyExists(f"plugin {uri}: claimed by {names}; neither is loaded (uninstall one)")
        yield Found(claimants[0].registration, names, bool(own), error)
        return
    yield own[0]
    for each in claimants:
        if each is not own[0]:
            error = AlreadyExists(
                f"plugin {uri}: {each.distribution} claims it, but it is built in; the built-in is used"
            )
            yield Found(stand_in(each.distribution, each.registration.uri), each.distribution, False, error)


def _complaints(registration: Registration) -> Iterator[str]:
    if not isinstance(registration.type, PluginType):
        yield f"its type is {type(registration.type).__name__}, not a PluginType"
    if not re.fullmatch(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", str(registration.id)):
        yield f"its id {registration.id!r} is not letters and digits joined by single . _ -"
    if not callable(registration.init):
        yield "its init cannot be called"
    if not all(isinstance(each, Requirement) for each in registration.requires):
        yield "its requires are not made with one, each and order"
    yield from _config_complaints(registration.config)


def _config_complaints(model: Any) -> Iterator[str]:
    if model is None:
        return
    if not (isinstance(model, type) and is_dataclass(model)):
        yield f"its config {model!r} is not a dataclass"
        return
    try:
        model()
    except Exception as error:
        wanting = ", ".join(each.name for each in fields(model))
        yield f"its config {model.__name__} ({wanting}) cannot be made from defaults alone: {describe(error)}"


def _origin(entry_point: EntryPoint) -> tuple[str, bool]:
    """Name and version of the distribution, and whether it is Corten itself."""
    return _identity(entry_point.dist) if entry_point.dist else ("an unknown distribution", False)


@cache
def _identity(distribution: importlib.metadata.Distribution) -> tuple[str, bool]:
    """Cached, because each look at a name parses the whole METADATA file."""
    metadata = distribution.metadata
    return f"{metadata['Name']} {metadata['Version']}", metadata["Name"].lower() == BUILTIN


def _sort_key(entry_point: EntryPoint) -> tuple[bool, str, str]:
    distribution, builtin = _origin(entry_point)
    return (not builtin, distribution, entry_point.name)


def _never(context: PluginContext) -> object:
    raise FailedPrecondition(f"plugin {context.uri}: it was not loaded")
