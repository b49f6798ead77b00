"""The settings of the servers, by the names that the config gives them: addresses, owners and bounds."""

from pathlib import Path

from corten.config.units import Duration, Size
from corten.filter_syntax import MAX_LENGTH
from corten.values import dataclass

MESSAGE_SIZE = 16 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients can ask of a gRPC server at most."""

    max_recv_message_size: Size = MESSAGE_SIZE
    """Size of one request; a longer one is answered with RESOURCE_EXHAUSTED."""
    max_send_message_size: Size = MESSAGE_SIZE
    """Size of one reply; a longer one is not sent, the call ends with RESOURCE_EXHAUSTED."""
    max_concurrent_streams: int = 10_000
    """Calls under way on one connection; further ones wait in the client."""
    max_concurrent_calls: int = 20_000
    """Calls under way on all connections together; further ones are answered with RESOURCE_EXHAUSTED."""
    max_filter_length: int = MAX_LENGTH
    """Characters of one filter in a list call or a subscription, 65,536 at most; a longer one is refused."""
    stream_stall: Duration = 300.0
    """How long a client may leave a reply of a stream unread; then the stream ends with RESOURCE_EXHAUSTED. 0: ever."""
    stop_grace: Duration = 5.0
    """How long calls that change something may take to end when the daemon stops."""

    @property
    def receives(self) -> int:
        """Bytes of a request; containerd's configs may say 0 for the default."""
        return self.max_recv_message_size if self.max_recv_message_size > 0 else MESSAGE_SIZE

    @property
    def sends(self) -> int:
        """Bytes of a reply, likewise."""
        return self.max_send_message_size if self.max_send_message_size > 0 else MESSAGE_SIZE


@dataclass(frozen=True, slots=True)
class GrpcConfig(Limits):
    """`io.containerd.server.v1.grpc`."""

    address: str = ""
    """Path of the socket; empty for the daemon's own address."""
    uid: int = -1
    """Owner of the socket; -1 for the daemon's user."""
    gid: int = -1
    """Group of the socket, whose members may connect; -1 for the daemon's group."""


@dataclass(frozen=True, slots=True)
class CallTotalsConfig:
    """`io.containerd.metrics.v1.grpc-prometheus`."""

    grpc_histogram: bool = False
    """Also tell how long the calls of each method took; 13 more figures for each."""


@dataclass(frozen=True, slots=True)
class GrpcTcpConfig(Limits):
    """`io.containerd.server.v1.grpc-tcp`."""

    address: str = ""
    """`host:port`; empty for no TCP server. Without certificates only a loopback address is taken."""
    tls_ca: Path | None = None
    """Authority (PEM) that clients' certificates must come from; without it clients need none."""
    tls_cert: Path | None = None
    """The server's certificate (PEM)."""
    tls_key: Path | None = None
    """The key of that certificate (PEM)."""
    tls_common_name: str = ""
    """The common name that a client's certificate must have; empty for any. Needs `tls_ca`."""


@dataclass(frozen=True, slots=True)
class TtrpcLimits:
    """What clients can ask of the ttrpc server at most; a message has at most 4 MiB by the protocol."""

    max_connections: int = 4096
    """Clients connected at once; further ones are hung up on."""
    max_concurrent_calls: int = 1024
    """Calls under way on one connection; further ones are answered with RESOURCE_EXHAUSTED."""
    stall: Duration = 60.0
    """How long a client may leave a full socket unread before its connection is ended."""
    stop_grace: Duration = 5.0
    """How long calls that change something may take to end when the daemon stops."""


@dataclass(frozen=True, slots=True)
class TtrpcConfig(TtrpcLimits):
    """`io.containerd.server.v1.ttrpc`."""

    address: str = ""
    """Path of the socket; empty for the daemon's own ttrpc address."""
    uid: int = -1
    """Owner of the socket; -1 for the daemon's user."""
    gid: int = -1
    """Group of the socket; -1 for the daemon's group."""
