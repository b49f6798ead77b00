"""Sysctls of a pod, decided purely: which file each is, whether the pod may set it, and when it can be set.

Only sysctls that belong to a namespace of the pod's own may be set (namespaces(7)): all else would change the host.
"""

import re
from collections.abc import Mapping

from corten.errors import InvalidArgument

from .model import Pins

_OF_IPC = frozenset(
    f"kernel/{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_OF_UTS = frozenset(("kernel/domainname",))
_OF_INTERFACES = re.compile(r"net/(?:ipv4|ipv6)/(?:conf|neigh|route)/|net/mpls/conf/")


def file_of(name: str) -> str:
    """The path below /proc/sys of `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/forwarding`. InvalidArgument.

    As sysctl(8) has it: where a slash comes first, slashes separate, and dots belong to names.
    """
    separator = next((letter for letter in name if letter in "./"), ".")
    parts = [part.replace("/", ".") if separator == "." else part for part in name.split(separator)]
    if len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InvalidArgument(f"sysctl {name!r}: not a name of a sysctl (expected such as net.ipv4.ip_forward)")
    return "/".join(parts)


def check(sysctls: Mapping[str, str], pins: Pins) -> None:
    """Raise InvalidArgument for a sysctl that is not of one of the namespaces that `pins` says are the pod's own."""
    for name in sysctls:
        kind = _namespace(file_of(name))
        if not kind:
            raise InvalidArgument(f"sysctl {name}: it belongs to no namespace, so a pod cannot have its own value")
        if not pins.namespaces().get(kind):
            raise InvalidArgument(f"sysctl {name}: the pod uses the host's {kind} namespace, which it would change")


def of_interfaces(sysctls: Mapping[str, str]) -> dict[str, str]:
    """Those that network interfaces have each: they can be set when CNI has made the interfaces, and not before."""
    return {name: value for name, value in sysctls.items() if _OF_INTERFACES.match(file_of(name))}


def at_once(sysctls: Mapping[str, str]) -> dict[str, str]:
    """All others."""
    later = of_interfaces(sysctls)
    return {name: value for name, value in sysctls.items() if name not in later}


def _namespace(file: str) -> str:
    if file.startswith("net/"):
        return "net"
    if file.startswith("fs/mqueue/") or file in _OF_IPC:
        return "ipc"
    return "uts" if file in _OF_UTS else ""
