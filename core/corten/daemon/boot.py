"""From a command line to everything the daemon needs to start: files read, plugins found, configuration checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from corten.config.document import Document, KeyPath, Origin, refuse
from corten.config.files import read_all
from corten.config.load import Config, load
from corten.config.merge import merge
from corten.config.migrate import GRPC, migrate
from corten.config.settings import IMPORT_TIMEOUT, ProxyPlugin, Settings
from corten.config.typed import fill
from corten.errors import InvalidArgument
from corten.plugin.graph import Choices, choices
from corten.plugin.loader import discover, settle
from corten.plugin.proxies import proxies
from corten.plugin.record import Found
from corten.values import dataclass

log = logging.getLogger(__name__)

FLAG = "command line"


@dataclass(frozen=True, slots=True)
class Flags:
    """What containerd's flags can say; None where one was not given."""

    config: str | None = None
    address: str | None = None
    root: str | None = None
    state: str | None = None
    log_level: str | None = None
    log_format: str | None = None

    def overrides(self) -> Mapping[KeyPath, tuple[object, Origin]]:
        """The settings that flags put over those of the files."""
        given: dict[KeyPath, tuple[str | None, str]] = {
            ("plugins", GRPC, "address"): (self.address, "--address"),
            ("root",): (self.root, "--root"),
            ("state",): (self.state, "--state"),
            ("debug", "level"): (self.log_level, "--log-level"),
            ("debug", "format"): (self.log_format, "--log-format"),
        }
        return {path: (value, Origin(f"{FLAG}, {flag}")) for path, (value, flag) in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Boot:
    """What a start begins with."""

    config: Config
    found: Sequence[Found]

    @property
    def choices(self) -> Choices:
        """The ids that the configuration chose for requirements with a key."""
        return choices([each.registration for each in self.found], self.config.plugins)


def read(flags: Flags) -> Boot:
    """Read the files and find the plugins; problems are in the result. Raises CortenError for unreadable files."""
    documents = read_all(flags.config)
    found = discover(_import_deadline(documents))
    incomplete = any(each.error for each in found)
    found = list(settle([*found, *proxies(_proxy_plugins(documents))]))
    config = load(documents, [each.registration for each in found], flags.overrides(), incomplete=incomplete)
    return Boot(config, found)


def prepare(flags: Flags) -> Boot:
    """As `read`. Raises InvalidArgument if the configuration has errors; logs its warnings."""
    boot = read(flags)
    refuse(boot.config.problems)
    for problem in boot.config.problems:
        log.warning("configuration: %s", problem)
    check_address(boot.config.grpc_address)
    check_address(boot.config.ttrpc_address)
    return boot


def check_address(address: str) -> None:
    """Raise InvalidArgument for what cannot be the place of a socket, before anything is written."""
    from corten.wire.address import parse

    if not parse(address).path:
        raise InvalidArgument(f"address {address}: must be the path of a socket")


def _import_deadline(documents: Sequence[Document]) -> float:
    return _early(documents, "timeouts").timeout(IMPORT_TIMEOUT)


def _proxy_plugins(documents: Sequence[Document]) -> Mapping[str, ProxyPlugin]:
    return _early(documents, "proxy_plugins").proxy_plugins


def _early(documents: Sequence[Document], key: str) -> Settings:
    """A setting that is needed before the plugins, and so their models, are known."""
    merged = merge(map(migrate, documents))
    return fill(Settings, {key: merged.data.get(key, {})})[0]
