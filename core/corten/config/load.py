"""`load`: from files, flags and plugin models to a checked `Config`; every value knows where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from corten.plugin.model import Migration, Registration
from corten.values import dataclass

from .document import Document, KeyPath, Origin, Problem, dotted, nearest
from .merge import Merged, merge
from .migrate import GRPC, TTRPC, migrate
from .settings import DEFAULT_ADDRESS, TIMEOUTS, Settings
from .typed import Misfit, fill, keys, plain
from .units import written

DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Config:
    """What the daemon runs with."""

    settings: Settings
    plugins: Mapping[str, object]
    """URI to the filled model, for every plugin that has one."""
    merged: Merged
    """What files and flags set, before defaults."""
    problems: Sequence[Problem]
    grpc_address: str = DEFAULT_ADDRESS
    ttrpc_address: str = f"{DEFAULT_ADDRESS}.ttrpc"

    def effective(self) -> dict[str, Any]:
        """Everything as plain data, defaults included."""
        tree: dict[str, Any] = plain(self.settings)
        tree["timeouts"] = {key: written(value) for key, value in self.settings.timeouts.items()}
        tree["plugins"] = dict(self.settings.plugins) | {uri: plain(each) for uri, each in sorted(self.plugins.items())}
        return tree


def load(
    documents: Sequence[Document],
    registrations: Sequence[Registration],
    overrides: Mapping[KeyPath, tuple[object, Origin]] | None = None,
    *,
    incomplete: bool = False,
) -> Config:
    """Migrate, merge and check; raises nothing: what is wrong is in `problems`.

    `overrides` come from the command line. `incomplete` says that some plugins could not be loaded: then settings of
    a plugin that nobody has are a warning, because they may be for one of those.
    """
    migrations: dict[str, Migration] = {r.uri: r.migration for r in registrations if r.migration}
    moves = [(r.uri, move) for r in registrations for move in r.moves]
    present = [migrate(each, migrations, moves) for each in documents]
    merged = merge(present)
    for path, (value, origin) in (overrides or {}).items():
        merged.set(path, value, origin)
    grpc, ttrpc = _addresses(merged, registrations)
    check = _Check(merged, {each.source: each.strict for each in present}, [p for d in present for p in d.problems])
    settings = check.settings()
    filled = check.plugins({r.uri: r.config for r in registrations}, settings, incomplete)
    problems = sorted(check.problems, key=lambda each: (each.origin.source, each.origin.line))
    return Config(settings, filled, merged, problems, grpc, ttrpc)


def _addresses(merged: Merged, registrations: Sequence[Registration]) -> tuple[str, str]:
    """The two sockets; what is not set is derived, and put in for the server plugins."""
    grpc = _address(merged, registrations, GRPC, DEFAULT_ADDRESS, DEFAULT)
    derived = Origin("derived from the gRPC address")
    return grpc, _address(merged, registrations, TTRPC, f"{grpc}.ttrpc", derived)


def _address(merged: Merged, registrations: Sequence[Registration], uri: str, default: str, origin: Origin) -> str:
    sections = merged.data.get("plugins")
    section = sections.get(uri) if isinstance(sections, dict) else None
    if isinstance(section, dict) and isinstance(section.get("address"), str) and section["address"]:
        return str(section["address"])
    wanted = any("address" in keys(r.config) for r in registrations if r.uri == uri and r.config is not None)
    if wanted and isinstance(sections, dict | None) and isinstance(section, dict | None):
        merged.set(("plugins", uri, "address"), default, origin)
    return default


_PROXIES, _LATER = ("snapshot", "diff", "content"), ("sandbox", "io.containerd.sandbox.controller.v1")
"""What `proxy_plugins` may hold, and what is not used yet."""
_PROXIED = ("io.containerd.snapshotter.v1", "io.containerd.differ.v1", "io.containerd.content.v1")
"""The same in full."""


class _Check:
    """Fills the models from the merged tree and collects problems, each with its file and line."""

    def __init__(self, merged: Merged, strict: Mapping[str, bool], problems: list[Problem]) -> None:
        self.problems = problems
        self._merged = merged
        self._strict = strict

    def settings(self) -> Settings:
        settings, misfits = fill(Settings, self._merged.data)
        self._note(misfits)
        self._note(self._inconsistent(settings))
        self._note(self._idle(settings), lenient=True)
        return replace(settings, timeouts={**TIMEOUTS, **settings.timeouts})

    def plugins(self, models: Mapping[str, Any], settings: Settings, incomplete: bool) -> dict[str, object]:
        for uri in settings.plugins:
            if uri not in models:
                self._note([self._unknown_plugin(uri, models)], lenient=incomplete)
            elif models[uri] is None and settings.plugins[uri]:
                self._note([Misfit(("plugins", uri), f"plugins.{dotted((uri,))}: this plugin has no settings", True)])
        return {uri: self._plugin(uri, model, settings) for uri, model in models.items() if model is not None}

    def _plugin(self, uri: str, model: type[Any], settings: Settings) -> object:
        section = settings.plugins.get(uri)
        instance, misfits = fill(model, {} if section is None else section, ("plugins", uri))
        self._note(misfits)
        return instance

    def _unknown_plugin(self, uri: str, models: Mapping[str, Any]) -> Misfit:
        text = f"plugins.{dotted((uri,))}: no installed plugin is called so{nearest(uri, models, 0.92)}"
        return Misfit(("plugins", uri), text, True)

    def _inconsistent(self, settings: Settings) -> Iterator[Misfit]:
        for key in ("root", "state"):
            if not getattr(settings, key).startswith("/"):
                yield Misfit((key,), f"{key} must be an absolute path, not {getattr(settings, key)!r}", False)
        if settings.root.rstrip("/") == settings.state.rstrip("/"):
            yield Misfit(("state",), f"root and state must be different folders, not both {settings.root}", False)
        for key in ("disabled_plugins", "required_plugins"):
            for uri in getattr(settings, key):
                if "." not in uri:
                    text = f"{key}: {uri!r} is not the URI of a plugin, such as io.containerd.snapshotter.v1.overlayfs"
                    yield Misfit((key,), text, False)

        for id, program in settings.stream_processors.items():
            for key in ("accepts", "returns", "path"):
                if not getattr(program, key):
                    text = f"stream_processors.{id}: it has no {key}"
                    yield Misfit(("stream_processors", id), text, False)

        for id, entry in settings.proxy_plugins.items():
            if entry.type not in (*_PROXIES, *_PROXIED, *_LATER):
                text = f"proxy_plugins.{id}: type {entry.type!r} is none of {', '.join((*_PROXIES, _LATER[0]))}"
                yield Misfit(("proxy_plugins", id), text, False)
            if not entry.address:
                yield Misfit(("proxy_plugins", id), f"proxy_plugins.{id}: it has no address", False)

    def _idle(self, settings: Settings) -> Iterator[Misfit]:
        """What is kept for compatibility, and would be missed by whoever relies on it."""
        unused = [("proxy_plugins", id) for id, entry in settings.proxy_plugins.items() if entry.type in _LATER]
        for path in unused:
            yield Misfit(path, f"{dotted(path)} is accepted, but nothing in this version of Corten uses it", True)

    def _note(self, misfits: Sequence[Misfit] | Iterator[Misfit], lenient: bool = False) -> None:
        for each in misfits:
            origin = self._merged.origin(each.path) or DEFAULT
            warning = each.unknown and (lenient or not self._strict.get(origin.source, True))
            self.problems.append(Problem(origin, each.text, warning))
