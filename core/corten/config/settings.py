"""`Settings`: the daemon's own part of the configuration, with its defaults. Plugins bring models of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from corten.values import dataclass

from .units import Duration

DEFAULT_FILE = "/etc/corten/config.yaml"
DEFAULT_IMPORTS = ("/etc/corten/conf.d/*.yaml", "/etc/corten/conf.d/*.toml")
DEFAULT_ROOT = "/var/lib/corten"
DEFAULT_STATE = "/run/corten"
DEFAULT_ADDRESS = "/run/containerd/containerd.sock"

IMPORT_TIMEOUT = "io.corten.timeout.plugin.import"
INIT_TIMEOUT = "io.corten.timeout.plugin.init"
START_TIMEOUT = "io.corten.timeout.plugin.start"
CLOSE_TIMEOUT = "io.corten.timeout.plugin.close"
HOOK_TIMEOUT = "io.corten.timeout.hook"
TIMEOUTS: Mapping[str, float] = {
    IMPORT_TIMEOUT: 10.0,
    INIT_TIMEOUT: 10.0,
    START_TIMEOUT: 10.0,
    CLOSE_TIMEOUT: 10.0,
    HOOK_TIMEOUT: 10.0,
}
"""The deadlines of the kernel; a plugin may look for others under names of its own."""

Level = Literal["", "trace", "debug", "info", "warn", "error", "fatal", "panic"]


@dataclass(frozen=True, slots=True)
class Debug:
    """What the daemon logs."""

    level: Level = "info"
    """Least severe level that is logged; empty means `info`."""
    format: Literal["", "text", "json"] = "text"
    """One line of `key=value` pairs, or of JSON, for each message."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Where the daemon itself runs."""

    path: str = ""
    """Cgroup that the daemon moves into at start; empty: it stays where it is."""


@dataclass(frozen=True, slots=True)
class StreamProcessor:
    """A program that turns one media type of a layer into another."""

    accepts: tuple[str, ...] = ()
    """Media types it reads."""
    returns: str = ""
    """Media type it writes."""
    path: str = ""
    """Program, looked for on PATH if it is not absolute."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: tuple[str, ...] = ()
    """Its environment, as `NAME=value`, beside the daemon's own."""


@dataclass(frozen=True, slots=True)
class ProxyPlugin:
    """A plugin in a process of its own, reached over gRPC."""

    type: str = ""
    """`snapshot` or `diff`; `content` and `sandbox` are accepted, but not used by this version."""
    address: str = ""
    """Its socket."""
    platform: str = ""
    """The platform it is for, e.g. `linux/amd64`; empty: the host's."""
    exports: Mapping[str, str] = field(default_factory=dict)
    """What introspection shows of it."""
    capabilities: tuple[str, ...] = ()
    """What it can do beyond its contract."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys at the top of a configuration file."""

    version: int = 4
    """Version of the file's layout. A YAML file without it is of version 4, a TOML file of version 1."""
    root: str = DEFAULT_ROOT
    """Folder for what must survive a reboot."""
    state: str = DEFAULT_STATE
    """Folder for what must not."""
    temp: str = ""
    """Folder for temporary files; empty: the system's."""
    plugin_dir: str = ""
    """Accepted because containerd has it; Corten finds plugins as installed Python packages."""
    disabled_plugins: tuple[str, ...] = ()
    """URIs of plugins that are not started."""
    required_plugins: tuple[str, ...] = ()
    """URIs of plugins without which the daemon does not run."""
    oom_score: int = 0
    """oom_score_adj of the daemon (man 5 proc), raised to what the process may set."""
    imports: tuple[str, ...] = ()
    """Further files, by path or pattern, relative to the file that names them; they win over it."""
    debug: Debug = Debug()
    cgroup: Cgroup = Cgroup()
    timeouts: Mapping[str, Duration] = field(default_factory=lambda: dict(TIMEOUTS))
    """Deadlines by name."""
    stream_processors: Mapping[str, StreamProcessor] = field(default_factory=dict)
    """Programs for the media types of layers, by the ids under which payloads reach them; they come before Corten."""
    proxy_plugins: Mapping[str, ProxyPlugin] = field(default_factory=dict)
    """Plugins in processes of their own, by id: snapshotters, differs, content stores; they speak containerd's gRPC."""
    plugins: Mapping[str, Any] = field(default_factory=dict)
    """Settings of plugins, by URI."""

    def timeout(self, name: str) -> float:
        """Seconds of a deadline of the kernel's."""
        return self.timeouts.get(name, TIMEOUTS[name])
