"""The configuration that is written from a template once the kubelet tells the pod CIDR."""

import ipaddress
import os
from pathlib import Path

from corten.errors import InvalidArgument, mapped

from . import template

FILE = "10-containerd-net.conflist"


def values(cidr: str) -> dict[str, str | list[str]]:
    """For the template, from one or more CIDRs with commas between. Raises InvalidArgument."""
    ranges = [each.strip() for each in cidr.split(",")]
    routes = {4: "0.0.0.0/0", 6: "::/0"}
    try:
        families = {ipaddress.ip_network(each, strict=False).version for each in ranges}
    except ValueError as error:
        raise InvalidArgument(f"pod CIDR {cidr!r:.200}: {error}") from None
    told = [route for family, route in routes.items() if family in families]
    return {"PodCIDR": ranges[0], "PodCIDRRanges": ranges, "Routes": told}


def write(template_file: str, folder: str, cidr: str) -> None:
    """Write the configuration, in one step. Raises InvalidArgument for the template, or what the file system said."""
    wanted = values(cidr)
    with mapped(f"read the CNI configuration template {template_file}"):
        text = Path(template_file).read_text()
    try:
        made = template.render(text, wanted)
    except InvalidArgument as error:
        raise InvalidArgument(f"CNI configuration template {template_file}: {error.message}") from None
    with mapped(f"write the CNI configuration {folder}/{FILE}"):
        Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(folder, f".{FILE}.new")
        fresh.write_text(made)
        fresh.chmod(0o644)
        os.replace(fresh, Path(folder, FILE))
