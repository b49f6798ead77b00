"""Which hosts are asked for a registry's images, in which order, and how: the plan that the client follows."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from multidict import CIMultiDict
from yarl import URL

from corten.references import DEFAULT_HOST
from corten.values import dataclass

from .hosts import base_url, is_loopback
from .hosts_toml import CAPABILITIES, Auth, HostEntry, Trust

_TLS = Trust()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host that speaks the distribution API under `base`, which ends in a slash, for the registry `registry`.

    `name` is under what credentials are looked for. With `either_scheme`, https is tried and then http: as is usual
    for registries on this machine. `dial_timeout` is in seconds.
    """

    registry: str
    base: URL
    name: str
    capabilities: frozenset[str] = CAPABILITIES
    trust: Trust = _TLS
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dial_timeout: float | None = None
    auth: Auth | None = None
    either_scheme: bool = False

    @property
    def query(self) -> Mapping[str, str]:
        """What a mirror is told of the registry that it stands for."""
        return {} if self.name == self.registry else {"ns": self.registry}

    @property
    def header(self) -> CIMultiDict[str]:
        """The headers that its host directory has for it, as they are sent."""
        return CIMultiDict((name, value) for name, values in self.headers.items() for value in values)

    def plain(self) -> "Endpoint":
        """The same over http."""
        return replace(self, base=self.base.with_scheme("http"), either_scheme=False)


def plan(host: str, entries: Sequence[HostEntry] | None, plain_http: bool | None = None) -> tuple[Endpoint, ...]:
    """The endpoints for the registry `host`; `entries` are those of its host directory, None if it has none.

    `plain_http` True or False is the scheme where none is given; None: https, and either for this machine.
    """
    return tuple(_endpoint(host, entry, plain_http) for entry in ((HostEntry(),) if entries is None else entries))


def _endpoint(host: str, entry: HostEntry, plain_http: bool | None) -> Endpoint:
    if entry.url is None:
        return _own(host, entry, plain_http)
    name = host if entry.url.origin() == base_url(host, entry.url.scheme == "http").origin() else entry.url.authority
    both = entry.url.scheme == "http" and entry.trust != _TLS and entry.url.explicit_port != 80
    base = entry.url.with_scheme("https") if both else entry.url
    return Endpoint(
        host, base, name, entry.capabilities, entry.trust, entry.headers, entry.dial_timeout, entry.auth, both
    )


def _own(host: str, entry: HostEntry, plain_http: bool | None) -> Endpoint:
    """The registry itself: capable of everything, whatever its section says, as in containerd."""
    if host == DEFAULT_HOST:
        plain_http = False  # whoever asks for plain http means registries of his own
    port, trust = URL(f"//{host}").explicit_port, entry.trust
    here = plain_http is None and is_loopback(host)
    both = (here and port not in (None, 80, 443)) or bool(plain_http and trust != _TLS and port != 80)
    plain = (here and port == 80) or bool(plain_http and not both)
    if here and port != 80 and trust.skip_verify is None:
        trust = replace(trust, skip_verify=True)
    base = base_url(host, plain)
    return Endpoint(host, base, host, CAPABILITIES, trust, entry.headers, entry.dial_timeout, entry.auth, both)
