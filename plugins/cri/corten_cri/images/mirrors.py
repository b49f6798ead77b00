"""Settings of containerd's older form, `mirrors`, as host directories; and which deprecated settings are in use."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from corten.errors import InvalidArgument

from ..config.images import Mirror, Registry

_PREFIX = "io.containerd.deprecation/"


def host_folders(registry: Registry, state: Path) -> str:
    """The folders of host directories, separated by colons; those made of mirrors come first. Blocks.

    Raises InvalidArgument for an endpoint that is no URL.
    """
    if not registry.mirrors:
        return registry.config_path
    folder = state / "mirrors"
    for host, mirror in registry.mirrors.items():
        _write(folder, "_default" if host == "*" else host, mirror)
    return ":".join(part for part in (str(folder), registry.config_path) if part)


def deprecations(registry: Registry) -> Iterator[tuple[str, str]]:
    """Id and text of each."""
    found: Mapping[str, object] = {
        "mirrors": registry.mirrors,
        "auths": registry.auths,
        "configs": registry.configs,
    }
    for key, value in found.items():
        if value:
            text = (
                f"`registry.{key}` of io.containerd.cri.v1.images: write host directories (hosts.toml), see config_path"
            )
            yield f"{_PREFIX}cri-registry-{key}", text


def _write(folder: Path, host: str, mirror: Mirror) -> None:
    if "/" in host or host in (".", ".."):
        raise InvalidArgument(f"registry.mirrors: {host[:200]!r} is not the name of a host")
    place = folder / host
    place.mkdir(parents=True, exist_ok=True)
    (place / "hosts.toml").write_text("".join(_entry(endpoint) for endpoint in mirror.endpoint))


def _entry(endpoint: str) -> str:
    """A path in the endpoint is that of the API, as it stands."""
    from corten.registry.hosts import is_loopback  # brings HTTP along

    scheme = "http" if is_loopback(urlsplit(f"//{endpoint}").netloc) else "https"
    url = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidArgument(f"registry.mirrors: {endpoint[:200]!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidArgument(f"registry.mirrors: {endpoint[:200]!r} is not an http or https URL")
    own_path = "override_path = true\n" if parts.path.strip("/") else ""
    return f'[host.{json.dumps(url)}]\ncapabilities = ["pull", "resolve"]\n{own_path}'
