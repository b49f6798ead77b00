"""The bounds of a server, by the names that the config gives them."""

from dataclasses import dataclass

MESSAGE_SIZE = 16 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client can ask of one server at most."""

    max_recv_message_size: int = MESSAGE_SIZE
    """Bytes of one request; a longer one is answered with RESOURCE_EXHAUSTED."""
    max_send_message_size: int = MESSAGE_SIZE
    """Bytes of one reply."""
    max_concurrent_streams: int = 10_000
    """Calls under way on one connection; further ones wait in the client."""
    max_concurrent_calls: int = 20_000
    """Calls under way on all connections together; further ones are answered with RESOURCE_EXHAUSTED."""
    stream_stall_seconds: float = 300.0
    """How long a client may leave a reply of a stream unread; then the stream ends with RESOURCE_EXHAUSTED. 0: ever."""
    stop_grace_seconds: float = 5.0
    """How long calls that change something may take to end when the daemon stops."""
