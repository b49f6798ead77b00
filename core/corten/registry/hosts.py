"""Where a registry's API is: scheme and host by the host in a reference."""

import ipaddress

from yarl import URL

_API_HOSTS = {"docker.io": "registry-1.docker.io"}


def base_url(host: str, plain_http: bool | None = None) -> URL:
    """The root of the API. `plain_http` None: http for hosts that are this machine, https for all others."""
    plain = is_loopback(host) if plain_http is None else plain_http
    return URL(f"{'http' if plain else 'https'}://{_API_HOSTS.get(host, host)}/v2/")


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is `localhost` or a loopback address."""
    name = URL(f"http://{host}").host or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
