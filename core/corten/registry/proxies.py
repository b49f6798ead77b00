"""Which proxy the environment names for an address, by the rules of Go's clients: units of containerd have them so.

https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in capitals or not, of
which NO_PROXY may have networks, as clusters name theirs, which Python's own reading of it does not know.
"""

import ipaddress
import os

from yarl import URL

from corten.errors import FailedPrecondition

from .hosts import is_loopback


def proxy(url: URL) -> URL | None:
    """The proxy for `url`; never one for this machine. Raises FailedPrecondition for one that cannot be used."""
    host = url.host or ""
    named = _variable(f"{url.scheme}_proxy")
    if not named or is_loopback(f"[{host}]" if ":" in host else host):
        return None
    return None if is_excepted(host, url.port, _variable("no_proxy")) else _address(named, url.scheme)


def is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether NO_PROXY names the host: by name, with all below it, by address, by network, or with `*`."""
    return any(_matches(host.lower().rstrip("."), port, each.strip().lower()) for each in exceptions.split(","))


def _variable(name: str) -> str:
    return os.environ.get(name.upper()) or os.environ.get(name) or ""


def _address(named: str, scheme: str) -> URL:
    try:
        found = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        found = URL()
    if found.scheme not in ("http", "https") or not found.host:
        raise FailedPrecondition(f"{scheme.upper()}_PROXY in the daemon's environment: it is not an http or https URL")
    return found


def _matches(host: str, port: int | None, exception: str) -> bool:
    if exception in ("", "*"):
        return exception == "*"
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exception.strip("[]"), strict=False)
    except (ValueError, TypeError):
        pass  # a name on either side, a port behind an address, or addresses of two kinds
    name, colon, number = exception.rpartition(":")
    if colon and number.isdigit():
        return int(number) == port and _matches(host, port, name)
    suffix = exception.removeprefix("*") if exception.startswith("*.") else exception
    return host.endswith(suffix if suffix.startswith(".") else f".{suffix}") or host == suffix
