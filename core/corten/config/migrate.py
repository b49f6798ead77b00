"""Brings a file of an older version up to the present one (4), a version at a time; pure.

1 -> 2: plugins are named by their URI. 2 -> 3: plugins' own changes only. 3 -> 4: the sections `grpc`, `ttrpc`,
`debug` and `metrics` become settings of server plugins. (containerd: docs/man/containerd-config.toml.5.md)
In containerd's own files its bolt plugins mean the ones that Corten has in their place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from corten.plugin.model import Migration, Move

from .document import Document, KeyPath, Problem

CURRENT = 4

GRPC = "io.containerd.server.v1.grpc"
GRPC_TCP = "io.containerd.server.v1.grpc-tcp"
TTRPC = "io.containerd.server.v1.ttrpc"
DEBUG = "io.containerd.server.v1.debug"
METRICS = "io.containerd.server.v1.metrics"
PROMETHEUS = "io.containerd.metrics.v1.grpc-prometheus"

SHORT_NAMES: Mapping[str, str] = {
    "aufs": "io.containerd.snapshotter.v1.aufs",
    "bolt": "io.containerd.metadata.v1.bolt",
    "btrfs": "io.containerd.snapshotter.v1.btrfs",
    "cgroups": "io.containerd.monitor.v1.cgroups",
    "cri": "io.containerd.grpc.v1.cri",
    "devmapper": "io.containerd.snapshotter.v1.devmapper",
    "linux": "io.containerd.runtime.v1.linux",
    "native": "io.containerd.snapshotter.v1.native",
    "opt": "io.containerd.internal.v1.opt",
    "otlp": "io.containerd.tracing.processor.v1.otlp",
    "overlayfs": "io.containerd.snapshotter.v1.overlayfs",
    "restart": "io.containerd.internal.v1.restart",
    "scheduler": "io.containerd.gc.v1.scheduler",
    "task": "io.containerd.runtime.v2.task",
    "tracing": "io.containerd.internal.v1.tracing",
    "windows": "io.containerd.snapshotter.v1.windows",
    "windows-lcow": "io.containerd.snapshotter.v1.windows-lcow",
    "zfs": "io.containerd.snapshotter.v1.zfs",
}
"""The plugin names of version 1 that had settings."""

OWN_NAMES: Mapping[str, str] = {
    "io.containerd.metadata.v1.bolt": "io.containerd.metadata.v1.lmdb",
    "io.containerd.mount-manager.v1.bolt": "io.containerd.mount-manager.v1.lmdb",
    "io.containerd.shim.v1.manager": "io.containerd.shim.v1.binary",
}

_MOVES: Sequence[tuple[KeyPath, str, str]] = (
    (("grpc", "address"), GRPC, "address"),
    (("grpc", "uid"), GRPC, "uid"),
    (("grpc", "gid"), GRPC, "gid"),
    (("grpc", "max_recv_message_size"), GRPC, "max_recv_message_size"),
    (("grpc", "max_send_message_size"), GRPC, "max_send_message_size"),
    (("grpc", "tcp_address"), GRPC_TCP, "address"),
    (("grpc", "tcp_tls_ca"), GRPC_TCP, "tls_ca"),
    (("grpc", "tcp_tls_cert"), GRPC_TCP, "tls_cert"),
    (("grpc", "tcp_tls_key"), GRPC_TCP, "tls_key"),
    (("grpc", "tcp_tls_common_name"), GRPC_TCP, "tls_common_name"),
    (("ttrpc", "address"), TTRPC, "address"),
    (("ttrpc", "uid"), TTRPC, "uid"),
    (("ttrpc", "gid"), TTRPC, "gid"),
    (("debug", "address"), DEBUG, "address"),
    (("debug", "uid"), DEBUG, "uid"),
    (("debug", "gid"), DEBUG, "gid"),
    (("metrics", "address"), METRICS, "address"),
    (("metrics", "grpc_histogram"), PROMETHEUS, "grpc_histogram"),
)


@dataclass
class _Draft:
    """A document being changed: data and lines move together."""

    data: dict[str, Any]
    lines: dict[KeyPath, int]

    @property
    def plugins(self) -> dict[str, Any]:
        found = self.data.setdefault("plugins", {})
        return found if isinstance(found, dict) else {}

    def rename_plugin(self, old: str, new: str) -> None:
        """A section under its new name; what the new name has already wins."""
        if old in self.plugins:
            section = self.plugins.pop(old)
            self.plugins.setdefault(new, section)
            self._move_lines(("plugins", old), ("plugins", new))

    def move(self, old: KeyPath, uri: str, key: str) -> None:
        """A key of a top section into a plugin's section, unless that has it."""
        section = self.data.get(old[0])
        if isinstance(section, dict) and old[1] in section:
            value = section.pop(old[1])
            self.plugins.setdefault(uri, {}).setdefault(key, value)
            self._move_lines(old, ("plugins", uri, key))

    def relocate(self, old: KeyPath, new: KeyPath) -> None:
        """A key of one plugin to another; what is set there already wins. Sections left empty go."""
        sections = [self.plugins]
        for part in old[:-1]:
            below = sections[-1].get(part)
            if not isinstance(below, dict):
                return
            sections.append(below)
        if old[-1] not in sections[-1]:
            return
        _put(self.plugins, new, sections[-1].pop(old[-1]))
        self._move_lines(("plugins", *old), ("plugins", *new))
        for section, part in reversed(list(zip(sections, old[:-1], strict=False))):
            if section.get(part) == {}:
                del section[part]

    def drop_empty(self, name: str) -> None:
        if self.data.get(name) == {}:
            del self.data[name]

    def _move_lines(self, old: KeyPath, new: KeyPath) -> None:
        for path in [path for path in self.lines if path[: len(old)] == old]:
            self.lines.setdefault((*new, *path[len(old) :]), self.lines[path])
            self.lines.setdefault(new[:2], self.lines[path])


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            return
    tree.setdefault(path[-1], value)


Moves = Sequence[tuple[str, Move]]
"""Each with the URI of the plugin that has the setting now."""


def migrate(document: Document, plugins: Mapping[str, Migration] | None = None, moves: Moves = ()) -> Document:
    """The same settings in the present version; `plugins` are the migrations of plugins by URI."""
    if document.version > CURRENT:
        text = f"version {document.version} is newer than {CURRENT}, the newest that this Corten reads (upgrade Corten)"
        return replace(document, problems=[*document.problems, Problem(document.origin(("version",)), text)])
    draft = _Draft(copy.deepcopy(dict(document.data)), dict(document.lines))
    for version in range(max(document.version, 1), CURRENT):
        if step := _STEPS.get(version):
            step(draft)
        for uri, move in moves:
            if move.version == version:
                draft.relocate((move.uri, *move.old), (uri, *move.new))
        for uri, migration in (plugins or {}).items():
            if isinstance(section := draft.plugins.get(uri), dict):
                draft.plugins[uri] = dict(migration(version, section))
    if not document.strict:
        _own_names(draft)
    if not draft.data.get("plugins"):
        draft.data.pop("plugins", None)
    return replace(document, data={**draft.data, "version": CURRENT}, lines=draft.lines, version=CURRENT)


def _full_names(draft: _Draft) -> None:
    for name in list(draft.plugins):
        draft.rename_plugin(name, full_name(name))
    for key in ("disabled_plugins", "required_plugins"):
        if isinstance(draft.data.get(key), list):
            draft.data[key] = [full_name(str(each)) for each in draft.data[key]]


def full_name(name: str) -> str:
    """The URI of a plugin name of version 1; what has a dot is one already."""
    if "." in name:
        return name
    fallback = f"io.containerd.service.v1.{name}" if name.endswith("-service") else f"io.containerd.grpc.v1.{name}"
    return SHORT_NAMES.get(name, fallback)


def _server_plugins(draft: _Draft) -> None:
    grpc = draft.data.get("grpc")
    sizes = {key: grpc[key] for key in _SIZES if key in grpc} if isinstance(grpc, dict) else {}
    for old, uri, key in _MOVES:
        draft.move(old, uri, key)
    if isinstance(tcp := draft.plugins.get(GRPC_TCP), dict):
        draft.plugins[GRPC_TCP] = sizes | tcp
    _inherit_owner(draft)
    for name in ("grpc", "ttrpc", "debug", "metrics"):
        draft.drop_empty(name)


def _inherit_owner(draft: _Draft) -> None:
    """Before version 4, ttrpc takes address, uid and gid from grpc where it has none of its own."""
    grpc, ttrpc = draft.plugins.get(GRPC), draft.plugins.get(TTRPC, {})
    if isinstance(grpc, dict) and isinstance(ttrpc, dict):
        owner = {key: grpc[key] for key in ("uid", "gid") if key in grpc}
        if owner or ttrpc:
            draft.plugins[TTRPC] = owner | ttrpc


def _own_names(draft: _Draft) -> None:
    for old, new in OWN_NAMES.items():
        draft.rename_plugin(old, new)
    for key in ("disabled_plugins", "required_plugins"):
        if isinstance(draft.data.get(key), list):
            draft.data[key] = [OWN_NAMES.get(str(each), each) for each in draft.data[key]]


_SIZES = ("max_recv_message_size", "max_send_message_size")
_STEPS: Mapping[int, Callable[[_Draft], None]] = {1: _full_names, 3: _server_plugins}
