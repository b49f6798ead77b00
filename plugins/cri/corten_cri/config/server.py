"""The settings of `io.containerd.grpc.v1.cri`: where exec, attach and port-forward are streamed."""

from __future__ import annotations

from dataclasses import field

from corten.config.units import Duration
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Certificate of the streaming server."""

    tls_cert_file: str = ""
    tls_key_file: str = ""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The streaming server."""

    disable_tcp_service: bool = True
    """Accepted: CRI is served on the daemon's sockets."""
    stream_server_address: str = "127.0.0.1"
    """Where it listens; empty: the host's own address."""
    stream_server_port: str = "0"
    """0: a free port."""
    stream_idle_timeout: Duration = 4 * 3600.0
    """After so long without a byte a stream is closed."""
    enable_tls_streaming: bool = False
    """Serve https; without a key pair with a certificate made at the start."""
    x509_key_pair_streaming: KeyPair = field(default_factory=KeyPair)
    """Its certificate."""
