"""Network configurations: files in a folder become lists of plugins, or an error that names the file and what is wrong.

The first file by name is the default network, whose interface is eth0 (section 1 of the specification; containerd's
order). A `.conflist` is a list of plugins; `.conf` and `.json` are the older form, one plugin.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from corten.errors import InvalidArgument, NotFound, mapped
from corten.values import dataclass

from . import versions

SUFFIXES = (".conf", ".conflist", ".json")
LOADED_MAX = 64
"""Networks that one pod may have, whatever the configuration says."""
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*\Z")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin of a network: its `type` is the name of its program."""

    type: str
    document: Mapping[str, Any]

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The keys of `runtimeConfig` that it takes."""
        named = self.document.get("capabilities") or {}
        return tuple(name for name, wanted in named.items() if wanted is True)


@dataclass(frozen=True, slots=True)
class NetworkList:
    """A network: plugins that are run one after the other, each told what the one before answered."""

    name: str
    version: str
    plugins: tuple[Plugin, ...]
    source: str = field(repr=False)
    """The text it was read from (of one plugin: put into a list)."""
    disable_check: bool = False
    disable_gc: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the record of an attachment."""
        plugins = [dict(plugin.document) for plugin in self.plugins]
        return {
            "name": self.name, "cniVersion": self.version, "disableCheck": self.disable_check,
            "disableGC": self.disable_gc, "plugins": plugins,
        }  # fmt: skip


def load_folder(folder: str, limit: int) -> tuple[NetworkList, ...]:
    """The first `limit` networks of a folder (0: all) in the order of the files' names.

    Raises NotFound if there is none, and InvalidArgument for the first file that is wrong.
    """
    files = [Path(folder, name) for name in _names(folder) if name.endswith(SUFFIXES)]
    if not files:
        raise NotFound(f"no network config found in {folder}: cni plugin not initialized")
    return tuple(load_file(file) for file in files[: limit or LOADED_MAX])


def _names(folder: str) -> list[str]:
    with mapped(f"read the CNI configuration folder {folder}"):
        try:
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if not entry.is_dir())
        except FileNotFoundError:
            return []


def load_file(file: Path) -> NetworkList:
    """A network from a file. Raises InvalidArgument, which names it."""
    try:
        with mapped("read"):
            text = file.read_text()
        if file.suffix != ".conflist":
            return from_plugin(text)
        found = from_list(text, None if _inlined_only(text) else file.parent)
    except ValueError as error:
        raise InvalidArgument(f"CNI configuration {file}: not JSON: {error}") from None
    except InvalidArgument as error:
        raise InvalidArgument(f"CNI configuration {file}: {error.message}") from None
    if not found.plugins:
        raise InvalidArgument(f"CNI configuration {file}: it names no plugins")
    return found


def from_plugin(text: str) -> NetworkList:
    """A network of one plugin."""
    document = _object(json.loads(text), "the configuration")
    _plugin(document, "it")  # says what is wrong in the file's own words
    lifted = {"name": document.get("name", ""), "cniVersion": document.get("cniVersion", ""), "plugins": [document]}
    return from_list(json.dumps(lifted))


def from_list(text: str, folder: Path | None = None) -> NetworkList:
    """A network from a list; plugins lie also in `folder`/NAME/*.conf, if a folder is given."""
    document = _object(json.loads(text), "the configuration list")
    name = _string(document, "name")
    if not _NAME.match(name):
        raise InvalidArgument(f'its "name" {name!r} must begin with a letter or digit, and have only those and _ . -')
    inline = document.get("plugins", [])
    if not isinstance(inline, list) or (not inline and "plugins" in document):
        raise InvalidArgument('its "plugins" must be a list with at least one plugin')
    beside = _plugins_beside(folder, name) if folder else []
    plugins = [_plugin(each, f"plugin {place}") for place, each in enumerate([*inline, *beside], 1)]
    return NetworkList(
        name, _version(document), tuple(plugins), text, _flag(document, "disableCheck"), _flag(document, "disableGC")
    )


def of_record(document: Mapping[str, Any]) -> NetworkList:
    """What `NetworkList.to_json` told."""
    return from_list(json.dumps(document))


def _inlined_only(text: str) -> bool:
    document = _object(json.loads(text), "the configuration list")
    only = _flag(document, "loadOnlyInlinedPlugins")
    if only and "plugins" not in document:
        raise InvalidArgument('"loadOnlyInlinedPlugins" is true, and there are no "plugins"')
    return only


def _plugins_beside(folder: Path, name: str) -> list[object]:
    files = sorted((folder / name).glob("*.conf"))
    with mapped(f"read the plugins in {folder / name}"):
        return [json.loads(file.read_text()) for file in files]


def _version(document: Mapping[str, Any]) -> str:
    offered = document.get("cniVersions") or []
    if not isinstance(offered, list) or not all(isinstance(each, str) for each in offered):
        raise InvalidArgument('its "cniVersions" must be a list of strings')
    chosen = versions.choose(_string(document, "cniVersion", ""), offered)
    versions.parse(chosen)
    return chosen


def _plugin(document: object, what: str) -> Plugin:
    found = _object(document, what)
    kind = found.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidArgument(f'{what} has no "type" (the name of the plugin to run)')
    if "/" in kind or "\0" in kind:
        raise InvalidArgument(f'{what} has the "type" {kind!r}: a plugin is named without a path')
    if not isinstance(found.get("capabilities") or {}, dict):
        raise InvalidArgument(f'{what}: its "capabilities" must be an object')
    return Plugin(kind, found)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} must be a JSON object, and is a {type(value).__name__}")
    return value


def _string(document: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = document.get(key, default)
    if not isinstance(value, str):
        raise InvalidArgument(f'its "{key}" must be a string' if key in document else f'it has no "{key}"')
    return value


def _flag(document: Mapping[str, Any], key: str) -> bool:
    value = document.get(key, False)
    words: Sequence[object] = (False, True)
    if isinstance(value, str) and value.lower() in ("false", "true"):
        return value.lower() == "true"
    if value not in words or not isinstance(value, bool):
        raise InvalidArgument(f'its "{key}" must be true or false')
    return value
