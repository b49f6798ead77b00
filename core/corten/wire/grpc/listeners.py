"""Where a gRPC server listens: the steps of any listener, and a TCP port with certificates.

A listener is bound before the server starts and opened after, so that whoever sees the socket gets an answer.
"""

import socket
from pathlib import Path
from typing import Any, Protocol

import grpc

from corten.errors import FailedPrecondition, InvalidArgument, PermissionDenied, mapped
from corten.values import dataclass

from ..address import Address


class Listener(Protocol):
    """One address of one server; the methods are called in this order, on the event loop."""

    def bind(self, server: Any) -> None:
        """Add the port to a grpc.aio server that has not started. Raises FailedPrecondition if it is taken."""

    def open(self) -> None:
        """Let clients find it."""

    def close(self) -> None:
        """Let no more clients find it."""

    def admit(self, context: Any) -> None:
        """Raises PermissionDenied for a call that may not be made."""

    def release(self) -> None:
        """Give back what is held; the server has stopped."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Files in PEM: the server's pair, the authority of its clients, and the one name that they must have."""

    cert: Path
    key: Path
    ca: Path | None = None
    common_name: str = ""

    def credentials(self) -> grpc.ServerCredentials:
        """Raises NotFound, PermissionDenied for files that cannot be read."""
        with mapped("the certificates of the TCP server"):
            pair = (self.key.read_bytes(), self.cert.read_bytes())
            ca = self.ca.read_bytes() if self.ca else None
        return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)


class TcpListener:
    """A TCP port. Without certificates only on loopback, because whoever connects is root on this host."""

    def __init__(self, address: Address, tls: ServerTls | None) -> None:
        if tls is None and not _is_loopback(address.endpoint):
            raise InvalidArgument(
                f"address {address}: TCP beyond loopback needs certificates (set tls_ca, tls_cert and tls_key)"
            )
        self._address = address
        self._tls = tls
        self.port = 0

    def __str__(self) -> str:
        return f"{self._address.endpoint.rpartition(':')[0]}:{self.port}"

    def bind(self, server: Any) -> None:
        what = f"address {self._address}"
        _probe(self._address.endpoint, what)
        if self._tls is None:
            self.port = bound(server.add_insecure_port, self._address.endpoint, what=what)
        else:
            self.port = bound(server.add_secure_port, self._address.endpoint, self._tls.credentials(), what=what)

    def open(self) -> None:
        """Nothing to do: the port answers since the server started."""

    def close(self) -> None:
        """Nothing to do: the server closes its port."""

    def admit(self, context: Any) -> None:
        if self._tls is None or not self._tls.common_name:
            return
        names = [name.decode(errors="replace") for name in context.auth_context().get("x509_common_name", ())]
        if self._tls.common_name not in names:
            raise PermissionDenied(
                f"the client's certificate is for {', '.join(names) or 'nobody'}, not for {self._tls.common_name}"
            )

    def release(self) -> None:
        """Nothing is held."""


def _probe(endpoint: str, what: str) -> None:
    """Raises FailedPrecondition, in the kernel's words, if nobody could listen there now; grpc tells no reason."""
    host, _, port = endpoint.rpartition(":")
    try:
        kind, _, _, _, address = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            tried.listen(1)  # two may bind where nobody listens
    except OSError as error:
        raise FailedPrecondition(
            f"{what}: cannot listen: {error.strerror or error} (stop who listens there, or choose another address)"
        ) from error


def bound(add: Any, *arguments: Any, what: str) -> int:
    """Add a port to a server of grpc.aio. Raises FailedPrecondition when it cannot listen there."""
    try:
        port = int(add(*arguments))
    except RuntimeError as error:
        raise FailedPrecondition(f"{what}: cannot listen: {error}") from error
    if not port:
        raise FailedPrecondition(f"{what}: cannot listen")
    return port


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")
