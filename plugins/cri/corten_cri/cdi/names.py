"""Names of devices: `vendor/class=name`.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import re
from collections.abc import Mapping, Sequence

from corten.errors import InvalidArgument

PREFIX = "cdi.k8s.io/"
"""Of the annotations that ask for devices: several, with commas between."""
_KIND = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?", re.ASCII)


def checked(device: str) -> str:
    """The name. Raises InvalidArgument."""
    kind, equals, name = device.partition("=")
    if not equals:
        raise InvalidArgument(f"CDI device {device[:200]!r}: it is not of the form vendor/class=name")
    check_kind(kind, f"CDI device {device[:200]!r}")
    check_name(name, f"CDI device {device[:200]!r}")
    return device


def check_kind(kind: str, what: str) -> None:
    """Raises InvalidArgument for what is not `vendor/class`."""
    vendor, slash, cls = kind.partition("/")
    if not (slash and _KIND.fullmatch(vendor) and _KIND.fullmatch(cls)):
        raise InvalidArgument(
            f"{what}: its kind {kind[:200]!r} is not vendor/class, each a letter and then letters, digits and _ . -"
        )


def check_name(name: str, what: str) -> None:
    """Raises InvalidArgument."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{what}: its name {name[:200]!r} must be letters, digits and _ . : -")


def wanted(devices: Sequence[str], annotations: Mapping[str, str]) -> list[str]:
    """Those of the request, and those that annotations ask for, each once. Raises InvalidArgument."""
    annotated = [name for key in sorted(annotations) if key.startswith(PREFIX) for name in annotations[key].split(",")]
    return [checked(name) for name in dict.fromkeys([*devices, *annotated])]
