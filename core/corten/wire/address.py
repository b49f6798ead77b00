"""Addresses of servers as people and configs write them: a path, `unix://path`, `tcp://host:port` or `host:port`."""

import os

from corten.errors import InvalidArgument
from corten.values import dataclass

MAX_PATH = 107
"""Bytes of a unix socket's path: `sun_path` holds 108 with the zero at its end (unix(7))."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a socket's path, or host and port."""

    path: str = ""
    endpoint: str = ""

    def __str__(self) -> str:
        return self.path or self.endpoint

    @property
    def target(self) -> str:
        """The same in gRPC's name syntax."""
        return f"unix:{self.path}" if self.path else f"ipv4:{self.endpoint}" if self._numeric else self.endpoint

    @property
    def _numeric(self) -> bool:
        return self.endpoint.rpartition(":")[0].replace(".", "").isdigit()


def parse(address: str) -> Address:
    """Read an address. Raises InvalidArgument for none, a path that is too long, and abstract sockets."""
    if not address:
        raise InvalidArgument("an empty address: give the path of a socket, or tcp://host:port")
    if address.startswith("tcp://"):
        return _endpoint(address.removeprefix("tcp://"))
    if address.startswith("unix:"):
        return Address(path=socket_path(address.removeprefix("unix:").removeprefix("//")))
    if "/" in address or address.startswith("@"):
        return Address(path=socket_path(address))
    return _endpoint(address)


def socket_path(path: str) -> str:
    """`path` made absolute, if a unix socket can have it.

    Raises InvalidArgument for a path over 107 bytes and for an abstract name, which has no owner and no mode.
    """
    if path.startswith("@") or "\0" in path:
        raise InvalidArgument(f"socket {path!r}: abstract sockets are not used, as they have no owner and no mode")
    path = os.path.abspath(path)
    if (size := len(os.fsencode(path))) > MAX_PATH:
        raise InvalidArgument(
            f"socket {path}: the path has {size} bytes, the kernel takes {MAX_PATH} (choose a shorter directory)"
        )
    return path


def _endpoint(endpoint: str) -> Address:
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"address {endpoint!r}: neither the path of a socket nor host:port")
    return Address(endpoint=endpoint)
